//! Accord keeps a library's Postgres in accord with the systems that feed it.

pub mod apply;
pub mod change;
pub mod contract;
pub mod http;
pub mod source;
pub mod telemetry;
pub mod value;
