//! Runs the process's long-lived tasks, and ends them in order.
//!
//! Promises:
//! - A task that ends unasked, by returning, failing or panicking, stops everything, and the error names it:
//!   `main` exits non-zero.
//! - The first SIGTERM or Ctrl-C stops in [`Phase`] order: each phase is told to stop only once every task of
//!   the phase before has ended, so what a task still hands on finds its taker alive.
//! - A [renewal](Supervisor::renewal) stops in the same order, and is no end: the caller lays out anew. A stop that
//!   is asked for meanwhile makes an end of it.
//! - All of that fits into one grace period; at its end whoever is left is named and dropped. A second signal
//!   does so at once.
//!
//! It knows nothing of what the tasks do. A task watches its phase's [soft](Supervisor::soft) token and
//! drains when that is cancelled; it needs to do nothing about the hard stop, which drops it where it awaits.

#[cfg(test)]
mod tests;

pub mod thread;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a task that is dropped may take to let go of what it holds.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// The order in which tasks are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Takes work in: HTTP listeners, consumers, schedulers. Stopped, it takes nothing new and ends when
    /// what it holds has been answered.
    Intake,
    /// Does the work: the appliers. Stopped, it finishes what was handed to it.
    Work,
    /// What the others stand on: connection pools, the embedded servers.
    Foundation,
}

impl Phase {
    const IN_ORDER: [Self; 3] = [Self::Intake, Self::Work, Self::Foundation];
}

/// What a run ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A stop was asked for.
    Stop,
    /// Everything is to be laid out anew.
    Renewal,
}

/// Who asks for a stop: the first time for an orderly one, then for one at once.
///
/// It outlives a run, so that what is asked for between two runs is not lost.
pub struct Requests(Pin<Box<dyn Stream<Item = &'static str> + Send>>);

impl Requests {
    /// SIGTERM and Ctrl-C.
    pub fn signals() -> Result<Self, Error> {
        let named = |name, kind| {
            let received =
                move |mut signal: Signal| async move { signal.recv().await.map(|()| (name, signal)) };
            Ok(stream::unfold(signal(kind).map_err(Error::Signals)?, received))
        };
        let terminate = named("SIGTERM", SignalKind::terminate())?;
        Ok(Self(Box::pin(stream::select(terminate, named("Ctrl-C", SignalKind::interrupt())?))))
    }

    /// One request, once this is cancelled.
    pub fn when(cancelled: WaitForCancellationFutureOwned) -> Self {
        let once = stream::once(async {
            cancelled.await;
            "the caller"
        });
        Self(Box::pin(once.chain(stream::pending())))
    }

    /// The next request, by the name of who asks.
    pub async fn next(&mut self) -> Option<&'static str> {
        self.0.next().await
    }
}

/// Why a run did not end as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task returned although everything was to go on.
    #[error("task `{task}` ended although nobody had asked it to")]
    EndedUnasked {
        /// Its name.
        task: String,
    },
    /// A task returned an error.
    #[error("task `{task}` failed")]
    Failed {
        /// Its name.
        task: String,
        /// What it returned.
        #[source]
        source: anyhow::Error,
    },
    /// A task panicked.
    #[error("task `{task}` panicked")]
    Panicked {
        /// Its name.
        task: String,
        /// What it panicked with.
        #[source]
        source: JoinError,
    },
    /// The grace period was over before everything had ended.
    #[error("had to drop what did not end within {} s: {tasks}", grace.as_secs_f32())]
    GraceExceeded {
        /// How long it was.
        grace: Duration,
        /// The names of those who were still alive.
        tasks: String,
    },
    /// A second request came while the first was being carried out.
    #[error("a second stop request ended everything at once; still at work: {tasks}")]
    CutShort {
        /// The names of those who were still alive.
        tasks: String,
    },
    /// The process cannot be told about signals.
    #[error("cannot listen for SIGTERM and Ctrl-C")]
    Signals(#[source] io::Error),
}

/// The tasks of a process; see the [module](self) for the rules.
#[derive(Debug)]
pub struct Supervisor {
    grace: Duration,
    soft: [CancellationToken; Phase::IN_ORDER.len()],
    hard: CancellationToken,
    renewal: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    alive: HashMap<task::Id, (Phase, String)>,
}

