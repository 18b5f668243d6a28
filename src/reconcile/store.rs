//! `accord.reconciliation`: runs that were asked for, that are carried out, and that ended.
//!
//! Promises: at most one run of a pipeline is queued and one runs; a row that says `running` although nobody holds
//! the pipeline's lock is marked `aborted` before anything is told of it. Must not know: how a run is carried out.

use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection, PgExecutor};

use super::lock::LOCK;
use super::record::{Detail, Request, Run, RunState, Started};
use super::{Report, Snapshot};

/// Asks for a run. The second part of the answer is false when one was queued already, which is then the answer.
pub async fn enqueue(
    conn: &mut PgConnection,
    pipeline: i16,
    request: &Request,
) -> Result<(i64, bool), sqlx::Error> {
    loop {
        let (release, reason) = request.release.as_ref().map(|(id, why)| (*id, why.as_str())).unzip();
        let row = sqlx::query_as(
            "with fresh as (
                 insert into accord.reconciliation (pipeline, mode, trigger, releases, release_reason)
                 values ($1, $2, $3, $4, $5)
                 on conflict (pipeline) where state = 'queued' do nothing
                 returning id)
             select id, true from fresh
             union all
             select id, false from accord.reconciliation
             where pipeline = $1 and state = 'queued' and not exists (select from fresh)",
        )
        .bind(pipeline)
        .bind(request.mode)
        .bind(request.trigger)
        .bind(release)
        .bind(reason)
        .fetch_optional(&mut *conn)
        .await?;
        // None: it was queued and taken up while we looked.
        if let Some(queued) = row {
            return Ok(queued);
        }
    }
}

/// Whether a run is queued that may begin: while the pipeline is paused, only a comparison that somebody asked for.
pub async fn may_begin(executor: impl PgExecutor<'_>, pipeline: i16) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from accord.reconciliation r join accord.pipeline p on p.id = r.pipeline
                        where r.pipeline = $1 and r.state = 'queued'
                          and (p.paused_since is null or (r.mode = 'diff' and r.trigger = 'manual')))",
    )
    .bind(pipeline)
    .fetch_one(executor)
    .await
}

/// Begins the queued run, if there is one that [may begin](may_begin). To be called by the holder of the pipeline's
/// lock.
pub async fn begin_queued(conn: &mut PgConnection, pipeline: i16) -> Result<Option<Started>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let position = overtake(&mut tx, pipeline).await?;
    if !may_begin(&mut *tx, pipeline).await? {
        tx.commit().await?;
        return Ok(None);
    }
    let started = sqlx::query_as(
        "update accord.reconciliation set state = 'running', started_at = clock_timestamp(), position = $2
         where pipeline = $1 and state = 'queued'
         returning id, mode, trigger, started_at, releases",
    )
    .bind(pipeline)
    .bind(position)
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(started)
}

/// Begins a run that was not queued. To be called by the holder of the pipeline's lock.
pub async fn begin_now(
    conn: &mut PgConnection,
    pipeline: i16,
    request: &Request,
) -> Result<Started, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let position = overtake(&mut tx, pipeline).await?;
    let (release, reason) = request.release.as_ref().map(|(id, why)| (*id, why.as_str())).unzip();
    let started = sqlx::query_as(
        "insert into accord.reconciliation
             (pipeline, mode, trigger, state, started_at, position, releases, release_reason)
         values ($1, $2, $3, 'running', clock_timestamp(), $4, $5, $6)
         returning id, mode, trigger, started_at, releases",
    )
    .bind(pipeline)
    .bind(request.mode)
    .bind(request.trigger)
    .bind(position)
    .bind(release)
    .bind(reason)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(started)
}

/// Waits for the changes that are being written, marks what a dead process left, and gives the ledger's position.
async fn overtake(conn: &mut PgConnection, pipeline: i16) -> Result<i64, sqlx::Error> {
    let position = sqlx::query_scalar("select position from accord.pipeline where id = $1 for no key update")
        .bind(pipeline)
        .fetch_one(&mut *conn)
        .await?;
    // Whoever asks holds the lock, so nobody else runs.
    sqlx::query(
        "update accord.reconciliation set state = 'aborted', finished_at = now()
         where pipeline = $1 and state = 'running'",
    )
    .bind(pipeline)
    .execute(conn)
    .await?;
    Ok(position)
}

/// Writes how far a run is.
pub async fn progress(
    executor: impl PgExecutor<'_>,
    id: i64,
    snapshot: &Snapshot,
) -> Result<(), sqlx::Error> {
    sqlx::query("update accord.reconciliation set progress = $2 where id = $1 and state = 'running'")
        .bind(id)
        .bind(Json(snapshot))
        .execute(executor)
        .await
        .map(drop)
}

