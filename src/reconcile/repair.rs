//! Repair: brings confirmed drift in accord, through the waist.
//!
//! Promises: the row that is written is the one the reference has when it is written, never the one that was
//! compared; never deletes more than the breakers let pass; a row that cannot be taken is quarantined once, not at
//! every run. Must not know: how drift was found.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::PgPool;

use super::breaker::Passed;
use super::diff::Found;
use super::report::Kind;
use super::{Plan, Progress};
use crate::apply::{Applier, Refused};
use crate::change::{Answer, Body, Change, Intent, Origin, Outcome};
use crate::contract::Contract;
use crate::library::quarantine;
use crate::library::statement::Row;

/// Rows a transaction: few, for each holds the lock that webhooks wait for.
const BATCH: usize = 100;

/// Pauses before a batch is handed in again while the waist is too busy.
const PAUSES: [u64; 6] = [100, 250, 500, 1000, 2000, 5000];

/// What a repair came to.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Rows brought in accord.
    pub(super) repaired: u64,
    /// Rows that changed meanwhile, so that there was nothing to do, or not this.
    pub(super) in_flight: u64,
    /// Rows that neither contract nor table takes.
    pub(super) held: u64,
    /// Why it ended early.
    pub(super) stopped: Option<String>,
}

/// Repairs all that was found: first what is missing or stale, then what only the library has.
pub(super) async fn repair(
    plan: &Plan,
    applier: &Applier,
    quarantine: Option<&(PgPool, i16)>,
    passed: &Passed,
    found: Vec<Found>,
    progress: &Progress,
) -> Repaired {
    let (orphans, others): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|found| found.kind == Kind::Orphan);
    let allowed = usize::try_from(passed.deletes()).unwrap_or(usize::MAX);
    let mut repaired = Repaired::default();
    for batch in others.chunks(BATCH).chain(orphans[..orphans.len().min(allowed)].chunks(BATCH)) {
        let changes = batch.iter().map(|found| change(&plan.contract, found)).collect();
        if let Err(reason) =
            one_batch(applier, quarantine, &plan.contract, changes, &mut repaired, progress).await
        {
            repaired.stopped = Some(format!(
                "the repair ended early, after {} rows: {reason}; run it again",
                repaired.repaired
            ));
            break;
        }
    }
    repaired
}

/// Hands one batch in, again while the waist is busy, and counts what became of it.
async fn one_batch(
    applier: &Applier,
    quarantine: Option<&(PgPool, i16)>,
    contract: &Contract,
    mut changes: Vec<Change>,
    repaired: &mut Repaired,
    progress: &Progress,
) -> Result<(), String> {
    if let Some((pool, pipeline)) = quarantine {
        let kept = already_kept(pool, *pipeline, contract, &changes).await;
        let kept = kept.map_err(|error| format!("the quarantine cannot be read: {error}"))?;
        repaired.held += kept.len() as u64;
        let mut index = 0..;
        changes.retain(|_| index.next().is_none_or(|i| !kept.contains(&i)));
    }
    let silences = applier.reference_silences();
    let answers = hand_in(applier, &changes).await.map_err(|refused| refused.to_string())?;
    let was_silent = applier.reference_silences() != silences;
    let mut unread = 0;
    for answer in &answers {
        match answer.outcome {
            Outcome::Applied { .. } => {
                repaired.repaired += 1;
                progress.repaired(1);
            }
            Outcome::Unchanged { .. } => repaired.in_flight += 1,
            Outcome::Stale { .. } if was_silent => unread += 1,
            Outcome::Stale { .. } => repaired.in_flight += 1,
            Outcome::Quarantined { .. } => repaired.held += 1,
        }
    }
    if unread > 0 { Err("the reference did not answer".to_owned()) } else { Ok(()) }
}

async fn hand_in(applier: &Applier, changes: &[Change]) -> Result<Vec<Answer>, Refused> {
    let mut pauses = PAUSES.iter();
    loop {
        match (applier.apply(changes.to_vec()).await, pauses.next()) {
            // What timed out may be applied all the same: following the reference once more does no harm.
            (Err(Refused::Busy | Refused::TimedOut), Some(&pause)) => {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            (answer, _) => return answer,
        }
    }
}

/// Which of these changes wait in quarantine already, refused by this same contract with this same row.
async fn already_kept(
    pool: &PgPool,
    pipeline: i16,
    contract: &Contract,
    changes: &[Change],
) -> Result<HashSet<usize>, sqlx::Error> {
    let entries: Vec<(&str, [u8; 32])> = changes
        .iter()
        .filter_map(|change| Some((&**change.intent.key()?.text(), change.body.sha256())))
        .collect();
    quarantine::open_among(pool, pipeline, &contract.hash, Origin::Reconcile.as_str(), &entries).await
}

/// The change that repairs a row: whatever the reference says by then. Its body shows what was compared.
fn change(contract: &Contract, found: &Found) -> Change {
    let body = found.source.as_ref().map_or_else(|| "null".to_owned(), |row| record(contract, row));
    Change {
        // Only what was confirmed to be the library's alone may go; what else vanished is for the next run.
        intent: Intent::Follow { key: found.key.clone(), may_delete: found.kind == Kind::Orphan },
        origin: Origin::Reconcile,
        event_id: None,
        body: Body::new(body, Vec::new()),
        pointer: String::new(),
    }
}

/// A row as a sender would have sent it.
fn record(contract: &Contract, row: &Row) -> String {
    let fields = contract.columns.iter().zip(row);
    let object: serde_json::Map<_, _> =
        fields.map(|(column, value)| (column.field.clone(), value.to_json())).collect();
    serde_json::Value::Object(object).to_string()
}
