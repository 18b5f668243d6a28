//! How a pipeline stands: whether it may have missed something, whether its source speaks, what the newest run found.
//!
//! Promises: reads only; a run whose process died is told as `aborted`. Must not know: how it is shown.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};

use super::lock::LOCK;
use super::record::{Run, RunState};
use crate::library::pipeline::GapRecord;

/// How one pipeline stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub pipeline: String,
    /// Changes may have been missed.
    pub gap: Option<GapRecord>,
    /// The source changes without calling our webhook.
    pub silent_since: Option<DateTime<Utc>>,
    /// Its newest reconciliation.
    pub reconciliation: Option<Run>,
}

/// How all pipelines stand, or the one of this name.
pub async fn read(conn: &mut PgConnection, name: Option<&str>) -> Result<Vec<Standing>, sqlx::Error> {
    // Locks first: what runs since before, and holds none, is dead.
    let (looked_at, held): (DateTime<Utc>, Vec<i32>) = sqlx::query_as(
        "select clock_timestamp(), array(
             select objid::int from pg_locks
             where locktype = 'advisory' and granted and objsubid = 2 and classid = $1::int::oid
               and database = (select oid from pg_database where datname = current_database()))",
    )
    .bind(LOCK)
    .fetch_one(&mut *conn)
    .await?;
    let rows = sqlx::query(
        "select p.id::int, p.name, p.gap_since, p.gap_reasons, s.silent_since,
                r.id, r.mode, r.trigger, r.state, r.requested_at, r.started_at, r.finished_at,
                r.report -> 'counts', r.report ->> 'reason', r.releases, r.release_reason
         from accord.pipeline p
         left join accord.registration s on s.pipeline = p.id
         left join lateral (select * from accord.reconciliation where pipeline = p.id
                            order by id desc limit 1) r on true
         where $1::text is null or p.name = $1
         order by p.name",
    )
    .bind(name)
    .fetch_all(conn)
    .await?;
    let mut standings = Vec::with_capacity(rows.len());
    for row in &rows {
        let since: Option<DateTime<Utc>> = row.try_get(2)?;
        let reasons = row.try_get(3)?;
        let mut standing = Standing {
            pipeline: row.try_get(1)?,
            gap: since.map(|since| GapRecord { since, reasons }),
            silent_since: row.try_get(4)?,
            reconciliation: None,
        };
        if let Some(id) = row.try_get(5)? {
            let run = Run {
                id,
                pipeline: standing.pipeline.clone(),
                mode: row.try_get(6)?,
                trigger: row.try_get(7)?,
                state: row.try_get(8)?,
                requested_at: row.try_get(9)?,
                started_at: row.try_get(10)?,
                finished_at: row.try_get(11)?,
                counts: row.try_get::<Option<Json<_>>, _>(12)?.map(|Json(counts)| counts),
                reason: row.try_get(13)?,
                releases: row.try_get(14)?,
                release_reason: row.try_get(15)?,
            };
            let is_held = held.contains(&row.try_get(0)?);
            standing.reconciliation = Some(judged(run, is_held, looked_at));
        }
        standings.push(standing);
    }
    Ok(standings)
}

fn judged(run: Run, is_held: bool, looked_at: DateTime<Utc>) -> Run {
    let ran_then = run.started_at.is_some_and(|began| began < looked_at);
    let is_dead = run.state == RunState::Running && ran_then && !is_held;
    Run { state: if is_dead { RunState::Aborted } else { run.state }, ..run }
}
