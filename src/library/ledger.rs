//! `accord.ledger`: every outcome, in commit order.
//!
//! Promises: append-only. Must not know: how an outcome came about.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::library::pipeline::Ids;

/// One line of the ledger, column by column what the table holds.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The row, where known.
    pub key: Option<&'a str>,
    /// `insert`, `update` or `delete`; none for what was refused.
    pub op: Option<&'static str>,
    /// The outcome's word.
    pub outcome: &'static str,
    /// The origin's word.
    pub origin: &'static str,
    /// `{"column": [from, to], "confirmed column": [value]}`
    pub changes: Option<String>,
    /// The sender's id.
    pub event_id: Option<&'a str>,
    /// The quarantine entry.
    pub quarantine: Option<i64>,
}

/// Appends entries at `first`, `first + 1`, …, and gives these positions out.
pub async fn append(
    executor: impl PgExecutor<'_>,
    ids: Ids,
    first: i64,
    at: DateTime<Utc>,
    entries: &[Entry<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with appended as (
             insert into accord.ledger
                 (pipeline, position, at, key, op, outcome, origin, contract, changes, event_id, quarantine)
             select $1, $2 + n - 1, $3, key, op, outcome, origin, $4, changes::jsonb, event_id, quarantine
             from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int8[])
                 with ordinality as e(key, op, outcome, origin, changes, event_id, quarantine, n))
         update accord.pipeline set position = $2 + $12 - 1 where id = $1",
    )
    .bind(ids.pipeline)
    .bind(first)
    .bind(at)
    .bind(ids.contract)
    .bind(entries.iter().map(|e| e.key).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.op).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.outcome).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.origin).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.changes.as_deref()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.quarantine).collect::<Vec<_>>())
    .bind(i64::try_from(entries.len()).unwrap_or(i64::MAX))
    .execute(executor)
    .await
    .map(drop)
}

/// Whether the batch that began at this position, at this instant, is in the ledger.
pub async fn holds(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    first: i64,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from accord.ledger where pipeline = $1 and position = $2 and at = $3)",
    )
    .bind(pipeline)
    .bind(first)
    .bind(at)
    .fetch_one(executor)
    .await
}