/// Writes how a run ended.
pub async fn finish(
    executor: impl PgExecutor<'_>,
    id: i64,
    state: RunState,
    snapshot: &Snapshot,
    report: Option<&Report>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update accord.reconciliation
         set state = $2, finished_at = clock_timestamp(), progress = $3, report = $4
         where id = $1 and state = 'running'",
    )
    .bind(id)
    .bind(state)
    .bind(Json(snapshot))
    .bind(report.map(Json))
    .execute(executor)
    .await
    .map(drop)
}

/// Marks runs whose process died.
pub async fn mark_aborted(executor: impl PgExecutor<'_>) -> Result<u64, sqlx::Error> {
    // A run that ends meanwhile is no longer `running` when its row is looked at again to be written.
    let marked = sqlx::query(
        "update accord.reconciliation r set state = 'aborted', finished_at = now()
         where r.state = 'running' and not exists (
             select from pg_locks l
             where l.locktype = 'advisory' and l.granted and l.objsubid = 2
               and l.database = (select oid from pg_database where datname = current_database())
               and l.classid = $1::int::oid and l.objid::bigint = r.pipeline)",
    )
    .bind(LOCK)
    .execute(executor)
    .await?;
    Ok(marked.rows_affected())
}

/// The run that goes on, else the one that is queued.
pub async fn current(conn: &mut PgConnection, pipeline: i16) -> Result<Option<i64>, sqlx::Error> {
    mark_aborted(&mut *conn).await?;
    sqlx::query_scalar(
        "select id from accord.reconciliation
         where pipeline = $1 and state in ('queued', 'running')
         order by state = 'running' desc limit 1",
    )
    .bind(pipeline)
    .fetch_optional(conn)
    .await
}

/// Rows of the reference when a run last counted them.
pub async fn last_good_source_rows(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
) -> Result<Option<u64>, sqlx::Error> {
    let rows: Option<i64> = sqlx::query_scalar(
        "select (report -> 'rows' ->> 'source')::bigint from accord.reconciliation
         where pipeline = $1 and state in ('clean', 'drift', 'repaired')
         order by id desc limit 1",
    )
    .bind(pipeline)
    .fetch_optional(executor)
    .await?;
    Ok(rows.map(i64::unsigned_abs))
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this pipeline alone.
    pub pipeline: Option<String>,
    /// In this state alone.
    pub state: Option<RunState>,
    /// Older than this one.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// Runs, newest first.
pub async fn list(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<Run>, sqlx::Error> {
    mark_aborted(&mut *conn).await?;
    sqlx::query_as(
        "select r.id, p.name as pipeline, r.mode, r.trigger, r.state, r.requested_at, r.started_at, r.finished_at,
                r.report -> 'counts' as counts, r.report ->> 'reason' as reason, r.releases, r.release_reason
         from accord.reconciliation r join accord.pipeline p on p.id = r.pipeline
         where ($1::text is null or p.name = $1) and ($2::text is null or r.state = $2)
           and ($3::bigint is null or r.id < $3)
         order by r.id desc limit $4",
    )
    .bind(&filter.pipeline)
    .bind(filter.state.map(RunState::as_str))
    .bind(filter.before)
    .bind(filter.limit)
    .fetch_all(conn)
    .await
}

/// One run with all that is known of it.
pub async fn one(conn: &mut PgConnection, id: i64) -> Result<Option<Detail>, sqlx::Error> {
    mark_aborted(&mut *conn).await?;
    sqlx::query_as(
        "select r.id, p.name as pipeline, r.mode, r.trigger, r.state, r.requested_at, r.started_at, r.finished_at,
                r.report -> 'counts' as counts, r.report ->> 'reason' as reason, r.releases, r.release_reason,
                r.progress, r.report
         from accord.reconciliation r join accord.pipeline p on p.id = r.pipeline
         where r.id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await
}

/// Whether a run can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Releasable {
    /// It can: it is a run of this pipeline.
    Yes {
        /// The pipeline's row.
        pipeline: i16,
    },
    /// There is no such run.
    Unknown,
    /// It is not held.
    NotHeld(RunState),
    /// This run did it already.
    Released(i64),
}

/// Looks whether a run is held, and not released yet.
pub async fn releasable(executor: impl PgExecutor<'_>, id: i64) -> Result<Releasable, sqlx::Error> {
    let row: Option<(i16, RunState, Option<i64>)> = sqlx::query_as(
        "select r.pipeline, r.state,
                (select max(n.id) from accord.reconciliation n
                 where n.releases = r.id and n.state not in ('aborted', 'inconclusive'))
         from accord.reconciliation r where r.id = $1",
    )
    .bind(id)
    .fetch_optional(executor)
    .await?;
    Ok(match row {
        None => Releasable::Unknown,
        Some((_, _, Some(by))) => Releasable::Released(by),
        Some((pipeline, RunState::Held, None)) => Releasable::Yes { pipeline },
        Some((_, state, None)) => Releasable::NotHeld(state),
    })
}
