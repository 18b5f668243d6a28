//! Replay: another try of what was refused, under the contract of today.
//!
//! Promises: goes through the waist, which alone decides what newer data has left to set and writes what became
//! of the entry, in one transaction. Must not know: who asks.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::apply::{Applier, Refused};
use crate::change::{Body, Change, Origin, Outcome, Replay};
use crate::contract::Contract;
use crate::contract::gate::Gate;
use crate::library::quarantine::read::{self, State};

/// Entries a transaction: few, for each holds the lock that webhooks wait for.
pub const BATCH: usize = 200;

/// Bytes a transaction: few, for a waist holds no more than its budget, which webhooks need.
const BATCH_BYTES: i64 = 8 << 20;

/// Pauses before a batch is handed in again while the waist is too busy.
const PAUSES: [u64; 6] = [100, 250, 500, 1000, 2000, 5000];

/// Why an entry was not tried.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is none.
    #[error("pipeline `{pipeline}` has no quarantine entry {id}")]
    Unknown {
        /// The pipeline.
        pipeline: String,
        /// The entry that was asked for.
        id: i64,
    },
    /// It is closed.
    #[error("the entry is {} already: only open entries can be replayed", .0.as_str())]
    Closed(State),
    /// The waist did not take it.
    #[error("the entry stays open: {0}; try again later")]
    Refused(#[source] Refused),
    /// An operator paused the pipeline.
    #[error(
        "pipeline `{pipeline}` is paused since {}, and its entries stay open: resume it first, with `accord resume \
         {pipeline}`",
        since.format("%Y-%m-%d %H:%M:%S UTC")
    )]
    Paused {
        /// The pipeline.
        pipeline: String,
        /// Since when.
        since: DateTime<Utc>,
    },
    /// The database could not be read.
    #[error("the quarantine cannot be read")]
    Database(#[from] sqlx::Error),
}

/// Tries the entries of one pipeline again; cheap to clone.
#[derive(Clone, Debug)]
pub struct Replayer {
    pipeline: Arc<str>,
    gate: Gate,
    applier: Applier,
    pool: PgPool,
}

impl Replayer {
    /// A replayer that hands in at this waist.
    pub fn new(pipeline: impl Into<Arc<str>>, gate: Gate, applier: Applier, pool: PgPool) -> Self {
        Self { pipeline: pipeline.into(), gate, applier, pool }
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The contract that it judges by.
    pub fn contract(&self) -> &Contract {
        self.gate.contract()
    }

    /// Tries one entry, with its own payload or with an edited one.
    pub async fn one(&self, id: i64, edited: Option<Vec<u8>>) -> Result<Outcome, ReplayError> {
        let stored = read::stored(&self.pool, &self.pipeline, &[id]).await?;
        let Some(stored) = stored.into_iter().next() else {
            return Err(match read::one(&self.pool, id).await? {
                Some(whole) if whole.entry.pipeline == *self.pipeline => {
                    ReplayError::Closed(whole.entry.state)
                }
                _ => ReplayError::Unknown { pipeline: self.pipeline.to_string(), id },
            });
        };
        let change = match edited {
            None => self.change(id, &stored.body, &stored.pointer, false),
            Some(bytes) => self.change(id, &Body::new(bytes, Vec::new()), "", true),
        };
        let mut outcomes = self.hand_in(vec![change]).await?;
        outcomes.pop().ok_or(ReplayError::Refused(Refused::Stopping))
    }

    /// Tries those of the entries that are open, in the order in which they came.
    pub async fn many(&self, ids: &[i64]) -> Result<Vec<(i64, Outcome)>, ReplayError> {
        let mut tried = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            let mut left = ids.to_vec();
            while !left.is_empty() {
                let now = read::fitting(&self.pool, &self.pipeline, &left, BATCH_BYTES).await?;
                if now.is_empty() {
                    break;
                }
                left.retain(|id| !now.contains(id));
                let stored = read::stored(&self.pool, &self.pipeline, &now).await?;
                let changes = stored.iter().map(|s| self.change(s.id, &s.body, &s.pointer, false)).collect();
                let outcomes = self.hand_in(changes).await?;
                tried.extend(stored.iter().map(|stored| stored.id).zip(outcomes));
            }
        }
        Ok(tried)
    }

    fn change(&self, entry: i64, body: &Arc<Body>, pointer: &str, edited: bool) -> Change {
        let change = self.gate.judge_at(body, pointer, Origin::Replay);
        Change { replays: Some(Replay { entry, edited }), ..change }
    }

    async fn hand_in(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, ReplayError> {
        let mut pauses = PAUSES.iter();
        loop {
            match (self.applier.apply(changes.clone()).await, pauses.next()) {
                (Err(Refused::Busy), Some(&pause)) => {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                (Ok(answers), _) => return Ok(answers.into_iter().map(|answer| answer.outcome).collect()),
                (Err(Refused::Paused { since }), _) => {
                    return Err(ReplayError::Paused { pipeline: self.pipeline.to_string(), since });
                }
                (Err(refused), _) => return Err(ReplayError::Refused(refused)),
            }
        }
    }
}
