//! What a pause makes of a batch.
//!
//! Promises: a sender's change is kept, whole, whatever it says: one that the gate took waits in quarantine as
//! `paused`, one that it refused keeps its own reasons. What we want by ourselves (repairs, a fill, another try) is
//! turned away untouched, for it can be wanted again. Must not know: SQL, and how a pause comes and goes.

use crate::apply::Refused;
use crate::apply::batch::Settled;
use crate::change::{Change, Intent, Origin, Violation};
use crate::library::pause::{self, Pause};

/// A batch as a pause leaves it.
pub(super) struct Sorted<'a> {
    pause: &'a Pause,
    /// For each change what is kept of it; none where it is turned away.
    kept: Vec<Option<Change>>,
}

impl<'a> Sorted<'a> {
    /// Sorts a batch.
    pub(super) fn new(pause: &'a Pause, batch: &[&Change]) -> Self {
        let why = Violation::record(pause::RULE, sentence(pause));
        let kept = batch.iter().map(|change| is_a_senders(change).then(|| keep(change, &why)));
        Self { pause, kept: kept.collect() }
    }

    /// The changes that are kept, in their order.
    pub(super) fn kept(&self) -> Vec<&Change> {
        self.kept.iter().flatten().collect()
    }

    /// What became of each change of the batch, from what became of those that were kept.
    pub(super) fn settled(&self, kept: Vec<Settled>) -> Vec<Settled> {
        let mut settled = kept.into_iter();
        let turned_away = || Settled { answer: Err(Refused::Paused { since: self.pause.since }), op: None };
        let of = |change: &Option<Change>| change.as_ref().and_then(|_| settled.next());
        self.kept.iter().map(of).map(|one| one.unwrap_or_else(turned_away)).collect()
    }
}

/// Whether nobody but us has this change: then it must not get lost.
fn is_a_senders(change: &Change) -> bool {
    match change.origin {
        Origin::Webhook => change.replays.is_none(),
        Origin::Replay | Origin::Reconcile | Origin::Backfill => false,
    }
}

fn keep(change: &Change, why: &Violation) -> Change {
    let intent = match &change.intent {
        refused @ Intent::Refused { .. } => refused.clone(),
        good => Intent::Refused { key: good.key().cloned(), violations: vec![why.clone()] },
    };
    Change { intent, ..change.clone() }
}

fn sentence(pause: &Pause) -> String {
    format!(
        "the pipeline is paused since {}: {}; the change is kept, and replayed when the pipeline is resumed",
        pause.since.format("%Y-%m-%d %H:%M:%S UTC"),
        Violation::cut(&pause.reason)
    )
}
