//! The waist against a real Postgres.

mod batching;
mod disposition;
mod promises;
mod retention;
