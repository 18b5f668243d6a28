//! Carries one run out: takes the lock, keeps the row informed, and draws the conclusions.
//!
//! Promises: while a run goes on its process holds the pipeline's lock, and stops at once when it lost it; a run that
//! is stopped says `aborted`; a gap is forgotten only when a run that began after its last mark found both sides in
//! accord, brought them there, or left the rest in quarantine. Must not know: who asked, and when the next one is due.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::lock::Lock;
use super::record::{self, Mode, Request, RunState, Started, Trigger};
use super::silence::{self, Verdict};
use super::{Limits, Plan, Progress, Report, State, Work, run, store};
use crate::apply::{Applier, STORY};
use crate::library::pause::{self, Pause};
use crate::library::pipeline;
use crate::library::session::{self, PATIENCE};
use crate::telemetry::metrics::ReconcileMetrics;

/// How often a run's row says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is reconciled, and with what.
#[derive(Debug)]
pub struct Subject {
    /// The pipeline's name.
    pub name: String,
    /// Its row in the library.
    pub pipeline: i16,
    /// The library.
    pub connect: PgConnectOptions,
    /// Connections to it for what is not under the lock.
    pub pool: PgPool,
    /// What is compared.
    pub plan: Plan,
    /// Writes repairs; none where nothing may ever be written.
    pub applier: Option<Applier>,
    /// More deletes than this hold a run, in the place of the built-in limit.
    pub max_deletes: Option<u64>,
    /// More repairs than this hold a run, in the place of the built-in limit.
    pub max_changes: Option<u64>,
    /// Reports list all rows that differ.
    pub all_keys: bool,
    /// The sender whose silence is noticed.
    pub sender: Option<Listening>,
    /// Where the numbers go.
    pub metrics: ReconcileMetrics,
}

/// A sender that announces its changes.
#[derive(Clone, Debug)]
pub struct Listening {
    /// So many intervals without a word are a silence.
    pub silent_after: u32,
    /// Told to register with it again.
    pub register_again: Arc<Notify>,
}

/// What came of the wish to carry out a run.
#[derive(Debug)]
pub enum Taken {
    /// None was queued.
    Idle,
    /// Another one goes on, here or in another process.
    Busy,
    /// It ended, or was stopped.
    Ended(Ended),
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    /// Its number.
    pub id: i64,
    /// What it found; none when it was stopped.
    pub report: Option<Report>,
}

/// A run could not be begun, or lost its way.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Before anything was compared.
    #[error("cannot begin a reconciliation: the library's database does not take it")]
    Begin(#[source] sqlx::Error),
    /// Nothing may be repaired: an operator paused the pipeline.
    #[error(
        "pipeline `{name}` is paused since {} by {}: {}; nothing is repaired until `accord resume {name}`, and a \
         comparison alone is allowed",
        pause.since.format("%Y-%m-%d %H:%M:%S UTC"), pause.by, pause.reason
    )]
    Paused {
        /// The pipeline.
        name: String,
        /// Its pause.
        pause: Pause,
    },
    /// The lock may be somebody else's by now.
    #[error("reconciliation {id} was given up: the connection that holds its lock is lost")]
    LockLost {
        /// The run.
        id: i64,
        /// What became of the connection.
        #[source]
        source: sqlx::Error,
    },
}

impl Subject {
    /// Carries out the run that is queued.
    pub async fn take_queued(&self, stop: &CancellationToken) -> Result<Taken, RunError> {
        let Some(mut lock) = self.lock().await? else { return Ok(Taken::Busy) };
        let started = store::begin_queued(lock.connection(), self.pipeline).await.map_err(RunError::Begin)?;
        let Some(started) = started else {
            lock.release().await;
            return Ok(Taken::Idle);
        };
        self.carry_out(lock, started, &Progress::default(), stop).await.map(Taken::Ended)
    }

