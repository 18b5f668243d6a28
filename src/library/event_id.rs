//! `accord.event_id`: which events were seen, and what they were answered.
//!
//! Promises: within the retention window a repeat gets the original outcome. Must not know: changes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, Row as _};

use crate::change::Outcome;

/// The outcomes of those ids that were seen before.
pub async fn seen(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    event_ids: &[&str],
) -> Result<HashMap<String, Outcome>, sqlx::Error> {
    let rows = sqlx::query(
        "select event_id, outcome from accord.event_id where pipeline = $1 and event_id = any($2)",
    )
    .bind(pipeline)
    .bind(event_ids)
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            let outcome: sqlx::types::Json<Outcome> = row.try_get(1)?;
            Ok((row.try_get(0)?, outcome.0))
        })
        .collect()
}

/// Remembers ids with their outcomes.
pub async fn remember(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    at: DateTime<Utc>,
    seen: &[(&str, &Outcome)],
) -> Result<(), sqlx::Error> {
    let outcomes = seen.iter().map(|(_, outcome)| serde_json::to_string(outcome).unwrap_or_default());
    sqlx::query(
        "insert into accord.event_id (pipeline, event_id, outcome, at)
         select $1, event_id, outcome::jsonb, $2 from unnest($3::text[], $4::text[]) as e(event_id, outcome)",
    )
    .bind(pipeline)
    .bind(at)
    .bind(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(outcomes.collect::<Vec<_>>())
    .execute(executor)
    .await
    .map(drop)
}
