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
use super::inconclusive::Side;
use super::report::Kind;
use super::side::Lookup;
use super::{Plan, Progress};
use crate::apply::{Applier, Refused};
use crate::change::{Answer, Body, Change, Intent, Key, Origin, Outcome};
use crate::contract::Contract;
use crate::library::quarantine;
use crate::library::statement::Row;

/// Rows a transaction: few, for each holds the lock that webhooks wait for.
const BATCH: usize = 100;

/// Pauses before a batch is handed in again while the waist is too busy.
const PAUSES: [u64; 6] = [100, 250, 500, 1000, 2000, 5000];

/// What repairs are done with.
pub(super) struct Repair<'a> {
    pub(super) plan: &'a Plan,
    pub(super) applier: &'a Applier,
    /// Where the pipeline's quarantine is, and the pipeline's id.
    pub(super) quarantine: Option<&'a (PgPool, i16)>,
    pub(super) progress: &'a Progress,
}

/// What a repair came to.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Rows brought in accord.
    pub(super) applied: u64,
    /// Rows that changed meanwhile, so that there was nothing to do, or not this.
    pub(super) in_flight: u64,
    /// Rows that neither contract nor table takes.
    pub(super) held: u64,
    /// Why it ended early.
    pub(super) stopped: Option<String>,
}

impl Repair<'_> {
    /// Repairs all that was found: first what is missing or stale, then what only the library has.
    pub(super) async fn run(&self, found: Vec<Found>, passed: &Passed) -> Repaired {
        let mut repaired = Repaired::default();
        if let Err(reason) = self.all(found, passed, &mut repaired).await {
            repaired.stopped = Some(format!(
                "the repair ended early, after {} rows: {reason}; run it again",
                repaired.applied
            ));
        }
        repaired
    }

    async fn all(&self, found: Vec<Found>, passed: &Passed, repaired: &mut Repaired) -> Result<(), String> {
        let (orphans, others): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| found.kind() == Kind::Orphan);
        let allowed = usize::try_from(passed.deletes()).unwrap_or(usize::MAX);
        let orphans = &orphans[..orphans.len().min(allowed)];
        let mut source = Lookup::open(Side::Source, self.plan).await.map_err(|error| error.reason())?;
        for batch in others.chunks(BATCH).chain(orphans.chunks(BATCH)) {
            let keys: Vec<Key> = batch.iter().map(|found| found.key.clone()).collect();
            let rows = source.read(&keys).await.map_err(|error| error.reason())?;
            let changes = batch.iter().zip(rows).map(|(found, row)| self.change(found, row.as_ref()));
            self.batch(changes.collect(), repaired).await?;
        }
        Ok(())
    }

    /// The change that repairs a row: whatever the reference says when it is applied. What the reference says now
    /// is only shown, where the row ends up in quarantine.
    fn change(&self, found: &Found, row: Option<&Row>) -> Change {
        let body = row.map_or_else(|| "null".to_owned(), |row| record(&self.plan.contract, row));
        // Only what was confirmed to be the library's alone may go; what vanished since is for the next run.
        let may_delete = found.kind() == Kind::Orphan;
        Change {
            intent: Intent::Follow { key: found.key.clone(), may_delete },
            origin: Origin::Reconcile,
            event_id: None,
            body: Body::new(body, Vec::new()),
            pointer: String::new(),
            replays: None,
        }
    }

    /// Hands one batch in, and counts what became of it.
    async fn batch(&self, mut changes: Vec<Change>, repaired: &mut Repaired) -> Result<(), String> {
        let kept = self.already_kept(&changes).await;
        let kept = kept.map_err(|error| format!("the quarantine cannot be read: {error}"))?;
        repaired.held += kept.len() as u64;
        let mut index = 0..;
        changes.retain(|_| index.next().is_none_or(|i| !kept.contains(&i)));

        let silences = self.applier.reference_silences();
        let answers = hand_in(self.applier, &changes).await.map_err(|refused| refused.to_string())?;
        let was_silent = self.applier.reference_silences() != silences;
        let mut unread = false;
        for answer in &answers {
            match answer.outcome {
                Outcome::Applied { .. } => {
                    repaired.applied += 1;
                    self.progress.repaired(1);
                }
                Outcome::Stale { .. } if was_silent => unread = true,
                Outcome::Stale { .. } | Outcome::Unchanged { .. } => repaired.in_flight += 1,
                Outcome::Quarantined { .. } => repaired.held += 1,
            }
        }
        if unread { Err("the reference did not answer".to_owned()) } else { Ok(()) }
    }

    /// Which of these changes wait in quarantine already, refused by this same contract with this same row.
    async fn already_kept(&self, changes: &[Change]) -> Result<HashSet<usize>, sqlx::Error> {
        let Some((pool, pipeline)) = self.quarantine else { return Ok(HashSet::new()) };
        let entries: Vec<(&str, [u8; 32])> = changes
            .iter()
            .filter_map(|change| Some((&**change.intent.key()?.text(), change.body.sha256())))
            .collect();
        let (contract, origin) = (&self.plan.contract.hash, Origin::Reconcile.as_str());
        quarantine::open_among(pool, *pipeline, contract, origin, &entries).await
    }
}

/// Hands changes in, again while the waist is busy.
pub(super) async fn hand_in(applier: &Applier, changes: &[Change]) -> Result<Vec<Answer>, Refused> {
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

/// A row as a sender would have sent it.
pub(super) fn record(contract: &Contract, row: &Row) -> String {
    let fields = contract.columns.iter().zip(row);
    let object: serde_json::Map<_, _> =
        fields.map(|(column, value)| (column.field.clone(), value.to_json())).collect();
    serde_json::Value::Object(object).to_string()
}
