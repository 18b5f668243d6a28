//! A pipeline's row in `accord.pipeline`: the lock that orders all writers, the positions, the gap. (The pause has a
//! file of its own, and comes along with the lock.)
//!
//! Promises: positions are handed out under the lock, so their order is the order of commits. Must not
//! know: what is written under the lock.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgExecutor, Row as _};

use crate::contract::Contract;
use crate::library::pause::Pause;

/// A pipeline as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Row of `accord.pipeline`.
    pub pipeline: i16,
    /// Row of `accord.contract`.
    pub contract: i32,
}

/// What the lock hands out.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The last position given out.
    pub position: i64,
    /// The database's clock, for this batch.
    pub at: DateTime<Utc>,
    /// The pipeline's pause, which cannot begin or end while the lock is held.
    pub pause: Option<Pause>,
}

/// Makes the pipeline and its contract known, and gives their ids.
pub async fn enroll(
    conn: &mut sqlx::PgConnection,
    name: &str,
    table: &str,
    contract: &Contract,
) -> Result<Ids, sqlx::Error> {
    let pipeline = sqlx::query_scalar(
        // However the table is written, its full name decides who shares a lock.
        "insert into accord.pipeline (name, tables) values ($1, array[coalesce(
             (select format('%I.%I', n.nspname, c.relname)
              from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($2)), $2)])
         on conflict (name) do update set tables = excluded.tables
         returning id",
    )
    .bind(name)
    .bind(table)
    .fetch_one(&mut *conn)
    .await?;
    let contract = sqlx::query_scalar(
        "insert into accord.contract (name, version, hash, source) values ($1, $2, $3, $4)
         on conflict (hash) do update set name = excluded.name
         returning id",
    )
    .bind(&contract.name)
    .bind(&contract.version)
    .bind(&contract.hash)
    .bind(&contract.source)
    .fetch_one(&mut *conn)
    .await?;
    Ok(Ids { pipeline, contract })
}

/// The text of a contract that judged a change once.
pub async fn document(executor: impl PgExecutor<'_>, contract: i32) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select source from accord.contract where id = $1")
        .bind(contract)
        .fetch_optional(executor)
        .await
}

/// Prepares [`begin`] on a session: what is prepared once need not be planned for each batch.
pub async fn prepare(conn: &mut sqlx::PgConnection, pipeline: i16) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('accord.pipeline', $1, false)")
        .bind(pipeline.to_string())
        .execute(&mut *conn)
        .await?;
    sqlx::raw_sql(
        // The clock is read outside, once the lock is held: the ledger's instants follow its positions.
        "prepare accord_lock as
         with locked as (
             select id, position, paused_since, paused_by, paused_reason from accord.pipeline
             where tables && (select tables from accord.pipeline
                              where id = current_setting('accord.pipeline')::smallint)
             order by id for no key update)
         select id, position, clock_timestamp(), paused_since, paused_by, paused_reason from locked",
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Begins a transaction and takes the lock, in a statement of its own: what is read afterwards is read under it.
///
/// Pipelines that write the same table lock each other's rows too, in one order.
pub async fn begin(conn: &mut sqlx::PgConnection, pipeline: i16) -> Result<Fence, sqlx::Error> {
    let rows = sqlx::raw_sql("begin; execute accord_lock").fetch_all(conn).await?;
    for row in &rows {
        if row.try_get::<i16, _>(0)? == pipeline {
            let pause = Pause::from_columns(row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
            return Ok(Fence { position: row.try_get(1)?, at: row.try_get(2)?, pause });
        }
    }
    Err(sqlx::Error::RowNotFound)
}

/// Joins reasons to the gap.
pub async fn mark_gap(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    reasons: &[&str],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        // The clock, for the transaction began earlier: a run that began meanwhile may not have seen what it writes.
        "update accord.pipeline set gap_since = coalesce(gap_since, now()), gap_marked_at = clock_timestamp(),
             gap_reasons = (select array_agg(distinct reason) from unnest(gap_reasons || $2) reason)
         where id = $1",
    )
    .bind(pipeline)
    .bind(reasons)
    .execute(executor)
    .await
    .map(drop)
}

/// Forgets the gap, unless it was marked again since `began`.
pub async fn clear_gap(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    began: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let cleared = sqlx::query(
        "update accord.pipeline set gap_since = null, gap_reasons = '{}'
         where id = $1 and gap_since is not null and (gap_marked_at is null or gap_marked_at < $2)",
    )
    .bind(pipeline)
    .bind(began)
    .execute(executor)
    .await?;
    Ok(cleared.rows_affected() > 0)
}

/// Since when, and why, changes may have been missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// When it was first noticed.
    pub since: DateTime<Utc>,
    /// Why, in the words that the waist marks it with.
    pub reasons: Vec<String>,
}

/// The pipeline's gap; none when nothing may have been missed.
pub async fn gap(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<GapRecord>, sqlx::Error> {
    let row = sqlx::query(
        "select gap_since, gap_reasons from accord.pipeline where name = $1 and gap_since is not null",
    )
    .bind(name)
    .fetch_optional(executor)
    .await?;
    row.map(|row| Ok(GapRecord { since: row.try_get(0)?, reasons: row.try_get(1)? })).transpose()
}
