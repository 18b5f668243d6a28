//! Reading the ledger: what happened to one row, in order.
//!
//! Promises: reads only. Must not know: how it is shown.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row as _};

/// One line of a row's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the pipeline's ledger.
    pub position: i64,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// `applied`, `unchanged`, `stale` or `quarantined`.
    pub outcome: String,
    /// Who handed it in.
    pub origin: String,
    /// `insert`, `update` or `delete`; none for what was refused.
    pub op: Option<String>,
    /// `{"column": [from, to], "confirmed column": [value]}`
    pub changes: Option<serde_json::Value>,
    /// The version of the contract that judged it.
    pub contract: String,
    /// That contract's row of `accord.contract`.
    #[serde(skip)]
    pub judged_by: i32,
    /// The sender's id.
    pub event_id: Option<String>,
    /// The quarantine entry.
    pub quarantine: Option<i64>,
}

/// The newest `limit` events of a key, oldest first.
pub async fn of_key(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
    key: &str,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "select l.position, l.at, l.outcome, l.origin, l.op, l.changes, c.version, l.event_id, l.quarantine, l.contract
         from accord.ledger l
         join accord.pipeline p on p.id = l.pipeline
         join accord.contract c on c.id = l.contract
         where p.name = $1 and l.key = $2
         order by l.position desc limit $3",
    )
    .bind(pipeline)
    .bind(key)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    rows.iter().rev().map(Event::read).collect()
}

impl Event {
    /// Reads a line of the ledger, its columns in the order of the fields.
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: row.try_get(0)?,
            at: row.try_get(1)?,
            outcome: row.try_get(2)?,
            origin: row.try_get(3)?,
            op: row.try_get(4)?,
            changes: row.try_get(5)?,
            contract: row.try_get(6)?,
            event_id: row.try_get(7)?,
            quarantine: row.try_get(8)?,
            judged_by: row.try_get(9)?,
        })
    }
}
