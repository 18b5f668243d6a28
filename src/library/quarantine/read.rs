//! Listing and showing quarantine entries.
//!
//! Promises: a page begins where the one before it ended, whatever was added meanwhile. Must not know: what may be
//! shown to whom.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::{PgExecutor, Postgres, QueryBuilder, Row as _};

use super::filter;
pub use super::filter::{Filter, From};
use crate::change::{Body, Violation};
use crate::library::history::Event;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Open,
    /// It was applied after all.
    Released,
    /// Newer data settled all that it says.
    Superseded,
    /// An operator put it aside.
    Discarded,
    /// Its bytes were erased.
    Purged,
}

impl State {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Open, Self::Released, Self::Superseded, Self::Discarded, Self::Purged];

    /// The word in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Released => "released",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
            Self::Purged => "purged",
        }
    }
}

/// An entry as listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: i64,
    /// Its pipeline.
    pub pipeline: String,
    /// What became of it.
    pub state: State,
    /// When it was kept.
    pub at: DateTime<Utc>,
    /// Its place in the ledger.
    pub position: i64,
    /// The row it is about, where that is known.
    pub key: Option<String>,
    /// The first rule that it breaks.
    pub reason: String,
    /// Every rule that it breaks.
    pub violations: Vec<Violation>,
    /// The version of the contract that judged it.
    pub contract: String,
    /// That contract's row of `accord.contract`.
    #[serde(skip)]
    pub judged_by: i32,
    /// Who handed it in.
    pub origin: String,
    /// The sender's id.
    pub event_id: Option<String>,
    /// How often it was tried again.
    pub attempts: i32,
    /// When it is tried again by itself.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What is selected of an entry, in the order of [`entry`].
const COLUMNS: &str =
    "q.id, p.name, q.state, q.at, q.position, q.key, q.reason, q.violations, c.version, q.origin,
    q.event_id, q.attempts, q.next_attempt_at, q.contract";

fn entry(row: &sqlx::postgres::PgRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: row.try_get(0)?,
        pipeline: row.try_get(1)?,
        state: state(row.try_get(2)?)?,
        at: row.try_get(3)?,
        position: row.try_get(4)?,
        key: row.try_get(5)?,
        reason: row.try_get(6)?,
        violations: row.try_get::<sqlx::types::Json<_>, _>(7)?.0,
        contract: row.try_get(8)?,
        origin: row.try_get(9)?,
        event_id: row.try_get(10)?,
        attempts: row.try_get(11)?,
        next_attempt_at: row.try_get(12)?,
        judged_by: row.try_get(13)?,
    })
}

fn state(word: &str) -> Result<State, sqlx::Error> {
    let known = State::ALL.into_iter().find(|state| state.as_str() == word);
    known.ok_or_else(|| sqlx::Error::Decode(format!("an entry is in state `{word}`").into()))
}

/// A page of entries.
pub async fn list(
    executor: impl PgExecutor<'_>,
    filter: &Filter,
    from: From,
    limit: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    let mut query = filter::page(filter, from, limit, COLUMNS);
    // Planned anew each time: the best plan depends on what is looked for.
    query.build().persistent(false).fetch_all(executor).await?.iter().map(entry).collect()
}

/// The ids of a page, with their pipelines.
pub async fn ids(
    executor: impl PgExecutor<'_>,
    filter: &Filter,
    from: From,
    limit: i64,
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let mut query = filter::page(filter, from, limit, "q.id, p.name");
    let rows = query.build().persistent(false).fetch_all(executor).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// How many entries there are; counts them.
pub async fn count(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<i64, sqlx::Error> {
    filter::number(filter).build_query_scalar().fetch_one(executor).await
}

/// All that is kept of one entry.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The entry as listed.
    pub entry: Entry,
    /// The original bytes, until they are purged.
    pub bytes: Option<Vec<u8>>,
    /// The sender's headers that were kept.
    pub headers: Vec<(String, String)>,
    /// The record's place in the bytes.
    pub pointer: String,
    /// The payload that an operator put beside it, with its hash.
    pub edit: Option<(Vec<u8>, Vec<u8>)>,
    /// The row as it was.
    pub row: Option<Json>,
    /// Why the newest attempt was refused.
    pub last_violations: Option<Vec<Violation>>,
    /// When it was tried last.
    pub attempted_at: Option<DateTime<Utc>>,
    /// Columns that newer data had settled when it was released.
    pub left_over: Vec<String>,
    /// When, by whom, why and at which place of the ledger it was closed.
    pub closed: Closed,
}

/// How an entry was closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    #[serde(rename = "closed_at")]
    pub at: Option<DateTime<Utc>>,
    /// By whom, where that was a person's decision.
    #[serde(rename = "closed_by")]
    pub by: Option<String>,
    /// Why, in that person's words.
    #[serde(rename = "closed_reason")]
    pub reason: Option<String>,
    /// By which place of the ledger.
    #[serde(rename = "closed_position")]
    pub position: Option<i64>,
    /// How it was closed before its bytes were erased.
    #[serde(rename = "closed_before", skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// How an entry was closed that was purged later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The state that it was in.
    pub state: State,
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// By whom, where that was a person's decision.
    pub by: Option<String>,
    /// Why, in that person's words.
    pub reason: Option<String>,
    /// By which place of the ledger.
    pub position: Option<i64>,
}