impl Supervisor {
    /// A supervisor without tasks; a stop may take as long as `grace`.
    pub fn new(grace: Duration) -> Self {
        let (soft, hard, renewal) = Default::default();
        Self { grace, soft, hard, renewal, tasks: JoinSet::new(), alive: HashMap::new() }
    }

    /// Cancelled when the tasks of `phase` are to take nothing new, finish what they hold, and end.
    pub fn soft(&self, phase: Phase) -> CancellationToken {
        self.soft[phase as usize].clone()
    }

    /// Cancelled when everything is to end at once. Tasks are dropped by then anyway: this is for what a task
    /// has spawned itself.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// To be cancelled by a task that wants everything stopped in order and laid out anew; others see by it what
    /// they are stopped for.
    pub fn renewal(&self) -> CancellationToken {
        self.renewal.clone()
    }

    /// Starts a task. It is to run until the soft token of `phase` is cancelled.
    pub fn spawn<F>(&mut self, phase: Phase, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let hard = self.hard.clone();
        // Dropped by the hard stop, a task has done what it was told.
        let task = async move { hard.run_until_cancelled(task).await.unwrap_or(Ok(())) };
        let id = self.tasks.spawn(task).id();
        self.alive.insert(id, (phase, name.into()));
    }

    /// Runs until everything has stopped because of a request or a renewal, or a task has ended unasked.
    pub async fn run(mut self, requests: &mut Requests) -> Result<End, Error> {
        let renewal = self.renewal.clone();
        let asked = tokio::select! {
            biased;
            by = requests.next() => Ok((End::Stop, by)),
            () = renewal.cancelled() => Ok((End::Renewal, None)),
            Some(ended) = self.next_ended() => Err(ended.into_unasked()),
        };
        match &asked {
            Ok((End::Stop, by)) => tracing::info!(by, "stopping"),
            Ok((End::Renewal, _)) => tracing::info!("stopping, to begin anew"),
            Err(error) => tracing::error!(%error, "stopping everything"),
        }
        let mut end = asked.as_ref().map_or(End::Stop, |(end, _)| *end);
        let drained = self.drain(requests, &mut end).await;
        self.drop_the_rest().await;
        asked.and(drained).map(|()| end)
    }

    async fn drain(&mut self, requests: &mut Requests, end: &mut End) -> Result<(), Error> {
        let deadline = Instant::now() + self.grace;
        let mut outcome = Ok(());
        for phase in Phase::IN_ORDER {
            self.soft[phase as usize].cancel();
            while self.alive.values().any(|(of, _)| *of == phase) {
                tokio::select! {
                    biased;
                    Some(ended) = self.next_ended() => outcome = outcome.and(ended.into_asked()),
                    Some(by) = requests.next() => {
                        if std::mem::replace(end, End::Stop) == End::Renewal {
                            tracing::info!(by, "stopping for good");
                            continue;
                        }
                        return outcome.and(Err(Error::CutShort { tasks: self.names(phase) }));
                    }
                    () = sleep_until(deadline) => {
                        let tasks = self.names(phase);
                        return outcome.and(Err(Error::GraceExceeded { grace: self.grace, tasks }));
                    }
                }
            }
        }
        outcome
    }

    /// The hard stop. A task that blocks its thread cannot be dropped, and is not waited for.
    async fn drop_the_rest(&mut self) {
        self.hard.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(LAST_BREATH, all).await;
    }

    /// The next task to end; `None` if there are none.
    async fn next_ended(&mut self) -> Option<Ended> {
        let joined = self.tasks.join_next_with_id().await?;
        let (id, result) = match joined {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let (_, task) = self.alive.remove(&id)?;
        Some(Ended { task, result })
    }

    /// The tasks of `phase` that are alive, in alphabetical order.
    fn names(&self, phase: Phase) -> String {
        let mut names: Vec<&str> =
            self.alive.values().filter(|(of, _)| *of == phase).map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// A task's end, not yet judged.
struct Ended {
    task: String,
    result: Result<anyhow::Result<()>, JoinError>,
}

impl Ended {
    fn into_asked(self) -> Result<(), Error> {
        let Self { task, result } = self;
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Failed { task, source }),
            Err(source) => Err(Error::Panicked { task, source }),
        }
    }

    fn into_unasked(self) -> Error {
        let task = self.task.clone();
        self.into_asked().err().unwrap_or(Error::EndedUnasked { task })
    }
}