    /// Carries out a run that nobody else knows of yet.
    pub async fn take(
        &self,
        request: &Request,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Taken, RunError> {
        // A pause that begins later than this look has the waist turn the repairs away.
        let pause = pause::read(&self.pool, &self.name).await.map_err(RunError::Begin)?;
        if let (Some(pause), Mode::Repair) = (pause, request.mode) {
            return Err(RunError::Paused { name: self.name.clone(), pause });
        }
        let Some(mut lock) = self.lock().await? else { return Ok(Taken::Busy) };
        let started =
            store::begin_now(lock.connection(), self.pipeline, request).await.map_err(RunError::Begin)?;
        self.carry_out(lock, started, progress, stop).await.map(Taken::Ended)
    }

    async fn lock(&self) -> Result<Option<Lock>, RunError> {
        Lock::take(&self.connect, self.pipeline).await.map_err(RunError::Begin)
    }

    async fn carry_out(
        &self,
        mut lock: Lock,
        started: Started,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Ended, RunError> {
        let id = started.id;
        info!(pipeline = self.name, id, mode = ?started.mode, trigger = ?started.trigger, "reconciliation begins");
        let _running = self.metrics.running();
        let report = self.compare(&mut lock, &started, progress, stop).await;
        let concluded = match &report {
            Ok(report) => patiently(self.conclude(&mut lock, &started, progress, report.as_ref())).await,
            Err(_) => Ok(()),
        };
        let state = match (&report, &concluded) {
            (Ok(Some(report)), Ok(())) => report.state.into(),
            _ => RunState::Aborted,
        };
        self.metrics.ended(state);
        lock.release().await;
        let report = report.and_then(|report| concluded.map(|()| report));
        let report = report.map_err(|source| RunError::LockLost { id, source })?;
        self.tell(&started, report.as_ref());
        Ok(Ended { id, report })
    }

    /// The report; none when it was stopped before there was one.
    async fn compare(
        &self,
        lock: &mut Lock,
        started: &Started,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Option<Report>, sqlx::Error> {
        let limits = Limits {
            max_deletes: self.max_deletes,
            max_changes: self.max_changes,
            lifted: started.releases.is_some(),
            last_good_source_rows: store::last_good_source_rows(lock.connection(), self.pipeline).await?,
        };
        let work = Work {
            repair: self.applier.as_ref().filter(|_| started.mode == Mode::Repair),
            limits,
            all_keys: self.all_keys,
            quarantine: Some((self.pool.clone(), self.pipeline)),
        };
        let mut running = Box::pin(run(&self.plan, work, progress));
        loop {
            tokio::select! {
                report = &mut running => return Ok(Some(self.with_way_out(report, started.id))),
                () = stop.cancelled() => return Ok(None),
                () = sleep(TELL_EVERY) => {}
            }
            // On the lock's own connection: when that is dead, somebody else may run already.
            patiently(store::progress(lock.connection(), started.id, &progress.snapshot())).await?;
        }
    }

    /// A breaker does not know which run it holds.
    fn with_way_out(&self, mut report: Report, id: i64) -> Report {
        if let (State::Held, Some(reason)) = (report.state, &mut report.reason) {
            reason.push_str(": ");
            reason.push_str(&record::release_command(&self.name, id));
        }
        report
    }

    /// Writes how it ended, and what follows from that.
    async fn conclude(
        &self,
        lock: &mut Lock,
        started: &Started,
        progress: &Progress,
        report: Option<&Report>,
    ) -> Result<(), sqlx::Error> {
        let state = report.map_or(RunState::Aborted, |report| report.state.into());
        let conn = lock.connection();
        store::finish(&mut *conn, started.id, state, &progress.snapshot(), report).await?;
        let Some(report) = report else { return Ok(()) };
        if makes_up(started.mode, report.state) {
            pipeline::clear_gap(&mut *conn, self.pipeline, started.started_at).await?;
        }
        match &self.sender {
            Some(sender) if started.trigger == Trigger::Schedule => {
                let verdict =
                    silence::judge(conn, self.pipeline, started, report, sender.silent_after).await?;
                if verdict == Verdict::Silent {
                    sender.register_again.notify_one();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, started: &Started, report: Option<&Report>) {
        let (pipeline, id) = (&self.name, started.id);
        let Some(report) = report else {
            return warn!(pipeline, id, "reconciliation stopped before its end");
        };
        let Report { state, counts, rows, reason, seconds, .. } = report;
        debug!(
            target: STORY,
            pipeline,
            run = id,
            state = RunState::from(*state).as_str(),
            rows = rows.source,
            drifted = counts.drifted(),
            repaired = counts.repaired,
            why = reason.as_deref(),
            "compared"
        );
        match state {
            // That one is held is a condition, and told as such.
            State::Clean | State::Repaired | State::Drift | State::Held => {
                info!(pipeline, id, ?state, ?counts, ?rows, seconds, reason, "reconciliation ended");
            }
            State::Inconclusive => {
                warn!(pipeline, id, ?state, ?counts, ?rows, seconds, reason, "reconciliation ended");
            }
        }
    }
}

/// Whether nothing is missed any more. Where a repair leaves rows that differ, they are in quarantine.
fn makes_up(mode: Mode, state: State) -> bool {
    match state {
        State::Clean | State::Repaired => true,
        State::Drift => mode == Mode::Repair,
        State::Held | State::Inconclusive => false,
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(session::no_answer()))
}
