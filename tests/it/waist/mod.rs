//! The waist against a real Postgres.

mod batching;
mod budget;
mod disposition;
mod follow;
mod promises;
mod retention;
