//! `accord.registration`: what is known about the sender of a pipeline's webhooks.
//!
//! Promises: the leader writes the columns of the registration, every replica adds what it saw of the
//! webhooks, and neither overwrites the other's.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;

/// What is known about the sender of a pipeline's webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct RegistrationState {
    /// Registered without a failure since then; none while not registered.
    pub registered_since: Option<DateTime<Utc>>,
    /// When the sender last took the registration.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it last did not.
    pub last_error_at: Option<DateTime<Utc>>,
    /// Why it did not, without any secret.
    pub last_error: Option<String>,
    /// When a webhook last came in.
    pub last_webhook_at: Option<DateTime<Utc>>,
    /// How many calls came without a token that is accepted.
    pub unauthorized: i64,
}

/// What is known, or nothing before the first word is written.
pub async fn load(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
) -> Result<Option<RegistrationState>, sqlx::Error> {
    sqlx::query_as(
        "select registered_since, last_success_at, last_error_at, last_error, last_webhook_at, unauthorized
           from accord.registration
          where pipeline = $1",
    )
    .bind(pipeline)
    .fetch_optional(executor)
    .await
}

/// Writes how registering went.
pub async fn save_attempt(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    state: &RegistrationState,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into accord.registration as known
                (pipeline, registered_since, last_success_at, last_error_at, last_error)
         values ($1, $2, $3, $4, $5)
             on conflict (pipeline) do update
            set registered_since = excluded.registered_since,
                last_success_at = excluded.last_success_at,
                last_error_at = excluded.last_error_at,
                last_error = excluded.last_error",
    )
    .bind(pipeline)
    .bind(state.registered_since)
    .bind(state.last_success_at)
    .bind(state.last_error_at)
    .bind(&state.last_error)
    .execute(executor)
    .await?;
    Ok(())
}

/// Adds what a replica saw of the webhooks.
pub async fn add_seen(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    last_webhook_at: Option<DateTime<Utc>>,
    unauthorized: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into accord.registration as known (pipeline, last_webhook_at, unauthorized)
         values ($1, $2, $3)
             on conflict (pipeline) do update
            set last_webhook_at = greatest(known.last_webhook_at, excluded.last_webhook_at),
                unauthorized = known.unauthorized + excluded.unauthorized",
    )
    .bind(pipeline)
    .bind(last_webhook_at)
    .bind(unauthorized)
    .execute(executor)
    .await?;
    Ok(())
}
