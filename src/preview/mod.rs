//! Contract change with foresight: a new contract, judged against what is stored, beside the one in force.
//!
//! Promises: only reads, in one snapshot; memory does not grow with what is stored; what the active contract refuses
//! as well is no news; nothing that was judged is shown but its key. Must not know: who asks, or what is done about it.
//!
//! `rows` (the library's table), `changes` (what the ledger says was accepted lately), `quarantine` (what waits) hand
//! what they read to both gates, and `tally` counts; `checks` measures the table as a whole.

mod changes;
mod checks;
mod quarantine;
mod rows;
mod tally;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;

use crate::contract::Contract;
use crate::contract::gate::Gate;
use crate::library::statement::TableSql;
use crate::library::{facts, session};
use crate::quality::CheckError;

pub use changes::Changes;
pub use checks::{Checks, Failing};
pub use quarantine::{Entry, Quarantine, Waiting};
pub use tally::{Broken, KEYS, Tally};

/// How long ago a change may have been accepted to count as recent, where nobody says.
pub const SINCE: Duration = Duration::from_hours(24 * 7);

/// The most recent changes that are judged.
pub const NEWEST: u64 = 100_000;

/// What a new contract would mean.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Preview {
    /// The pipeline whose changes it would judge.
    pub pipeline: String,
    /// The contract that judges now.
    pub active: Document,
    /// The one that would.
    pub proposed: Document,
    /// Why it is not to be put in force as things are, a sentence each; empty when nothing newly fails.
    pub failures: Vec<String>,
    /// What is worth knowing, and refuses nothing.
    pub notes: Vec<String>,
    /// Where table and new contract disagree, a sentence each: it could not even be worked with.
    pub disagreements: Vec<String>,
    /// The library's rows; none where table and contract disagree, for then no row can be judged.
    pub rows: Option<Tally>,
    /// What is promised of the table as a whole; none as for rows.
    pub checks: Option<Checks>,
    /// Changes that were accepted lately.
    pub changes: Changes,
    /// What waits in quarantine.
    pub quarantine: Quarantine,
}

/// A contract's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its `id`.
    pub name: String,
    /// Its `version`.
    pub version: String,
    /// SHA-256 of its bytes, in hex.
    pub hash: String,
}

/// Which pipeline is looked at, and how far back.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The library.
    pub connect: &'a PgConnectOptions,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The contract that judges now.
    pub active: Arc<Contract>,
    /// The one that would.
    pub proposed: Arc<Contract>,
    /// How long ago a change may have been accepted to count.
    pub since: Duration,
    /// How many of them are judged at most.
    pub newest: u64,
}

/// How far a preview is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being judged.
    pub stage: Stage,
    /// How many were.
    pub done: u64,
    /// How many there are, where that is known.
    pub of: Option<u64>,
}

/// What is being judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing yet: table and contracts are compared.
    #[default]
    Shape,
    /// The library's rows.
    Rows,
    /// Changes that were accepted lately.
    Changes,
    /// Entries of the quarantine.
    Quarantine,
    /// The table as a whole.
    Checks,
}

/// A preview could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The database did not answer, or refused to be read.
    #[error("the library's database cannot be read; see `accord doctor`")]
    Database(#[from] sqlx::Error),
    /// The table could not be measured.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Both contracts' gates.
struct Gates {
    proposed: Gate,
    active: Gate,
}

/// Judges the new contract against what is stored. `progress` is kept up to date meanwhile.
pub async fn preview(
    subject: &Subject<'_>,
    progress: &watch::Sender<Progress>,
) -> Result<Preview, PreviewError> {
    let mut conn = session::connect_checker(subject.connect).await?;
    let (proposed, active) = (&subject.proposed, &subject.active);
    let gates = Gates { proposed: Gate::new(Arc::clone(proposed)), active: Gate::new(Arc::clone(active)) };
    // What reads a table from several places at once would give other keys each time.
    sqlx::raw_sql("begin isolation level repeatable read read only; set local synchronize_seqscans = off")
        .execute(&mut conn)
        .await?;
    let disagreements = disagreements(&mut conn, proposed).await?;
    // With a table that was altered already, the active contract has nothing to say of the rows any more.
    let has_moved_on = !self::disagreements(&mut conn, active).await?.is_empty();
    let can_be_judged = disagreements.is_empty();
    let rows = if can_be_judged {
        Some(rows::judge(&mut conn, &gates, has_moved_on, progress).await?)
    } else {
        None
    };
    let changes = changes::judge(&mut conn, &gates, subject, progress).await?;
    let quarantine = quarantine::judge(&mut conn, &gates, subject.pipeline, progress).await?;
    sqlx::raw_sql("commit").execute(&mut conn).await?;
    progress.send_replace(Progress { stage: Stage::Checks, ..Progress::default() });
    let checks = if can_be_judged {
        Some(checks::judge(conn, subject.connect, proposed, active).await?)
    } else {
        None
    };
    let mut preview = Preview {
        pipeline: subject.pipeline.to_owned(),
        active: Document::of(active),
        proposed: Document::of(proposed),
        failures: Vec::new(),
        notes: Vec::new(),
        disagreements,
        rows,
        checks,
        changes,
        quarantine,
    };
    preview.notes = verdict::notes(&preview, proposed, active, has_moved_on);
    preview.failures = verdict::failures(&preview);
    Ok(preview)
}

async fn disagreements(conn: &mut PgConnection, contract: &Contract) -> Result<Vec<String>, sqlx::Error> {
    facts::disagreements(conn, TableSql::new(contract).target(), contract).await
}

impl Document {
    fn of(contract: &Contract) -> Self {
        let Contract { name, version, hash, .. } = contract;
        Self { name: name.clone(), version: version.clone(), hash: hash.clone() }
    }
}