/// One entry; none when there is none with this id.
pub async fn one(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Whole>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS).push(
        ", b.bytes, b.headers, q.pointer, e.bytes, q.edit, q.row, q.last_violations, q.attempted_at, q.left_over,
           q.closed_at, q.closed_by, q.closed_reason, q.closed_position, q.closed_before
         from accord.quarantine q
         join accord.pipeline p on p.id = q.pipeline
         join accord.contract c on c.id = q.contract
         left join accord.body b on b.hash = q.body
         left join accord.body e on e.hash = q.edit
         where q.id = ",
    );
    query.push_bind(id);
    let Some(row) = query.build().fetch_optional(executor).await? else { return Ok(None) };
    let headers: Option<sqlx::types::Json<_>> = row.try_get(15)?;
    let edit: Option<Vec<u8>> = row.try_get(17)?;
    let left_over: Option<sqlx::types::Json<_>> = row.try_get(22)?;
    Ok(Some(Whole {
        entry: entry(&row)?,
        bytes: row.try_get(14)?,
        headers: headers.map(|json| json.0).unwrap_or_default(),
        pointer: row.try_get(16)?,
        edit: edit.zip(row.try_get(18)?),
        row: row.try_get(19)?,
        last_violations: row.try_get::<Option<sqlx::types::Json<_>>, _>(20)?.map(|json| json.0),
        attempted_at: row.try_get(21)?,
        left_over: left_over.map(|json| json.0).unwrap_or_default(),
        closed: Closed {
            at: row.try_get(23)?,
            by: row.try_get(24)?,
            reason: row.try_get(25)?,
            position: row.try_get(26)?,
            before: row.try_get::<Option<sqlx::types::Json<_>>, _>(27)?.map(|json| json.0),
        },
    }))
}

/// What the ledger tells of the entry's row from the entry on, and of its replays: the first `limit` events.
pub async fn history(executor: impl PgExecutor<'_>, id: i64, limit: i64) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "select l.position, l.at, l.outcome, l.origin, l.op, l.changes, c.version, l.event_id, l.quarantine, l.contract
         from accord.quarantine q
         join accord.ledger l on l.pipeline = q.pipeline and l.position >= q.position
             and (l.key = q.key or l.position = q.position)
         join accord.contract c on c.id = l.contract
         where q.id = $1 order by l.position limit $2",
    )
    .bind(id)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    rows.iter().map(Event::read).collect()
}

/// An entry to try again.
#[derive(Debug)]
pub struct Stored {
    /// The entry.
    pub id: i64,
    /// The original bytes.
    pub body: Arc<Body>,
    /// The record's place in them.
    pub pointer: String,
}

/// The oldest of those entries that are open, until their bodies have so many bytes together; one at least.
pub async fn fitting(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
    ids: &[i64],
    bytes: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select id from (
             select id, sum(bytes) over (order by id) - bytes as before from (
                 select q.id, case when row_number() over (partition by q.body order by q.id) = 1
                              then octet_length(b.bytes) else 0 end::int8 as bytes
                 from accord.quarantine q
                 join accord.pipeline p on p.id = q.pipeline
                 join accord.body b on b.hash = q.body
                 where p.name = $1 and q.id = any($2) and q.state = 'open') each) summed
         where before < $3 order by id",
    )
    .bind(pipeline)
    .bind(ids)
    .bind(bytes)
    .fetch_all(executor)
    .await
}

/// The payloads of those entries that are open, oldest first; entries of one body share its bytes.
pub async fn stored(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
    ids: &[i64],
) -> Result<Vec<Stored>, sqlx::Error> {
    let rows = sqlx::query(
        "select q.id, q.pointer, b.hash,
                case when row_number() over (partition by b.hash order by q.id) = 1 then b.bytes end, b.received_at
         from accord.quarantine q
         join accord.pipeline p on p.id = q.pipeline
         join accord.body b on b.hash = q.body
         where p.name = $1 and q.id = any($2) and q.state = 'open'
         order by q.id",
    )
    .bind(pipeline)
    .bind(ids)
    .fetch_all(executor)
    .await?;
    let mut bodies: HashMap<Vec<u8>, Arc<Body>> = HashMap::new();
    let mut stored = Vec::with_capacity(rows.len());
    for row in &rows {
        let hash: Vec<u8> = row.try_get(2)?;
        if let Some(bytes) = row.try_get::<Option<Vec<u8>>, _>(3)? {
            let body = Body { bytes: bytes.into(), headers: Vec::new(), received_at: row.try_get(4)? };
            bodies.insert(hash.clone(), Arc::new(body));
        }
        if let Some(body) = bodies.get(&hash) {
            let body = Arc::clone(body);
            stored.push(Stored { id: row.try_get(0)?, body, pointer: row.try_get(1)? });
        }
    }
    Ok(stored)
}
