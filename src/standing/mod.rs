//! How a pipeline stands: what its database knows of it, and what of that deserves an operator's eye.
//!
//! Promises: one place reads it ([`read()`]), and one vocabulary names what is wrong ([`Kind`]), for metrics, API, log
//! and command line alike. Must not know: how it is shown.

mod condition;
mod news;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::apply::Health;
use crate::config::{Config, Quarantine};
use crate::contract::Contract;
use crate::library::pause::Pause;
use crate::library::pipeline::GapRecord;
use crate::library::registration::RegistrationState;
use crate::reconcile::record::Run;

pub use condition::{Condition, Kind, Scope, Severity, all};
pub use news::{News, Told};
pub use read::{read, read_all};

/// How one pipeline stands, as the library's database knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The library tables it writes.
    pub tables: Vec<String>,
    /// The last position of its ledger.
    pub position: i64,
    /// When that was committed.
    pub last_change_at: Option<DateTime<Utc>>,
    /// The contract that judged the last change: its name…
    pub contract: Option<String>,
    /// … and its version.
    pub contract_version: Option<String>,
    /// The contract that was last activated.
    pub in_force: Option<InForce>,
    /// An operator paused it.
    pub paused: Option<Pause>,
    /// Changes may have been missed.
    pub gap: Option<GapRecord>,
    /// What waits in its quarantine.
    pub quarantine: Waiting,
    /// How it stands with its sender.
    pub registration: RegistrationState,
    /// The source changes without calling our webhook.
    pub silent_since: Option<DateTime<Utc>>,
    /// What its rules came to.
    pub check: Option<Checked>,
    /// Its newest reconciliation.
    pub reconciliation: Option<Run>,
    /// Reconciliations that a breaker holds, and that nothing made up for since.
    pub held: Option<HeldRun>,
}

/// The contract that judges a pipeline's changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hash of its document.
    pub hash: String,
    /// When it was activated.
    pub at: DateTime<Utc>,
    /// By whom.
    pub activated_by: String,
}

/// What waits in a quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Open entries.
    pub open: u64,
    /// The same by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Those kept within the window of [`Quarantine`], but for a pause.
    pub growth: u64,
    /// The oldest of these.
    pub growing_since: Option<DateTime<Utc>>,
}

/// What the rules of a contract came to: of each, its newest result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The newest run that gave results.
    pub run: i64,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Rules that passed.
    pub passed: u64,
    /// Rules of severity warning that are broken.
    pub warned: u64,
    /// Rules of severity error that are broken.
    pub failed: u64,
    /// Rules that were not executed.
    pub not_executed: u64,
    /// Those that failed.
    pub failing: Vec<String>,
    /// The first run that found one of them broken, and was not followed by one that did not.
    pub failing_since: Option<DateTime<Utc>>,
}

/// Runs that a breaker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRun {
    /// The newest of them.
    pub run: i64,
    /// Why it was held, and what to do.
    pub reason: Option<String>,
    /// When the first of them was held.
    pub since: DateTime<Utc>,
}

/// What a process knows of a pipeline by itself.
#[derive(Clone, Debug)]
pub struct Live {
    /// Whether a change can commit now.
    pub health: Health,
    /// How long the oldest change has been waiting for its answer.
    pub lag: Duration,
}

/// What is normal for a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// When its quarantine is said to grow.
    pub quarantine: Quarantine,
    /// The hash of the contract that is configured, where it can be read.
    pub contract: Option<String>,
}

impl Expected {
    /// What is normal for each pipeline of this configuration.
    pub fn of(config: &Config) -> BTreeMap<String, Self> {
        let of = |pipeline: &crate::config::Pipeline| Self {
            quarantine: pipeline.quarantine.clone(),
            contract: std::fs::read(&pipeline.contract).ok().map(|bytes| Contract::hash_of(&bytes)),
        };
        config.pipeline.iter().map(|(name, pipeline)| (name.clone(), of(pipeline))).collect()
    }
}
