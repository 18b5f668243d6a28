//! What the database knows of each pipeline, for `accord status` and the HTTP API.
//!
//! Promises: reads only; one statement. Must not know: live state such as health or held requests.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, Row as _};

/// A pipeline as the database knows it.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineRecord {
    /// Its name.
    pub name: String,
    /// The library tables it writes.
    pub tables: Vec<String>,
    /// The last position of its ledger.
    pub position: i64,
    /// The contract that judged its last change: its name…
    pub contract: Option<String>,
    /// … and its version.
    pub contract_version: Option<String>,
    /// When the last change was committed.
    pub last_change_at: Option<DateTime<Utc>>,
    /// Changes may have been missed since then.
    pub gap_since: Option<DateTime<Utc>>,
    /// Why.
    pub gap_reasons: Vec<String>,
    /// Open quarantine entries.
    pub quarantined: i64,
    /// Registered with the sender since then, without a failure in between.
    pub registered_since: Option<DateTime<Utc>>,
    /// The sender last confirmed it.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Registering last failed.
    pub last_error_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub last_error: Option<String>,
    /// The sender last called.
    pub last_webhook_at: Option<DateTime<Utc>>,
    /// Calls without the token.
    pub unauthorized: i64,
}

/// All pipelines that ever ran against this library, by name.
pub async fn pipelines(executor: impl PgExecutor<'_>) -> Result<Vec<PipelineRecord>, sqlx::Error> {
    let rows = sqlx::query(
        "select p.name, p.tables, p.position, c.name, c.version, l.at,
                p.gap_since, p.gap_reasons,
                (select count(*) from accord.quarantine q where q.pipeline = p.id and q.state = 'open'),
                r.registered_since, r.last_success_at, r.last_error_at, r.last_error, r.last_webhook_at,
                coalesce(r.unauthorized, 0)
         from accord.pipeline p
         left join accord.registration r on r.pipeline = p.id
         left join accord.ledger l on l.pipeline = p.id and l.position = p.position
         left join accord.contract c on c.id = l.contract
         order by p.name",
    )
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(PipelineRecord {
                name: row.try_get(0)?,
                tables: row.try_get(1)?,
                position: row.try_get(2)?,
                contract: row.try_get(3)?,
                contract_version: row.try_get(4)?,
                last_change_at: row.try_get(5)?,
                gap_since: row.try_get(6)?,
                gap_reasons: row.try_get(7)?,
                quarantined: row.try_get(8)?,
                registered_since: row.try_get(9)?,
                last_success_at: row.try_get(10)?,
                last_error_at: row.try_get(11)?,
                last_error: row.try_get(12)?,
                last_webhook_at: row.try_get(13)?,
                unauthorized: row.try_get(14)?,
            })
        })
        .collect()
}
