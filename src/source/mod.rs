//! Where changes come from.
//!
//! Promises: a source turns what it hears into changes, hands them to the waist, and passes its answer on.
//! Must not know: Postgres, or what becomes of a change.

pub mod webhook;
