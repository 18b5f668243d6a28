//! Accord keeps a library's Postgres in accord with the systems that feed it.

pub mod apply;
pub mod change;
pub mod cli;
pub mod config;
pub mod contract;
pub mod demo;
pub mod embedded;
pub mod http;
pub mod leader;
pub mod library;
pub mod preview;
pub mod prose;
pub mod quality;
pub mod quarantine;
pub mod reconcile;
pub mod serve;
pub mod source;
pub mod standing;
pub mod supervisor;
pub mod telemetry;
pub mod value;
