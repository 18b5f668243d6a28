//! What a reconciliation found, and what came of it.
//!
//! Promises: serializes to the one object that CLI and HTTP print; the counts are of rows, all of them, however
//! few keys are listed. Must not know: how anything was found.

use serde::{Deserialize, Serialize};

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Both sides say the same.
    Clean,
    /// They differ, and nothing was to be repaired.
    Drift,
    /// They differed, and what differed was repaired.
    Repaired,
    /// They differ by more than may be repaired without an operator's word.
    Held,
    /// It could not be found out.
    Inconclusive,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The library lacks it.
    Missing,
    /// The library has it with other values.
    Stale,
    /// Only the library has it.
    Orphan,
}

/// One row in which the two sides differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The library's table.
    pub table: String,
    /// Which row, as the ledger writes it.
    pub key: String,
    /// How it differs.
    pub kind: Kind,
    /// The columns that differ, of a stale row.
    pub columns: Vec<ChangedColumn>,
}

/// One column in which a stale row differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedColumn {
    /// Its name.
    pub name: String,
    /// What the reference says.
    pub source: serde_json::Value,
    /// What the library says.
    pub target: serde_json::Value,
}

/// Rows by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Confirmed: the library lacks them.
    pub missing: u64,
    /// Confirmed: the library has them with other values.
    pub stale: u64,
    /// Confirmed: only the library has them.
    pub orphan: u64,
    /// Changed while we looked: the next run will tell.
    pub in_flight: u64,
    /// Brought in accord.
    pub repaired: u64,
    /// Left as they are: a breaker held them, or the contract refuses the reference's row.
    pub held: u64,
}

impl Counts {
    /// Rows that differ.
    pub fn drifted(&self) -> u64 {
        self.missing + self.stale + self.orphan
    }
}

/// Rows read on each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows of the reference.
    pub source: u64,
    /// Rows of the library.
    pub target: u64,
}

/// Bytes received from each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// From the reference.
    pub source: u64,
    /// From the library.
    pub target: u64,
}

/// The whole of what a reconciliation has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub state: State,
    /// Rows by what became of them.
    pub counts: Counts,
    /// Rows read on each side.
    pub rows: Rows,
    /// Buckets whose digests differ; none where no buckets were compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dirty_buckets: Option<u64>,
    /// Rows that were looked at twice.
    pub candidates: u64,
    /// The rows that differ: all of them, or a sample.
    pub drift: Vec<Drift>,
    /// Why it was held or inconclusive, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Bytes received from each side.
    pub bytes: Bytes,
}

impl Report {
    /// Rows listed where not all are asked for.
    pub const SAMPLE: usize = 20;

    /// The report of what could not be found out.
    pub(super) fn inconclusive(reason: String) -> Self {
        Self {
            state: State::Inconclusive,
            counts: Counts::default(),
            rows: Rows::default(),
            dirty_buckets: None,
            candidates: 0,
            drift: Vec::new(),
            reason: Some(reason),
            seconds: 0.0,
            bytes: Bytes::default(),
        }
    }

    /// What a command that ends with this report says to its shell: 0 clean or done, 3 drift, 4 held or
    /// inconclusive.
    pub fn exit_code(&self) -> u8 {
        match self.state {
            State::Clean | State::Repaired => 0,
            State::Drift => 3,
            State::Held | State::Inconclusive => 4,
        }
    }
}
