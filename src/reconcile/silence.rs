//! The silent source: rows of the reference change, and no webhook says so. Then our listener is lost or taken.
//!
//! Promises: only an interval between two runs with a row that went stale in it and without a single webhook counts;
//! inserts and deletes prove nothing, for they are never announced; nor does a row that was edited in the library
//! itself. Only a webhook ends a silence. Must not know: how one registers.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::record::{Mode, RunState, Started};
use super::{Counts, Drift, Kind, Report};

/// What a run says about the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that was not known.
    Nothing,
    /// The sender is silent.
    Silent,
    /// It was silent, and speaks again.
    Heard,
}

/// The run that an interval begins with.
#[derive(sqlx::FromRow)]
struct Previous {
    position: i64,
    mode: Mode,
    state: RunState,
    #[sqlx(json)]
    counts: Counts,
}

/// Judges the interval that ends with this run, and remembers the verdict. The run's own repairs do not disturb it.
pub(super) async fn judge(
    conn: &mut PgConnection,
    pipeline: i16,
    run: &Started,
    report: &Report,
    silent_after: u32,
) -> Result<Verdict, sqlx::Error> {
    let found_out = !matches!(RunState::from(report.state), RunState::Inconclusive);
    let Some(previous) = previous(conn, pipeline, run.id).await?.filter(|_| found_out) else {
        return Ok(Verdict::Nothing);
    };
    let heard: bool = sqlx::query_scalar(
        "select exists (select from accord.ledger
                        where pipeline = $1 and position > $2 and origin = 'webhook')",
    )
    .bind(pipeline)
    .bind(previous.position)
    .fetch_one(&mut *conn)
    .await?;
    let went_stale = !heard
        && report.counts.stale > left_over(&previous)
        && is_the_sources(conn, pipeline, run.started_at, &report.drift).await?;
    remember(conn, pipeline, heard, went_stale, silent_after).await
}

async fn previous(conn: &mut PgConnection, pipeline: i16, run: i64) -> Result<Option<Previous>, sqlx::Error> {
    sqlx::query_as(
        "select position, mode, state, report -> 'counts' as counts from accord.reconciliation
         where pipeline = $1 and id < $2 and state in ('clean', 'drift', 'repaired', 'held')
         order by id desc limit 1",
    )
    .bind(pipeline)
    .bind(run)
    .fetch_optional(conn)
    .await
}

/// Stale rows that the previous run left as they were, so that finding them again is no news.
fn left_over(previous: &Previous) -> u64 {
    match (previous.mode, previous.state) {
        (Mode::Diff, _) | (_, RunState::Held) => previous.counts.stale,
        _ => previous.counts.stale.min(previous.counts.held),
    }
}

/// Whether some row is stale because the source changed. Where the library was edited instead, the ledger shows that
/// what the source says was the last thing that we wrote. Told by the rows that the report lists.
async fn is_the_sources(
    conn: &mut PgConnection,
    pipeline: i16,
    began: DateTime<Utc>,
    drift: &[Drift],
) -> Result<bool, sqlx::Error> {
    let stale: Vec<Value> = drift
        .iter()
        .filter(|row| row.kind == Kind::Stale)
        .take(Report::SAMPLE)
        .map(|row| json!({"key": row.key, "columns": row.columns}))
        .collect();
    if stale.is_empty() {
        return Ok(true);
    }
    sqlx::query_scalar(
        "select exists (
             select from jsonb_to_recordset($2) as d(key text, columns jsonb)
             cross join jsonb_to_recordset(d.columns) as c(name text, source jsonb)
             where not coalesce((
                 select (case jsonb_array_length(l.changes -> c.name)
                         when 2 then l.changes -> c.name -> 1 else l.changes -> c.name -> 0 end)
                        = coalesce(c.source, 'null')
                 from accord.ledger l
                 where l.pipeline = $1 and l.key = d.key and l.changes ? c.name and l.at < $3
                 order by l.position desc limit 1), false))",
    )
    .bind(pipeline)
    .bind(Json(stale))
    .bind(began)
    .fetch_one(conn)
    .await
}

async fn remember(
    conn: &mut PgConnection,
    pipeline: i16,
    heard: bool,
    went_stale: bool,
    silent_after: u32,
) -> Result<Verdict, sqlx::Error> {
    let known: Option<(i32, bool)> = sqlx::query_as(
        "select silent_intervals, silent_since is not null from accord.registration where pipeline = $1",
    )
    .bind(pipeline)
    .fetch_optional(&mut *conn)
    .await?;
    let (intervals, was_silent) = known.unwrap_or_default();
    let (intervals, verdict) = weigh(intervals.unsigned_abs(), was_silent, heard, went_stale, silent_after);
    let is_silent = match verdict {
        Verdict::Silent => true,
        Verdict::Heard => false,
        Verdict::Nothing => was_silent,
    };
    sqlx::query(
        "insert into accord.registration as known (pipeline, silent_intervals, silent_since)
         values ($1, $2, case when $3 then now() end)
         on conflict (pipeline) do update
         set silent_intervals = excluded.silent_intervals,
             silent_since = case when $3 then coalesce(known.silent_since, now()) end",
    )
    .bind(pipeline)
    .bind(i32::try_from(intervals).unwrap_or(i32::MAX))
    .bind(is_silent)
    .execute(conn)
    .await?;
    Ok(verdict)
}

/// How many silent intervals there are now, and what follows.
fn weigh(
    intervals: u32,
    was_silent: bool,
    heard: bool,
    went_stale: bool,
    silent_after: u32,
) -> (u32, Verdict) {
    match (heard, went_stale) {
        (true, _) if was_silent => (0, Verdict::Heard),
        (true, _) => (0, Verdict::Nothing),
        (false, true) if was_silent || intervals + 1 >= silent_after => {
            (intervals.saturating_add(1), Verdict::Silent)
        }
        (false, true) => (intervals + 1, Verdict::Nothing),
        // Nothing happened at the source: no proof of anything.
        (false, false) => (if was_silent { intervals } else { 0 }, Verdict::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_takes_several_intervals_in_a_row_and_only_a_webhook_ends_it() {
        const STALE: (bool, bool) = (false, true);
        const QUIET: (bool, bool) = (false, false);
        const HEARD: (bool, bool) = (true, false);
        const SILENT: Verdict = Verdict::Silent;
        let (mut intervals, mut silent) = (0, false);
        let mut told = Vec::new();
        for (heard, went_stale) in [STALE, QUIET, STALE, HEARD, STALE, STALE, STALE, QUIET, HEARD, STALE] {
            let (next, verdict) = weigh(intervals, silent, heard, went_stale, 2);
            intervals = next;
            silent = matches!(verdict, Verdict::Silent) || (silent && verdict == Verdict::Nothing);
            told.push(verdict);
        }
        let no = Verdict::Nothing;
        assert_eq!(told, [no, no, no, no, no, SILENT, SILENT, no, Verdict::Heard, no]);
    }

    #[test]
    fn what_a_run_left_stale_is_no_news_to_the_next() {
        let counts = Counts { stale: 5, held: 2, ..Counts::default() };
        let left = |mode, state| left_over(&Previous { position: 0, mode, state, counts });
        let repair = |state| left(Mode::Repair, state);
        assert_eq!([RunState::Repaired, RunState::Drift, RunState::Held].map(repair), [2, 2, 5]);
        assert_eq!(left(Mode::Diff, RunState::Drift), 5);
    }
}
