//! What the handles and the writer of a pipeline share: health, gaps, numbers.
//!
//! Promises: a gap marked here is written with the next commit, or stays marked. Must not know: SQL.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::apply::batch::Settled;
use crate::apply::waiting::Waiting;
use crate::change::Change;
use crate::telemetry::metrics::PipelineMetrics;

/// Why changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gap {
    /// The process started: what came before was not heard.
    Start,
    /// A change was refused (503, 413, an unreadable request).
    Refused,
    /// The library's database was away.
    Outage,
    /// The reference did not answer, so a payload was applied unverified.
    Reference,
    /// The sender was unreachable and came back.
    SenderBack,
    /// We had to register with the sender anew.
    Registration,
    /// The library was filled from the reference, key after key: what came in behind was not seen.
    Backfill,
}

impl Gap {
    /// The word kept in `accord.pipeline.gap_reasons` and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Refused => "refused",
            Self::Outage => "outage",
            Self::Reference => "reference",
            Self::SenderBack => "sender_back",
            Self::Registration => "registration",
            Self::Backfill => "backfill",
        }
    }
}

/// Whether a change can commit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Ready,
    /// Not before the first contact with the database.
    Starting,
    /// The database is away since then.
    Away {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, fit for an operator.
        reason: String,
    },
    /// Every change fails alike, or a statement of ours is refused: an operator has to look.
    Halted {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, fit for an operator.
        reason: String,
    },
}

/// The shared state of one pipeline's waist.
#[derive(Debug)]
pub(super) struct Shared {
    health: Mutex<Health>,
    gaps: Mutex<Vec<Gap>>,
    held: AtomicUsize,
    waiting: Arc<Waiting>,
    silences: AtomicU64,
    metrics: PipelineMetrics,
}

impl Shared {
    pub(super) fn new(metrics: PipelineMetrics) -> Self {
        let waiting: Arc<Waiting> = Arc::default();
        metrics.lag_of(Arc::clone(&waiting));
        Self {
            health: Mutex::new(Health::Starting),
            gaps: Mutex::new(Vec::new()),
            held: AtomicUsize::new(0),
            waiting,
            silences: AtomicU64::new(0),
            metrics,
        }
    }

    /// Counts a request as held for as long as the guard lives.
    pub(super) fn hold(&self, changes: usize) -> Held<'_> {
        let changes = i64::try_from(changes).unwrap_or(i64::MAX);
        self.held.fetch_add(1, Ordering::Relaxed);
        self.metrics.held(1);
        self.metrics.queued(changes);
        Held { shared: self, changes, place: self.waiting.come() }
    }

    /// How long the oldest request has been held.
    pub(super) fn lag(&self) -> Duration {
        self.waiting.longest()
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The reference was asked and did not answer.
    pub(super) fn reference_was_silent(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reference_silences(&self) -> u64 {
        self.silences.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> Health {
        locked(&self.health).clone()
    }

    /// Sets the health; true when it is another state than before. The first instant of a state is kept.
    pub(super) fn set_health(&self, health: Health) -> bool {
        let mut current = locked(&self.health);
        let same = std::mem::discriminant(&*current) == std::mem::discriminant(&health);
        if !same {
            *current = health;
        }
        !same
    }

    pub(super) fn mark_gap(&self, gap: Gap) {
        let mut gaps = locked(&self.gaps);
        if !gaps.contains(&gap) {
            gaps.push(gap);
        }
        self.metrics.gap(true);
    }

    /// The gaps that no commit has carried yet.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        locked(&self.gaps).clone()
    }

    /// A commit carried these.
    pub(super) fn gaps_written(&self, written: &[Gap]) {
        if !written.is_empty() {
            locked(&self.gaps).retain(|gap| !written.contains(gap));
        }
    }

    pub(super) fn committed(&self, batch: &[&Change], settled: &[Settled], took: Duration) {
        self.metrics.batch(batch.len(), took);
        for (change, Settled { answer, .. }) in batch.iter().zip(settled) {
            let Ok(answer) = answer else { continue };
            let word = if answer.duplicate { "duplicate" } else { answer.outcome.as_str() };
            self.metrics.changes(change.origin, word, 1);
        }
    }
}

/// A request that is held.
pub(super) struct Held<'a> {
    shared: &'a Shared,
    changes: i64,
    place: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.waiting.leave(self.place);
        self.shared.held.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.held(-1);
        self.shared.metrics.queued(-self.changes);
    }
}

/// The state stays usable after a panic elsewhere: each critical section is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
