//! Where changes come from.

pub mod backoff;
pub mod registration;
pub mod sender;
pub mod token;
pub mod webhook;
