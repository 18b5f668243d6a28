//! The Postgres side: the library's tables as a contract sees them, and schema `accord` beside them.
//!
//! Promises: SQL built from names lives in `statement` alone; our own tables are plain SQL near their use.
//! Must not know: HTTP, sources, why something is written.

pub mod activation;
pub mod check_result;
pub mod event_id;
pub mod facts;
pub mod history;
pub mod ledger;
pub mod pause;
pub mod pipeline;
pub mod quarantine;
pub mod registration;
pub mod retention;
pub mod session;
pub mod statement;
pub mod token;

use sqlx::migrate::{MigrateError, Migrator};

/// Brings schema `accord` up to date; safe to run from several processes at once.
pub async fn migrate(conn: &mut sqlx::PgConnection) -> Result<(), MigrateError> {
    migrator().run_direct(None, conn, false).await
}

/// The migrations that this program knows, and where it notes which of them were run: `accord.migration`.
pub fn migrator() -> Migrator {
    let mut migrator: Migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name("accord.migration");
    migrator.create_schema("accord");
    migrator
}
