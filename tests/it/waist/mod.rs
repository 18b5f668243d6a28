//! The waist against a real Postgres.

mod batching;
mod promises;
