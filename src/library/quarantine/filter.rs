//! Which entries of the quarantine: what can be asked for, and the statements that ask.
//!
//! Promises: a page costs as much as its entries, however many there are and whatever it is filtered by. Must not
//! know: what is read of an entry.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

use super::read::State;

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

/// Reads each pipeline and state apart, and a rule once as the reason and once among the others: each of these
/// parts is in order in an index, and however rare or common what it looks for is, it reads no more than a page.
pub(super) fn page(filter: &Filter, from: From, limit: i64, columns: &'static str) -> QueryBuilder<Postgres> {
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

/// The number of entries, which counts them.
pub(super) fn number(filter: &Filter) -> QueryBuilder<Postgres> {
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
    query
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
