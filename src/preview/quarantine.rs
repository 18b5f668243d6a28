//! The open quarantine: what would be let in, and what would not.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::sync::watch;

use super::tally::{KEYS, shown};
use super::{Gates, Progress, Stage};
use crate::change::{Intent, Origin};
use crate::library::quarantine::read::{self, Filter, From, State, Stored};

/// Entries read at once: few, for each may bring a body along.
const PAGE: i64 = 64;

/// What both contracts think of what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// How many entries are open.
    pub open: u64,
    /// Refused by the active contract, and taken by the new one. Whether a replay then succeeds is for the table, the
    /// reference and newer changes to say.
    pub would_pass: u64,
    /// The first few of them.
    pub passing: Vec<Entry>,
    /// Refused by the new contract.
    pub still_refused: u64,
    /// The first few of them.
    pub refused: Vec<Entry>,
    /// Taken by both contracts: what they wait for no contract decides.
    pub waiting: Vec<Waiting>,
}

/// An entry, to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// The row it is about, where that is known.
    pub key: Option<String>,
}

/// Entries that wait for something that no contract decides, or for a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Why they were kept: `foreignKey`, `incomplete`, …
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Judges each open entry's bytes, the oldest first.
pub(super) async fn judge(
    conn: &mut PgConnection,
    gates: &Gates,
    pipeline: &str,
    progress: &watch::Sender<Progress>,
) -> Result<Quarantine, sqlx::Error> {
    let filter =
        Filter { pipeline: Some(pipeline.to_owned()), state: Some(State::Open), ..Filter::default() };
    let of = u64::try_from(read::count(&mut *conn, &filter).await?).ok();
    let mut found = Quarantine::default();
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = read::list(&mut *conn, &filter, From::Oldest(after), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let ids: Vec<i64> = page.iter().map(|entry| entry.id).collect();
        let stored = read::stored(&mut *conn, pipeline, &ids).await?;
        let stored: HashMap<i64, Stored> = stored.into_iter().map(|stored| (stored.id, stored)).collect();
        for entry in page {
            let Some(stored) = stored.get(&entry.id) else { continue };
            found.open += 1;
            let told = Entry { id: entry.id, key: entry.key.as_deref().map(shown) };
            let takes = |gate: &crate::contract::gate::Gate| {
                let change = gate.judge_at(&stored.body, &stored.pointer, Origin::Replay);
                !matches!(change.intent, Intent::Refused { .. })
            };
            match (takes(&gates.proposed), takes(&gates.active)) {
                (false, _) => {
                    found.still_refused += 1;
                    keep(&mut found.refused, told);
                }
                (true, false) => {
                    found.would_pass += 1;
                    keep(&mut found.passing, told);
                }
                (true, true) => *waiting.entry(entry.reason).or_default() += 1,
            }
        }
        progress.send_replace(Progress { stage: Stage::Quarantine, done: found.open, of });
    }
    found.waiting = waiting.into_iter().map(|(reason, count)| Waiting { reason, count }).collect();
    Ok(found)
}

fn keep(kept: &mut Vec<Entry>, entry: Entry) {
    if kept.len() < KEYS {
        kept.push(entry);
    }
}
