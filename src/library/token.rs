//! `accord.webhook_token`: the secret path segments of each pipeline's webhook.
//!
//! Promises: a pipeline has one token that is not retired, however many replicas start at once.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor};

/// How long a retired token is still accepted: long enough for every sender to learn the new one.
const RETIRED_ACCEPTED_DAYS: i32 = 7;

/// A token that is accepted, as it is stored.
#[derive(sqlx::FromRow)]
pub struct StoredToken {
    /// The secret itself.
    pub token: String,
    /// Whether it was made long enough ago for every replica to accept it.
    pub settled: bool,
}

/// The accepted tokens, newest first.
pub async fn accepted(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    settling: Duration,
) -> Result<Vec<StoredToken>, sqlx::Error> {
    sqlx::query_as(
        "select token, created_at <= now() - make_interval(secs => $2) as settled
           from accord.webhook_token
          where pipeline = $1
            and (retired_at is null or retired_at > now() - make_interval(days => $3))
          order by id desc",
    )
    .bind(pipeline)
    .bind(settling.as_secs_f64())
    .bind(RETIRED_ACCEPTED_DAYS)
    .fetch_all(executor)
    .await
}

/// Keeps the token unless the pipeline has one. To be called in a transaction: replicas wait for each other.
pub async fn ensure(connection: &mut PgConnection, pipeline: i16, token: &str) -> Result<(), sqlx::Error> {
    lock_pipeline(connection, pipeline).await?;
    sqlx::query(
        "insert into accord.webhook_token (pipeline, token)
         select $1, $2
          where not exists (select from accord.webhook_token where pipeline = $1 and retired_at is null)",
    )
    .bind(pipeline)
    .bind(token)
    .execute(connection)
    .await?;
    Ok(())
}

/// Retires the pipeline's token and keeps the new one. To be called in a transaction, as [`ensure`].
pub async fn rotate(connection: &mut PgConnection, pipeline: i16, token: &str) -> Result<(), sqlx::Error> {
    lock_pipeline(connection, pipeline).await?;
    sqlx::query(
        "update accord.webhook_token set retired_at = now() where pipeline = $1 and retired_at is null",
    )
    .bind(pipeline)
    .execute(&mut *connection)
    .await?;
    sqlx::query("insert into accord.webhook_token (pipeline, token) values ($1, $2)")
        .bind(pipeline)
        .bind(token)
        .execute(connection)
        .await?;
    Ok(())
}

/// Waits for other writers of the pipeline. A statement of its own: the next one sees what they committed.
async fn lock_pipeline(connection: &mut PgConnection, pipeline: i16) -> Result<(), sqlx::Error> {
    sqlx::query("select from accord.pipeline where id = $1 for no key update")
        .bind(pipeline)
        .execute(connection)
        .await?;
    Ok(())
}
