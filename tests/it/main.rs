//! The integration tests: one binary, one Postgres cluster, one database for each test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod chaos;
mod cli_diff;
mod cli_doctor;
mod cli_operator;
mod contract;
mod demo;
mod embedded_postgres;
mod harness;
mod harness_itself;
mod leader;
mod pause;
mod quality;
mod quarantine;
mod readme;
mod reconcile;
mod registration;
mod sender;
mod standing;
mod waist;
mod webhook;
