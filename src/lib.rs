//! x

pub mod embedded;
pub mod supervisor;
