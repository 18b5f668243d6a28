//! The webhook end to end: `accord serve` in a process of its own, Postgres and HTTP as they are.

mod cms;
