//! The command line.

pub mod contract;
