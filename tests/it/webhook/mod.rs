//! The webhook end to end: `accord serve` in a process of its own, Postgres and HTTP as they are.

mod answers;
mod bad_http;
mod bad_input;
mod bad_values;
mod cms;
mod refetch;
