//! The waist: everything that changes the library passes [`Applier::apply`].
//!
//! Promises: the seven of ARCHITECTURE.md; an answer is given only after the commit that made it true. Must
//! not know: axum, rdkafka, reqwest, or who is asking.

mod batch;
mod disposition;
mod flush;
mod fold;
mod guard;
mod paused;
mod reference;
mod slice;
mod state;
mod story;
mod waiting;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::change::{Answer, Body, Change};
use crate::contract::gate::Gate;
use crate::telemetry::metrics::PipelineMetrics;

pub use reference::ReferenceSettings;
use state::Shared;
pub use state::{Gap, Health};
pub use story::STORY;
pub use waiting::Waiting;

/// What a payload is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is a hint: the row is read afresh from the reference.
    Refetch,
    /// It is applied.
    Apply,
}

impl Mode {
    /// The word used in configuration and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refetch => "refetch",
            Self::Apply => "apply",
        }
    }
}

/// How one pipeline applies changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline's name.
    pub name: String,
    /// Judges what the reference says; holds the contract.
    pub gate: Gate,
    /// Where the library is.
    pub connect: PgConnectOptions,
    /// What a payload is worth.
    pub mode: Mode,
    /// The source's own database, where it can be read.
    pub reference: Option<ReferenceSettings>,
    /// The most changes in one transaction.
    pub max_batch: usize,
    /// The most requests held at once.
    pub max_held: usize,
    /// The most bytes of bodies held at once.
    pub max_held_bytes: usize,
    /// How long a request is held.
    pub hold: Duration,
    /// Where the numbers go.
    pub metrics: PipelineMetrics,
}

/// Why a change was not answered. It may have been taken or not; the sender may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests are held as we are willing to hold.
    #[error("too many changes are waiting for the library")]
    Busy,
    /// The library did not take it within the time that a request is held.
    #[error("the library did not take the change in time")]
    TimedOut,
    /// We are shutting down.
    #[error("shutting down")]
    Stopping,
    /// An operator paused the pipeline, and this was no sender's change. Nothing was done.
    #[error("the pipeline is paused since {}: resume it first", since.format("%Y-%m-%d %H:%M:%S UTC"))]
    Paused {
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// How a writer is told to end.
#[derive(Clone, Debug)]
pub struct Stop {
    /// A stop was asked for: what cannot commit now is no longer waited for.
    pub asked: CancellationToken,
    /// Nobody hands in any more: settle what is there, and end.
    pub drain: CancellationToken,
}

/// A request's changes, and where its answers go.
struct Submission {
    changes: Vec<Change>,
    reply: oneshot::Sender<Result<Vec<Answer>, Refused>>,
    /// The place that this request takes among those held.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// A handle on the waist of one pipeline; cheap to clone.
#[derive(Clone, Debug)]
pub struct Applier {
    inbox: mpsc::Sender<Submission>,
    bytes: Arc<Semaphore>,
    shared: Arc<Shared>,
    hold: Duration,
}

/// Bodies are accounted in pieces of this size, so that the budget fits a semaphore.
const PIECE: usize = 1024;

impl Applier {
    /// A handle, and the writer's work: to be spawned by the caller.
    pub fn new(settings: Settings, stop: Stop) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, inbox) = mpsc::channel(settings.max_held);
        let shared = Arc::new(Shared::new(settings.metrics.clone()));
        let applier = Self {
            inbox: sender,
            bytes: Arc::new(Semaphore::new(settings.max_held_bytes.div_ceil(PIECE))),
            shared: Arc::clone(&shared),
            hold: settings.hold,
        };
        (applier, writer::Writer::new(settings, shared, stop).run(inbox))
    }

    /// Hands changes in, in their order, and waits for what became of each.
    ///
    /// Dropping the future gives up the answer; once handed in, the change may be applied all the same.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Answer>, Refused> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let _held = self.shared.hold(changes.len());
        // A replay that is refused misses nothing: its entry stays open.
        let can_be_missed = changes.iter().any(|change| change.replays.is_none());
        let answer = self.hand_in(changes).await;
        // What a pause turns away nobody but us has wanted, and can want again.
        let is_missed = matches!(answer, Err(Refused::Busy | Refused::TimedOut | Refused::Stopping));
        if is_missed && can_be_missed {
            self.shared.mark_gap(Gap::Refused);
        }
        answer
    }

    async fn hand_in(&self, changes: Vec<Change>) -> Result<Vec<Answer>, Refused> {
        let pieces = u32::try_from(bytes_of(&changes) / PIECE + 1).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.bytes).try_acquire_many_owned(pieces).map_err(|_| Refused::Busy)?;
        let (reply, answers) = oneshot::channel();
        let submission = Submission { changes, reply, _place: place };
        self.inbox.try_send(submission).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Stopping,
        })?;
        match tokio::time::timeout(self.hold, answers).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_closed)) => Err(Refused::Stopping),
            Err(_elapsed) => Err(Refused::TimedOut),
        }
    }

    /// Remembers that changes may have been missed; written with the next commit.
    pub fn mark_gap(&self, gap: Gap) {
        self.shared.mark_gap(gap);
    }

    /// Whether a change can commit now.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// How often the reference was asked and did not answer: compared before and after a change that follows it,
    /// this tells a row that went away from one that could not be read.
    pub fn reference_silences(&self) -> u64 {
        self.shared.reference_silences()
    }

    /// How long the oldest request has been waiting for its answer.
    pub fn lag(&self) -> Duration {
        self.shared.lag()
    }

    /// How many requests are waiting.
    pub fn held(&self) -> usize {
        self.shared.held()
    }
}

/// The bytes that these changes hold in memory: those of one request share their body, those of a replay bring many.
fn bytes_of(changes: &[Change]) -> usize {
    let mut bodies: Vec<&Arc<Body>> = changes.iter().map(|change| &change.body).collect();
    bodies.dedup_by(|one, other| Arc::ptr_eq(one, other));
    bodies.sort_unstable_by_key(|body| Arc::as_ptr(body));
    bodies.dedup_by(|one, other| Arc::ptr_eq(one, other));
    bodies.iter().map(|body| body.bytes.len()).sum()
}
