//! Listing and showing quarantine entries.
//!
//! Promises: a page costs as much as its entries, however many there are and whatever it is filtered by; a page
//! begins where the one before it ended, whatever was added meanwhile. Must not know: what may be shown to whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::{PgExecutor, Postgres, QueryBuilder, Row as _};

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

/// Which entries; what is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct Filter {
    /// Of this pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Kept for this reason: the first rule that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With this rule among those that were broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// About this row, as the ledger writes its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kept longer ago than this.
    #[serde(with = "age", skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Duration>,
    /// Kept within this time.
    #[serde(with = "age", skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<Duration>,
}

impl Filter {
    /// The longest age that means anything here.
    const MAX_AGE: Duration = Duration::from_hours(24 * 36_500);

    /// What the database could not be asked for, in words.
    pub fn fault(&self) -> Option<&'static str> {
        let texts = [&self.pipeline, &self.reason, &self.rule, &self.key];
        if texts.into_iter().flatten().any(|text| text.contains('\0') || text.len() > 1024) {
            return Some("The texts of a filter have 1024 bytes at most, and no NUL.");
        }
        let ages = [self.older_than, self.newer_than];
        let is_too_old = ages.into_iter().flatten().any(|age| age > Self::MAX_AGE);
        is_too_old.then_some("The ages of a filter are a hundred years at most.")
    }
}

/// Durations as people write them: `90s`, `2h 30m`, `7 days`.
mod age {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let read = humantime::parse_duration(&text);
        read.map(Some)
            .map_err(|_| D::Error::custom(format!("`{text}` is no duration: write 90s, 2h or 7days")))
    }

    #[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
    pub(super) fn serialize<S: Serializer>(age: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        age.map(|age| humantime::format_duration(age).to_string()).serialize(to)
    }
}

/// Which way a listing goes, and behind which entry it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The newest first; only those before this one.
    Newest(Option<i64>),
    /// The oldest first; only those after this one.
    Oldest(Option<i64>),
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
    q.event_id, q.attempts, q.next_attempt_at";

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
    let mut query = page(filter, from, limit, COLUMNS);
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
    let mut query = page(filter, from, limit, "q.id, p.name");
    let rows = query.build().persistent(false).fetch_all(executor).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Reads each pipeline and state apart, and a rule once as the reason and once among the others: each of these
/// parts is in order in an index, and however rare or common what it looks for is, it reads no more than a page.
fn page(filter: &Filter, from: From, limit: i64, columns: &'static str) -> QueryBuilder<Postgres> {
    let (order, bound, cursor) = match from {
        From::Newest(before) => (" desc", " and q.id < ", before),
        From::Oldest(after) => ("", " and q.id > ", after),
    };
    let states = match &filter.state {
        Some(state) => std::slice::from_ref(state),
        None => &State::ALL[..],
    };
    let rules: &[Option<Rule<'_>>] = match filter.rule.as_deref() {
        None => &[None],
        Some(rule) => &[Some(Rule::Reason(rule)), Some(Rule::Other(rule))],
    };
    let mut query = QueryBuilder::new("select ");
    query.push(columns).push(" from (select q.id from accord.pipeline p cross join lateral (");
    let mut union = "";
    for state in states {
        for rule in rules {
            // The state as a word of the statement: the planner knows how many are in it.
            query
                .push(union)
                .push("(select q.id from accord.quarantine q where q.pipeline = p.id and q.state = '");
            query.push(state.as_str()).push("'");
            union = " union all ";
            if let Some(cursor) = cursor {
                query.push(bound).push_bind(cursor);
            }
            if let Some(rule) = rule {
                rule.ask(&mut query);
            }
            conditions(&mut query, filter);
            query.push(" order by q.id").push(order).push(" limit ").push_bind(limit).push(")");
        }
    }
    query.push(") q where true");
    if let Some(pipeline) = &filter.pipeline {
        query.push(" and p.name = ").push_bind(pipeline.clone());
    }
    query.push(" order by q.id").push(order).push(" limit ").push_bind(limit).push(
        ") page join accord.quarantine q on q.id = page.id
           join accord.pipeline p on p.id = q.pipeline
           join accord.contract c on c.id = q.contract
           order by q.id",
    );
    query.push(order);
    query
}

