//! Replaying many entries: a row in schema `accord` that says how far it is.
//!
//! Promises: goes from the oldest entry to the newest, once; its progress outlives the process that works on it,
//! and a process that died shows. Once it is done, what became of its entries adds up to their number: those that were
//! not tried are counted too, with why. Must not know: HTTP.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgExecutor, PgPool, Row as _};

use super::replay::{BATCH, ReplayError, Replayer};
use crate::change::Outcome;
use crate::library::quarantine::read::{self, Filter, From, State};

/// A worker that is silent for so long has died.
const SILENCE_SECONDS: f64 = 60.0;

/// A replay of many entries, as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bulk {
    /// Its id.
    pub id: i64,
    /// Which entries.
    pub filter: Filter,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// `running`, `done`, `failed`, or `aborted` when its process died.
    pub state: String,
    /// Why it failed, or why entries were left out.
    pub reason: Option<String>,
    /// Entries to try.
    pub total: i64,
    /// What became of those tried so far.
    #[serde(flatten)]
    pub progress: Progress,
}

/// What became of the entries tried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Applied after all.
    pub released: i64,
    /// Settled by newer data.
    pub superseded: i64,
    /// Refused once more: they stay open.
    pub refused: i64,
    /// Not tried.
    pub left_out: i64,
}

impl Progress {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Applied { .. } | Outcome::Unchanged { .. } => self.released += 1,
            Outcome::Stale { .. } => self.superseded += 1,
            Outcome::Quarantined { .. } => self.refused += 1,
        }
    }

    /// The entries that are done with.
    pub fn done(&self) -> i64 {
        let Self { released, superseded, refused, left_out } = self;
        released + superseded + refused + left_out
    }
}

/// Entries of pipelines that have no waist here to go through, by their pipelines.
type Elsewhere = BTreeMap<String, i64>;

/// Why entries were not tried.
fn left_out(elsewhere: &Elsewhere, others: i64) -> Option<String> {
    let mut reasons: Vec<String> = elsewhere
        .iter()
        .map(|(pipeline, n)| {
            format!("{n} of pipeline `{pipeline}`, which is not configured here: replay them where it is")
        })
        .collect();
    if others > 0 {
        reasons.push(format!("{others} that were closed, or too old for the filter, before their turn"));
    }
    (!reasons.is_empty()).then(|| format!("left out: {}", reasons.join("; ")))
}

/// Writes down that the open entries of this filter are to be tried.
pub async fn request(pool: &PgPool, filter: &Filter, by: &str) -> Result<Bulk, sqlx::Error> {
    let filter = Filter { state: Some(State::Open), ..filter.clone() };
    let total = read::count(pool, &filter).await?;
    let id: i64 = sqlx::query_scalar(
        "insert into accord.replay (filter, requested_by, total) values ($1, $2, $3) returning id",
    )
    .bind(sqlx::types::Json(&filter))
    .bind(by)
    .bind(total)
    .fetch_one(pool)
    .await?;
    get(pool, id).await?.ok_or(sqlx::Error::RowNotFound)
}

/// A replay of many entries; none when there is none with this id.
pub async fn get(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Bulk>, sqlx::Error> {
    let row = sqlx::query(
        "select filter, requested_by, requested_at, finished_at,
                case when state = 'running' and seen_at < now() - make_interval(secs => $2)
                     then 'aborted' else state end,
                reason, total, released, superseded, refused, left_out
         from accord.replay where id = $1",
    )
    .bind(id)
    .bind(SILENCE_SECONDS)
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Bulk {
        id,
        filter: row.try_get::<sqlx::types::Json<_>, _>(0)?.0,
        requested_by: row.try_get(1)?,
        requested_at: row.try_get(2)?,
        finished_at: row.try_get(3)?,
        state: row.try_get(4)?,
        reason: row.try_get(5)?,
        total: row.try_get(6)?,
        progress: Progress {
            released: row.try_get(7)?,
            superseded: row.try_get(8)?,
            refused: row.try_get(9)?,
            left_out: row.try_get(10)?,
        },
    }))
}

/// Does what was requested, telling after each batch how far it is; gives how it ended.
pub async fn run(
    pool: &PgPool,
    bulk: &Bulk,
    replayers: &[Replayer],
    mut tell: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    let mut progress = Progress::default();
    let worked = work(pool, bulk, replayers, &mut progress, &mut tell).await;
    let (state, reason) = match &worked {
        Ok(elsewhere) => {
            let others = (bulk.total - progress.done()).max(0);
            progress.left_out += others;
            ("done", left_out(elsewhere, others))
        }
        Err(error) => ("failed", Some(error.to_string())),
    };
    note(pool, bulk.id, progress, state, reason.as_deref()).await?;
    worked.map(|_| progress)
}

async fn work(
    pool: &PgPool,
    bulk: &Bulk,
    replayers: &[Replayer],
    progress: &mut Progress,
    tell: &mut impl FnMut(Progress),
) -> Result<Elsewhere, ReplayError> {
    let mut elsewhere = Elsewhere::new();
    // What is kept from now on is for the next request.
    let last: i64 =
        sqlx::query_scalar("select coalesce(max(id), 0) from accord.quarantine").fetch_one(pool).await?;
    let mut after = None;
    loop {
        let page = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let mut ids = read::ids(pool, &bulk.filter, From::Oldest(after), page).await?;
        ids.retain(|(id, _)| *id <= last);
        let Some((end, _)) = ids.last() else { return Ok(elsewhere) };
        after = Some(*end);
        let mut by_pipeline: HashMap<&str, Vec<i64>> = HashMap::new();
        for (id, pipeline) in &ids {
            by_pipeline.entry(pipeline).or_default().push(*id);
        }
        for (pipeline, ids) in by_pipeline {
            let Some(replayer) = replayers.iter().find(|r| r.pipeline() == pipeline) else {
                let number = i64::try_from(ids.len()).unwrap_or(i64::MAX);
                *elsewhere.entry(pipeline.to_owned()).or_default() += number;
                progress.left_out += number;
                continue;
            };
            for (_, outcome) in replayer.many(&ids).await? {
                progress.count(&outcome);
            }
        }
        note(pool, bulk.id, *progress, "running", None).await?;
        tell(*progress);
    }
}

async fn note(
    pool: &PgPool,
    id: i64,
    progress: Progress,
    state: &str,
    reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update accord.replay
         set released = $2, superseded = $3, refused = $4, left_out = $5, state = $6, reason = $7, seen_at = now(),
             finished_at = case when $6 <> 'running' then now() end
         where id = $1",
    )
    .bind(id)
    .bind(progress.released)
    .bind(progress.superseded)
    .bind(progress.refused)
    .bind(progress.left_out)
    .bind(state)
    .bind(reason)
    .execute(pool)
    .await
    .map(drop)
}
