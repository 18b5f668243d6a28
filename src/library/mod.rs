//! The library's Postgres: Accord's own tables, in plain SQL near its use.

pub mod registration;
pub mod token;