/// Where a rule may stand in an entry.
#[derive(Clone, Copy)]
enum Rule<'a> {
    Reason(&'a str),
    Other(&'a str),
}

impl Rule<'_> {
    fn ask(self, query: &mut QueryBuilder<Postgres>) {
        match self {
            Self::Reason(rule) => {
                query.push(" and q.reason = ").push_bind(rule.to_owned());
            }
            Self::Other(rule) => {
                query
                    .push(" and q.other_rules <> '{}' and q.other_rules @> array[")
                    .push_bind(rule.to_owned())
                    .push("]::text[]");
            }
        }
    }
}

/// How many entries there are; counts them.
pub async fn count(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select count(*) from accord.pipeline p join accord.quarantine q on q.pipeline = p.id where true",
    );
    if let Some(state) = filter.state {
        query.push(" and q.state = ").push_bind(state.as_str());
    }
    if let Some(pipeline) = &filter.pipeline {
        query.push(" and p.name = ").push_bind(pipeline.clone());
    }
    if let Some(rule) = &filter.rule {
        query.push(" and (q.reason = ").push_bind(rule.clone());
        query.push(" or q.other_rules @> array[").push_bind(rule.clone()).push("]::text[])");
    }
    conditions(&mut query, filter);
    query.build_query_scalar().fetch_one(executor).await
}

/// What is asked of entries beside pipeline, state and rule.
///
/// Ids and instants are handed out in one order, under the pipeline's lock: an age is a range of ids.
fn conditions(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(reason) = &filter.reason {
        query.push(" and q.reason = ").push_bind(reason.clone());
    }
    if let Some(key) = &filter.key {
        query.push(" and q.key = ").push_bind(key.clone());
    }
    if let Some(age) = filter.older_than {
        query
            .push(" and q.id <= (select a.id from accord.quarantine a where a.pipeline = p.id and a.at < now() - make_interval(secs => ")
            .push_bind(age.as_secs_f64())
            .push(") order by a.at desc, a.id desc limit 1)");
    }
    if let Some(age) = filter.newer_than {
        query
            .push(" and q.id >= (select a.id from accord.quarantine a where a.pipeline = p.id and a.at >= now() - make_interval(secs => ")
            .push_bind(age.as_secs_f64())
            .push(") order by a.at, a.id limit 1)");
    }
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
}

/// One entry; none when there is none with this id.
pub async fn one(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Whole>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS).push(
        ", b.bytes, b.headers, q.pointer, e.bytes, q.edit, q.row, q.last_violations, q.attempted_at, q.left_over,
           q.closed_at, q.closed_by, q.closed_reason, q.closed_position
         from accord.quarantine q
         join accord.pipeline p on p.id = q.pipeline
         join accord.contract c on c.id = q.contract
         left join accord.body b on b.hash = q.body
         left join accord.body e on e.hash = q.edit
         where q.id = ",
    );
    query.push_bind(id);
    let Some(row) = query.build().fetch_optional(executor).await? else { return Ok(None) };
    let headers: Option<sqlx::types::Json<_>> = row.try_get(14)?;
    let edit: Option<Vec<u8>> = row.try_get(16)?;
    let left_over: Option<sqlx::types::Json<_>> = row.try_get(21)?;
    Ok(Some(Whole {
        entry: entry(&row)?,
        bytes: row.try_get(13)?,
        headers: headers.map(|json| json.0).unwrap_or_default(),
        pointer: row.try_get(15)?,
        edit: edit.zip(row.try_get(17)?),
        row: row.try_get(18)?,
        last_violations: row.try_get::<Option<sqlx::types::Json<_>>, _>(19)?.map(|json| json.0),
        attempted_at: row.try_get(20)?,
        left_over: left_over.map(|json| json.0).unwrap_or_default(),
        closed: Closed {
            at: row.try_get(22)?,
            by: row.try_get(23)?,
            reason: row.try_get(24)?,
            position: row.try_get(25)?,
        },
    }))
}

/// What the ledger tells of the entry's row from the entry on, and of its replays: the first `limit` events.
pub async fn history(executor: impl PgExecutor<'_>, id: i64, limit: i64) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "select l.position, l.at, l.outcome, l.origin, l.op, l.changes, c.version, l.event_id, l.quarantine
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
