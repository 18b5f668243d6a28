//! What is kept of a run: that it was asked for, how far it is, how it ended.
//!
//! Promises: plain data, as the database has it and as it is answered. Must not know: SQL.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Counts, Report, Snapshot, State};

/// What a run does about what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Mode {
    /// It says so.
    Diff,
    /// It repairs it.
    Repair,
}

/// Why a run was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Trigger {
    /// Somebody asked, by HTTP or command line.
    Manual,
    /// It was time.
    Schedule,
    /// Changes may have been missed.
    Gap,
    /// An operator released a run that was held.
    Release,
}

/// How far a run is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum RunState {
    /// It waits for its turn.
    Queued,
    /// It goes on.
    Running,
    /// Both sides say the same.
    Clean,
    /// They differ, and nothing was to be repaired.
    Drift,
    /// They differed, and what differed was repaired.
    Repaired,
    /// An operator has to decide.
    Held,
    /// It could not be found out.
    Inconclusive,
    /// It did not end: its process was stopped, or died.
    Aborted,
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Clean,
        Self::Drift,
        Self::Repaired,
        Self::Held,
        Self::Inconclusive,
        Self::Aborted,
    ];

    /// The word in the database, in answers and as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Clean => "clean",
            Self::Drift => "drift",
            Self::Repaired => "repaired",
            Self::Held => "held",
            Self::Inconclusive => "inconclusive",
            Self::Aborted => "aborted",
        }
    }
}

impl From<State> for RunState {
    fn from(state: State) -> Self {
        match state {
            State::Clean => Self::Clean,
            State::Drift => Self::Drift,
            State::Repaired => Self::Repaired,
            State::Held => Self::Held,
            State::Inconclusive => Self::Inconclusive,
        }
    }
}

/// A run in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The pipeline's name.
    pub pipeline: String,
    /// What it does about what differs.
    pub mode: Mode,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// How far it is, or how it ended.
    pub state: RunState,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Rows by what became of them, once it ended.
    #[sqlx(json(nullable))]
    pub counts: Option<Counts>,
    /// Why it was held or inconclusive, and what to do.
    pub reason: Option<String>,
    /// The held run whose limits it lifts…
    pub releases: Option<i64>,
    /// … and why.
    pub release_reason: Option<String>,
}

/// A run with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Detail {
    /// The run in short.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub run: Run,
    /// How far it is, or was.
    #[sqlx(json(nullable))]
    pub progress: Option<Snapshot>,
    /// What it found, once it ended.
    #[sqlx(json(nullable))]
    pub report: Option<Report>,
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it does about what differs.
    pub mode: Mode,
    /// Why it is asked for.
    pub trigger: Trigger,
    /// The held run whose limits it lifts, and why.
    pub release: Option<(i64, String)>,
}

impl Request {
    /// A run within the limits.
    pub fn new(mode: Mode, trigger: Trigger) -> Self {
        Self { mode, trigger, release: None }
    }

    /// A repair without limits, in the place of a run that was held.
    pub fn release(held: i64, reason: impl Into<String>) -> Self {
        Self { mode: Mode::Repair, trigger: Trigger::Release, release: Some((held, reason.into())) }
    }
}

/// The command that releases a run which was held.
pub fn release_command(pipeline: &str, run: i64) -> String {
    format!("`accord reconcile {pipeline} --release {run} --reason …`")
}

/// A run that begins: what its process needs to know.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Started {
    /// Its number.
    pub id: i64,
    /// What it does about what differs.
    pub mode: Mode,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// When it began, by the library's clock: every change that was being written then has been committed.
    pub started_at: DateTime<Utc>,
    /// The run that it releases.
    pub releases: Option<i64>,
}
