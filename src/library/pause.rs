//! Pausing a pipeline: an operator's word, kept in the pipeline's row.
//!
//! Promises: the word is written under the pipeline's lock, so that every change committed before it went as usual
//! and every one after it heeds it, in whichever process; what was kept meanwhile is due the moment the pause ends,
//! whoever is there to replay it. Must not know: what heeding it means.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgExecutor, Row as _};

/// The rule that a good change breaks while its pipeline is paused.
pub const RULE: &str = "paused";

/// The longest reason that is kept, in characters.
pub const LONGEST_REASON: usize = 1000;

/// A reason as it is kept, or none where it says nothing, is too long, or cannot be stored.
pub fn reason(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_kept = !text.is_empty() && !text.contains('\0') && text.chars().nth(LONGEST_REASON).is_none();
    is_kept.then_some(text)
}

/// That a pipeline is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// Why, in that person's words.
    pub reason: String,
}

impl Pause {
    /// From a pipeline's row, which somebody may have written by hand, leaving out who or why.
    pub(crate) fn from_columns(
        since: Option<DateTime<Utc>>,
        by: Option<String>,
        reason: Option<String>,
    ) -> Option<Self> {
        let named = |text: Option<String>| text.unwrap_or_else(|| "not said".to_owned());
        since.map(|since| Self { since, by: named(by), reason: named(reason) })
    }
}

/// What came of the wish to pause a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paused {
    /// It is paused from now on.
    Now(Pause),
    /// It was already, and stays so as it was.
    Already(Pause),
    /// The library knows no such pipeline.
    Unknown,
}

/// What came of the wish to resume a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It was paused like this until now.
    Now(Pause),
    /// It was not paused.
    Already,
    /// The library knows no such pipeline.
    Unknown,
}

/// The pipeline's pause; none when it is not paused, or not known.
pub async fn read(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Pause>, sqlx::Error> {
    let row =
        sqlx::query("select paused_since, paused_by, paused_reason from accord.pipeline where name = $1")
            .bind(name)
            .fetch_optional(executor)
            .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Pause::from_columns(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

/// Pauses a pipeline; one that is paused already keeps its pause. Waits for the batch that is being committed.
pub async fn pause(
    conn: &mut PgConnection,
    name: &str,
    by: &str,
    reason: &str,
) -> Result<Paused, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    if !lock(&mut transaction, name).await? {
        return Ok(Paused::Unknown);
    }
    if let Some(pause) = read(&mut *transaction, name).await? {
        return Ok(Paused::Already(pause));
    }
    let since = sqlx::query_scalar(
        // The clock once the lock is held: what bears an earlier instant went as usual.
        "update accord.pipeline set paused_since = clock_timestamp(), paused_by = $2, paused_reason = $3
         where name = $1
         returning paused_since",
    )
    .bind(name)
    .bind(by)
    .bind(reason)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Paused::Now(Pause { since, by: by.to_owned(), reason: reason.to_owned() }))
}

/// Ends a pipeline's pause. What it kept is due from its first day on, and only the pause held it back: nothing
/// else has to be written, however much was kept.
pub async fn resume(conn: &mut PgConnection, name: &str) -> Result<Resumed, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    if !lock(&mut transaction, name).await? {
        return Ok(Resumed::Unknown);
    }
    let Some(pause) = read(&mut *transaction, name).await? else { return Ok(Resumed::Already) };
    sqlx::query(
        "update accord.pipeline set paused_since = null, paused_by = null, paused_reason = null
         where name = $1",
    )
    .bind(name)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Resumed::Now(pause))
}

/// How many entries that a pause kept have not been replayed yet.
pub async fn kept(executor: impl PgExecutor<'_>, name: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from accord.quarantine q join accord.pipeline p on p.id = q.pipeline
         where p.name = $1 and q.state = 'open' and q.reason = $2 and q.attempts = 0",
    )
    .bind(name)
    .bind(RULE)
    .fetch_one(executor)
    .await
}

/// How many entries that a pause kept since then were replayed, and refused for a reason of their own.
pub async fn refused(
    executor: impl PgExecutor<'_>,
    name: &str,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from accord.quarantine q join accord.pipeline p on p.id = q.pipeline
         where p.name = $1 and q.state = 'open' and q.reason = $2 and q.attempts > 0 and q.at >= $3",
    )
    .bind(name)
    .bind(RULE)
    .bind(since)
    .fetch_one(executor)
    .await
}

/// Takes the pipeline's own lock; false when there is no such pipeline.
async fn lock(conn: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let found = sqlx::query("select id from accord.pipeline where name = $1 for no key update")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}
