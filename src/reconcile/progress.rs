//! How far a reconciliation is: counted by those who work, read by those who wait.
//!
//! Promises: counting costs an atomic addition. Must not know: who looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A shared counter; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    stage: AtomicU8,
    rows_expected: AtomicU64,
    rows: AtomicU64,
    buckets: AtomicU64,
    candidates: AtomicU64,
    confirmed: AtomicU64,
    repaired: AtomicU64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Connecting, comparing the two tables' shapes.
    #[default]
    Preflight,
    /// Scanning both tables.
    Scan,
    /// Looking at the keys of what differs.
    Leaf,
    /// Reading the candidates again.
    Confirm,
    /// Writing through the waist.
    Repair,
    /// Filling an empty library, through the waist too.
    Fill,
}

const STAGES: [Stage; 6] =
    [Stage::Preflight, Stage::Scan, Stage::Leaf, Stage::Confirm, Stage::Repair, Stage::Fill];

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What is being done.
    pub stage: Stage,
    /// Rows of both sides that a scan will see, as the statistics estimate them.
    pub rows_expected: u64,
    /// Rows of both sides that the scan has seen.
    pub rows: u64,
    /// Buckets that were compared.
    pub buckets: u64,
    /// Rows to look at twice.
    pub candidates: u64,
    /// Candidates that turned out to differ.
    pub confirmed: u64,
    /// Rows brought in accord.
    pub repaired: u64,
}

impl Progress {
    /// Another stage begins.
    pub fn enter(&self, stage: Stage) {
        let index = STAGES.iter().position(|s| *s == stage).unwrap_or_default();
        self.0.stage.store(u8::try_from(index).unwrap_or_default(), Ordering::Relaxed);
    }

    /// So many rows are expected more.
    pub fn expect_rows(&self, n: u64) {
        self.0.rows_expected.fetch_add(n, Ordering::Relaxed);
    }

    /// So many rows more were seen.
    pub fn rows(&self, n: u64) {
        self.0.rows.fetch_add(n, Ordering::Relaxed);
    }

    /// So many buckets more were compared.
    pub fn buckets(&self, n: u64) {
        self.0.buckets.fetch_add(n, Ordering::Relaxed);
    }

    /// So many candidates more were found.
    pub fn candidates(&self, n: u64) {
        self.0.candidates.fetch_add(n, Ordering::Relaxed);
    }

    /// So many candidates more turned out to differ.
    pub fn confirmed(&self, n: u64) {
        self.0.confirmed.fetch_add(n, Ordering::Relaxed);
    }

    /// So many rows more were brought in accord.
    pub fn repaired(&self, n: u64) {
        self.0.repaired.fetch_add(n, Ordering::Relaxed);
    }

    /// The counters as they are.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &*self.0;
        Snapshot {
            stage: STAGES[usize::from(c.stage.load(Ordering::Relaxed)) % STAGES.len()],
            rows_expected: read(&c.rows_expected),
            rows: read(&c.rows),
            buckets: read(&c.buckets),
            candidates: read(&c.candidates),
            confirmed: read(&c.confirmed),
            repaired: read(&c.repaired),
        }
    }
}
