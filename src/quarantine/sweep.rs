//! What the leader does with the quarantine by itself.
//!
//! Promises: an entry all of whose fields newer changes have named becomes superseded, whichever pipeline of its table
//! they came through; an entry whose reason may
//! heal is tried again, with growing pauses, and at once when its parent arrives; what a pause kept is replayed once
//! it ended, in the order in which it came, a batch after the other. Of a paused pipeline nothing is tried. Looks only
//! at what the ledger gained since the last round. Must not know: who leads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use sqlx::{PgPool, Row as _};

use super::replay::{BATCH, ReplayError, Replayer};
use crate::contract::Contract;
use crate::contract::gate::record_at;
use crate::library::quarantine::read;
use crate::library::quarantine::standing::{self, Asked};

/// Between two rounds, unless there is more to do.
const PAUSE: Duration = Duration::from_secs(1);

/// Positions of the ledger that one look takes in.
const STEP: i64 = 5000;

/// Keeps the quarantine of these pipelines swept; never returns.
pub async fn keep_swept(pool: &PgPool, replayers: &[Replayer]) {
    let mut sweep = Sweep::default();
    loop {
        match sweep.round(pool, replayers).await {
            // Batches stay small, so that webhooks get in between.
            Ok(Round::MoreIsDue) => continue,
            Ok(Round::Done) => {}
            Err(error) => tracing::debug!(%error, "the quarantine could not be swept; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was looked at so far.
#[derive(Debug, Default)]
pub struct Sweep {
    positions: HashMap<i16, i64>,
    /// A first round was done: a pipeline that appears from now on is new from its beginning.
    began: bool,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Whatever was due is tried.
    Done,
    /// A whole batch was, and there may be more.
    MoreIsDue,
}

/// A pipeline and the part of its ledger that is new.
struct News {
    pipeline: i16,
    from: i64,
    to: i64,
}

impl Sweep {
    /// One round.
    pub async fn round(&mut self, pool: &PgPool, replayers: &[Replayer]) -> Result<Round, ReplayError> {
        for news in self.news(pool).await? {
            supersede(pool, replayers, &news).await?;
            wake(pool, &news).await?;
            self.positions.insert(news.pipeline, news.to);
        }
        let mut round = Round::Done;
        for replayer in replayers {
            let due = due(pool, replayer.pipeline()).await?;
            match replayer.many(&due).await {
                Ok(tried) if due.len() == BATCH && !tried.is_empty() => round = Round::MoreIsDue,
                // Paused since we looked, it stays due.
                Ok(_) | Err(ReplayError::Paused { .. }) => {}
                // A pipeline that takes nothing now holds up no other.
                Err(error) => {
                    tracing::debug!(pipeline = replayer.pipeline(), %error, "what is due is tried again later");
                }
            }
        }
        self.began = true;
        Ok(round)
    }

    /// The pipelines whose ledgers have grown. At first, from the oldest open entry of their tables on.
    async fn news(&self, pool: &PgPool) -> Result<Vec<News>, sqlx::Error> {
        let rows = sqlx::query(
            // What is newer than another pipeline's entry is found from the newest line backwards: it is looked at anyway.
            "select p.id, p.position,
                    case when $1 then 0 else least(
                        (select min(q.position) from accord.quarantine q
                         where q.pipeline = p.id and q.state = 'open'),
                        (select coalesce((select l.position from accord.ledger l
                                          where l.pipeline = p.id and l.at <= min(open.at)
                                          order by l.position desc limit 1), 0)
                         from accord.pipeline o
                         cross join lateral (
                             select q.at from accord.quarantine q
                             where q.pipeline = o.id and q.state = 'open' order by q.position limit 1) open
                         where o.tables && p.tables and o.id <> p.id
                         having count(*) > 0),
                        p.position) end
             from accord.pipeline p",
        )
        .bind(self.began)
        .fetch_all(pool)
        .await?;
        let mut all = Vec::new();
        for row in &rows {
            let (pipeline, position): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
            let from = match self.positions.get(&pipeline) {
                Some(from) => *from,
                None => row.try_get(2)?,
            };
            if from < position {
                let to = position.min(from + STEP);
                all.push(News { pipeline, from, to });
            }
        }
        Ok(all)
    }
}

/// An open entry whose row the news name.
struct Touched {
    id: i64,
    key: String,
}

/// Closes the open entries all of whose fields newer changes have named.
async fn supersede(pool: &PgPool, replayers: &[Replayer], news: &News) -> Result<(), sqlx::Error> {
    for ((pipeline, name), touched) in touched(pool, news).await? {
        // What a payload says is read by the contract of its own pipeline, where that is known here.
        let Some(replayer) = replayers.iter().find(|replayer| replayer.pipeline() == name) else { continue };
        for touched in touched.chunks(BATCH) {
            let over = settled(pool, replayer, pipeline, touched).await?;
            if !over.is_empty() {
                let position = (pipeline == news.pipeline).then_some(news.to);
                let closed = standing::supersede(pool, &over, position).await?;
                tracing::info!(pipeline = name, entries = closed, "newer data settled quarantine entries");
            }
        }
    }
    Ok(())
}

/// The open entries, by their pipelines, that are older than what the news say of their rows.
async fn touched(pool: &PgPool, news: &News) -> Result<BTreeMap<(i16, String), Vec<Touched>>, sqlx::Error> {
    let rows = sqlx::query(
        // A replay is as old as what it replays: one after the other, they do not settle those still to come. State
        // and position are hidden from the planner: any index but the key's would read all open entries each time.
        // Positions of two ledgers say nothing of each other; their instants are in order, for they share a lock.
        "select distinct o.id, o.name, q.id, q.key from accord.ledger l
         join accord.pipeline p on p.id = l.pipeline
         join accord.pipeline o on o.tables && p.tables
         left join accord.quarantine replayed on l.origin = 'replay' and replayed.id = l.quarantine
         cross join lateral (
             select q.id, q.key from accord.quarantine q
             where q.pipeline = o.id and q.key = l.key collate \"default\" and (q.state = 'open') is true
               and case when o.id = l.pipeline then q.position < coalesce(replayed.position, l.position)
                        else q.at < coalesce(replayed.at, l.at) end
             offset 0) q
         where l.pipeline = $1 and l.position > $2 and l.position <= $3 and l.outcome in ('applied', 'unchanged')
         order by q.id",
    )
    .bind(news.pipeline)
    .bind(news.from)
    .bind(news.to)
    .fetch_all(pool)
    .await?;
    let mut touched: BTreeMap<(i16, String), Vec<Touched>> = BTreeMap::new();
    for row in &rows {
        let entry = Touched { id: row.try_get(2)?, key: row.try_get(3)? };
        touched.entry((row.try_get(0)?, row.try_get(1)?)).or_default().push(entry);
    }
    Ok(touched)
}

/// Those of a pipeline's entries of which newer changes have left nothing.
async fn settled(
    pool: &PgPool,
    replayer: &Replayer,
    pipeline: i16,
    touched: &[Touched],
) -> Result<Vec<i64>, sqlx::Error> {
    let ids: Vec<i64> = touched.iter().map(|entry| entry.id).collect();
    let asked: Vec<_> =
        touched.iter().map(|entry| Asked { entry: entry.id, key: Some(&entry.key) }).collect();
    let since = standing::since(pool, pipeline, &asked).await?;
    let settled: HashMap<i64, (bool, HashSet<String>)> = since
        .into_iter()
        .filter(|since| !since.is_older)
        .map(|since| (since.entry, (since.remade, since.names.into_iter().collect())))
        .collect();
    let stored = read::stored(pool, replayer.pipeline(), &ids).await?;
    let over = stored.iter().filter(|stored| {
        let Some((remade, names)) = settled.get(&stored.id) else { return false };
        let text = record_at(&stored.body.bytes, &stored.pointer);
        let fields = text.map(|text| columns(replayer.contract(), text)).unwrap_or_default();
        !fields.is_empty() && (*remade || fields.iter().all(|field| names.contains(*field)))
    });
    Ok(over.map(|stored| stored.id).collect())
}

/// The columns, but for the key's, that a payload names, whether or not it names them well.
fn columns<'a>(contract: &'a Contract, text: &str) -> Vec<&'a str> {
    let Ok(record) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) else {
        return Vec::new();
    };
    let indices = record.keys().filter_map(|field| contract.by_field.get(field));
    indices.filter(|i| !contract.key.contains(i)).map(|i| contract.columns[*i].name.as_str()).collect()
}

/// Has the entries that wait for a parent tried again when rows were added to the table that the parent is in.
async fn wake(pool: &PgPool, news: &News) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update accord.quarantine q set next_attempt_at = now()
         where q.state = 'open' and q.next_attempt_at > now()
           and coalesce(q.last_violations, q.violations) -> 0 ->> 'rule' = 'foreignKey'
           and exists (select from accord.ledger l
                       where l.pipeline = $1 and l.position > $2 and l.position <= $3
                         and l.op = 'insert' and l.outcome = 'applied')
           and coalesce(q.last_violations, q.violations) -> 0 ->> 'value' in (
               select c.conname from pg_constraint c
               join accord.pipeline p on p.id = $1
               join pg_class t on t.oid = c.confrelid
               join pg_namespace n on n.oid = t.relnamespace
               where c.contype = 'f' and format('%I.%I', n.nspname, t.relname) = any(p.tables))",
    )
    .bind(news.pipeline)
    .bind(news.from)
    .bind(news.to)
    .execute(pool)
    .await
    .map(drop)
}

/// The entries that are to be tried again by now; of a paused pipeline, none.
async fn due(pool: &PgPool, pipeline: &str) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select q.id from accord.quarantine q join accord.pipeline p on p.id = q.pipeline
         where p.name = $1 and p.paused_since is null and q.state = 'open' and q.next_attempt_at <= now()
         order by q.next_attempt_at, q.id limit $2",
    )
    .bind(pipeline)
    .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
}
