//! The last look, at candidates alone: which of them are drift?
//!
//! Promises: what it calls drift showed the same difference twice, as long apart as a change usually takes to
//! arrive; both rows were read in full and compared by Accord's own equality. What kept changing meanwhile is
//! in flight, and what came out equal is nothing. Must not know: why something is a candidate.

use tokio::time::sleep;

use super::diff::{Changed, Difference, Found};
use super::inconclusive::{Inconclusive, Side};
use super::key::{KeyShape, RawKey};
use super::progress::Progress;
use super::side::Lookup;
use super::{Kind, Plan};
use crate::change::Key;
use crate::library::statement::Row;

/// Rows read by one statement.
const BATCH: usize = 1000;

/// How often a candidate is looked at before it counts as in flight.
const LOOKS: u32 = 5;

/// What became of the candidates.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    pub(super) found: Vec<Found>,
    pub(super) in_flight: u64,
}

/// A candidate that is not decided yet.
struct Open {
    key: RawKey,
    /// What the last look saw.
    seen: Option<Difference>,
}

/// Looks at candidates until each is decided.
pub(super) async fn confirm(
    plan: &Plan,
    candidates: Vec<RawKey>,
    progress: &Progress,
) -> Result<Confirmed, Inconclusive> {
    let shape = KeyShape::of(&plan.contract);
    let mut open: Vec<Open> = candidates.into_iter().map(|key| Open { key, seen: None }).collect();
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        if open.is_empty() {
            break;
        }
        sleep(plan.grace).await;
        // By new connections: the last ones have been idle for as long as nobody knows.
        let (mut source, mut target) =
            tokio::try_join!(Lookup::open(Side::Source, plan), Lookup::open(Side::Target, plan))?;
        let mut undecided = Vec::new();
        for batch in open.chunks_mut(BATCH) {
            let keys: Vec<Key> = batch.iter().map(|candidate| shape.key(&candidate.key)).collect();
            let (sources, targets) = tokio::try_join!(source.read(&keys), target.read(&keys))?;
            for (((candidate, key), source), target) in batch.iter_mut().zip(keys).zip(sources).zip(targets) {
                let Some(difference) = Difference::between(source.as_ref(), target.as_ref()) else {
                    continue;
                };
                if candidate.seen.as_ref() == Some(&difference) {
                    found.push(Found { key, difference });
                    progress.confirmed(1);
                } else {
                    let key = candidate.key.clone();
                    undecided.push(Open { key, seen: Some(difference) });
                }
            }
        }
        open = undecided;
    }
    Ok(Confirmed { found, in_flight: u64::try_from(open.len()).unwrap_or_default() })
}

impl Difference {
    /// In what two rows differ; `None` where they do not.
    fn between(source: Option<&Row>, target: Option<&Row>) -> Option<Self> {
        match (source, target) {
            (None, None) => None,
            (Some(_), None) => Some(Self::Missing),
            (None, Some(_)) => Some(Self::Orphan),
            (Some(source), Some(target)) => {
                let columns = source.iter().zip(target).enumerate().filter(|(_, (a, b))| a != b);
                let changed: Vec<Changed> = columns
                    .map(|(column, (source, target))| Changed {
                        column,
                        source: source.clone(),
                        target: target.clone(),
                    })
                    .collect();
                (!changed.is_empty()).then_some(Self::Stale(changed))
            }
        }
    }

    /// In which of the three ways.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Missing => Kind::Missing,
            Self::Stale(_) => Kind::Stale,
            Self::Orphan => Kind::Orphan,
        }
    }
}
