//! Durability: commits follow each other without waiting for the disk; one flush answers for many.
//!
//! Promises: no answer leaves before the write-ahead log is flushed past its commit. A flush counts only on
//! a connection that is older than the commits it answers for: a server that crashed in between would have
//! broken it. Where that cannot be said, the writer looks each batch up. Must not know: what a batch holds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;

use crate::apply::batch::Settled;
use crate::apply::{Shared, Submission, story};
use crate::change::Change;
use crate::library::session;

/// How long one flush may take before its connection counts as dead.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two tries to reach the database.
const PAUSE: Duration = Duration::from_millis(250);

/// A batch that is committed and waits for its flush.
pub(super) struct Pending {
    pub(super) submissions: Vec<Submission>,
    pub(super) settled: Vec<Settled>,
    /// The first position it took, and the instant it bears: by these it can be looked up.
    pub(super) mark: Option<(i64, DateTime<Utc>)>,
    pub(super) began: Instant,
}

impl Pending {
    /// Answers everyone, now that it is durable.
    pub(super) fn answer(self, pipeline: &str, shared: &Shared) {
        let changes: Vec<&Change> =
            self.submissions.iter().flat_map(|submission| &submission.changes).collect();
        shared.committed(&changes, &self.settled, self.began.elapsed());
        story::tell(pipeline, &changes, &self.settled);
        let mut answers = self.settled.into_iter().map(|settled| settled.answer);
        for submission in self.submissions {
            let own: Vec<_> = answers.by_ref().take(submission.changes.len()).collect();
            // The asker may be gone; what it asked for is done all the same.
            let _ = submission.reply.send(own.into_iter().collect());
        }
    }
}

/// What writer and flusher share: batches in order of commit.
#[derive(Default)]
pub(super) struct Queue {
    batches: Mutex<VecDeque<Pending>>,
    /// Held while batches at the front are being answered for, by whichever of the two does it.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// There is something to flush.
    filled: Notify,
    /// A flush cannot vouch for what is queued: the writer has to look it up.
    unsure: AtomicBool,
    /// The writer has something to look up.
    pub(super) doubted: Notify,
}

impl Queue {
    /// Queues a batch that has just committed.
    pub(super) fn push(&self, batch: Pending) {
        self.batches().push_back(batch);
        self.filled.notify_one();
    }

    /// The mark of the batch in front, if it has one; the caller holds the turn.
    pub(super) fn front_mark(&self) -> Option<(i64, DateTime<Utc>)> {
        self.batches().front().and_then(|batch| batch.mark)
    }

    /// Takes the batch in front; the caller holds the turn.
    pub(super) fn pop(&self) -> Option<Pending> {
        self.batches().pop_front()
    }

    /// Every batch was looked up; the caller holds the turn.
    pub(super) fn sure(&self) {
        self.unsure.store(false, Ordering::Release);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches().is_empty()
    }

    pub(super) fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::Acquire)
    }

    fn len(&self) -> usize {
        self.batches().len()
    }

    /// No flush can vouch for what is queued now.
    pub(super) fn doubt(&self) {
        if !self.is_empty() {
            self.unsure.store(true, Ordering::Release);
            self.doubted.notify_one();
        }
    }

    /// Each critical section is one assignment, so a panic elsewhere leaves nothing half done.
    fn batches(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Flushes, on a connection of its own, whatever the writer has committed.
pub(super) struct Flusher {
    pub(super) pipeline: String,
    pub(super) connect: PgConnectOptions,
    pub(super) queue: Arc<Queue>,
    pub(super) shared: Arc<Shared>,
}

impl Flusher {
    /// Works until dropped.
    pub(super) async fn run(self) {
        loop {
            let Ok(mut conn) = session::connect_writer(&self.connect).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // What was committed before this connection stood, it cannot vouch for.
            self.queue.doubt();
            while self.flush_when_filled(&mut conn).await {}
            self.queue.doubt();
        }
    }

    /// False when the connection is of no more use.
    async fn flush_when_filled(&self, conn: &mut PgConnection) -> bool {
        self.queue.filled.notified().await;
        let _turn = self.queue.turn.lock().await;
        let count = self.queue.len();
        if count == 0 || self.queue.is_unsure() {
            return true;
        }
        if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, barrier(conn)).await, Ok(Ok(()))) {
            return false;
        }
        let flushed: Vec<Pending> = self.queue.batches().drain(..count).collect();
        for batch in flushed {
            batch.answer(&self.pipeline, &self.shared);
        }
        if !self.queue.is_empty() {
            self.queue.filled.notify_one();
        }
        true
    }
}

/// Returns when everything committed before is as durable as `synchronous_commit` asks for.
///
/// A commit that wrote something waits for its own place in the log, and with it for all before it.
async fn barrier(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_logical_emit_message(true, 'accord', '')").execute(conn).await.map(drop)
}

/// The same on a session whose own commits do not wait.
pub(super) async fn barrier_on_writer(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("begin; set local synchronous_commit = on").execute(&mut *conn).await?;
    barrier(&mut *conn).await?;
    sqlx::raw_sql("commit").execute(conn).await.map(drop)
}
