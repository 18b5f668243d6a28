//! The simulator against a real Postgres and a real listener.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod api;
mod edits;
mod faults;
mod postgres;
mod process;
mod seeding;
mod support;
