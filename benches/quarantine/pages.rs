//! Pages of a large quarantine, each timed.

use std::fmt;
use std::time::{Duration, Instant};

use accord::library::quarantine::read::{self, Filter, From, State};
use serde::Serialize;
use sqlx::PgPool;

/// What a page may take.
pub(crate) const GOAL_MS: f64 = 50.0;

/// Entries a page, as by default.
const PAGE: i64 = 50;

/// How long one kind of page took.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    what: &'static str,
    entries: usize,
    median_ms: f64,
    max_ms: f64,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, entries, median_ms, max_ms } = self;
        let verdict = if *max_ms < GOAL_MS { "" } else { "  OVER THE GOAL" };
        write!(
            f,
            "  {what:<28} {entries:>3} entries  median {median_ms:>7.2} ms  max {max_ms:>7.2} ms{verdict}"
        )
    }
}

/// Reads each kind of page so many times.
pub(crate) async fn measure(pool: &PgPool, entries: i64, times: usize) -> anyhow::Result<Vec<Page>> {
    let open = || Filter { state: Some(State::Open), ..Filter::default() };
    let age = |seconds: i64| Some(Duration::from_secs(seconds.unsigned_abs()));
    let middle = entries / 2;
    let newest = From::Newest(None);
    let cases = [
        ("the newest", open(), newest),
        ("in any state", Filter::default(), newest),
        ("of one pipeline", Filter { pipeline: Some("items".into()), ..open() }, newest),
        ("by a common rule", Filter { rule: Some("maxLength".into()), ..open() }, newest),
        ("by a rare rule", Filter { rule: Some("rare".into()), ..open() }, newest),
        ("by a rule that nobody broke", Filter { rule: Some("none".into()), ..open() }, newest),
        ("by a common reason", Filter { reason: Some("pattern".into()), ..open() }, newest),
        ("by a rare reason", Filter { reason: Some("rare".into()), ..open() }, newest),
        ("by key", Filter { key: Some(middle.to_string()), ..open() }, newest),
        ("older than half of them", Filter { older_than: age(middle), ..open() }, newest),
        ("newer than half of them", Filter { newer_than: age(middle), ..open() }, From::Oldest(None)),
        ("the oldest few by age", Filter { older_than: age(entries - 20), ..open() }, newest),
        ("rare, and old", Filter { rule: Some("rare".into()), older_than: age(middle), ..open() }, newest),
        ("a cursor in the middle", open(), From::Newest(Some(middle))),
        ("a cursor near the end", open(), From::Newest(Some(60))),
    ];
    let mut pages = Vec::with_capacity(cases.len());
    for (what, filter, from) in cases {
        let mut taken = Vec::with_capacity(times);
        let mut found = 0;
        for _ in 0..times.max(1) {
            let began = Instant::now();
            found = read::list(pool, &filter, from, PAGE + 1).await?.len();
            taken.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        taken.sort_by(f64::total_cmp);
        let (median_ms, max_ms) = (taken[taken.len() / 2], taken[taken.len() - 1]);
        pages.push(Page { what, entries: found, median_ms, max_ms });
    }
    Ok(pages)
}
