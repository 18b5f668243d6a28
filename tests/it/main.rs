//! The integration tests: one binary, one Postgres cluster, one database for each test.

mod embedded_postgres;
mod harness;
mod harness_itself;
