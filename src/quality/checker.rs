//! Checks on demand: asked for from anywhere, done one after another, and kept.
//!
//! Promises: a run that was asked for is in the database before the answer is given, and ends there with
//! results or with the reason why not. Must not know: who asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::{CheckError, CheckResult, Choice, Outcome, check};
use crate::contract::Contract;
use crate::library::check_result;
use crate::prose;

/// Runs that may wait at once.
const WAITING: usize = 16;

/// The contracts of the pipelines, by name.
type Contracts = BTreeMap<Arc<str>, Arc<Contract>>;

/// Where checks are asked for; cheap to clone.
#[derive(Clone, Debug)]
pub struct Checks {
    contracts: Arc<Contracts>,
    pool: PgPool,
    queue: mpsc::Sender<Job>,
}

/// Does the checks that were asked for.
#[derive(Debug)]
pub struct Checker {
    contracts: Arc<Contracts>,
    connect: PgConnectOptions,
    pool: PgPool,
    queue: mpsc::Receiver<Job>,
}

#[derive(Debug)]
struct Job {
    run: i64,
    pipeline: Arc<str>,
}

/// A check cannot be had now.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such pipeline.
    #[error("there is no such pipeline")]
    NoSuchPipeline,
    /// Too many wait, or the process is about to end.
    #[error("too many checks are waiting: ask again later")]
    Busy,
    /// The run could not be written down.
    #[error("the library's database does not answer")]
    Database(#[from] sqlx::Error),
}

impl Checker {
    /// A checker of these pipelines, and where to ask it.
    pub fn new(
        contracts: impl IntoIterator<Item = (Arc<str>, Arc<Contract>)>,
        connect: PgConnectOptions,
        pool: PgPool,
    ) -> (Self, Checks) {
        let contracts: Arc<Contracts> = Arc::new(contracts.into_iter().collect());
        let (sender, queue) = mpsc::channel(WAITING);
        let checks = Checks { contracts: Arc::clone(&contracts), pool: pool.clone(), queue: sender };
        (Self { contracts, connect, pool, queue }, checks)
    }

    /// Does what is asked for, until told to stop; what then waits ends with that as its reason.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(Job { run, pipeline })) = stop.run_until_cancelled(self.queue.recv()).await {
            let Some(contract) = self.contracts.get(&pipeline) else { continue };
            let checked = stop.run_until_cancelled(check(&self.connect, contract, Choice::default())).await;
            let kept = match &checked {
                Some(checked) => keep(&self.pool, run, &pipeline, checked).await,
                None => self.give_up(run).await,
            };
            if let Err(error) = kept {
                tracing::warn!(%pipeline, run, %error, "the results of a check could not be kept");
            }
        }
        self.queue.close();
        while let Ok(Job { run, .. }) = self.queue.try_recv() {
            if let Err(error) = self.give_up(run).await {
                tracing::debug!(run, %error, "a check that was given up stays as it was");
            }
        }
    }

    async fn give_up(&self, run: i64) -> Result<(), sqlx::Error> {
        check_result::fail(&self.pool, run, "the server was stopped: ask again").await
    }
}

impl Checks {
    /// Asks for a run of a pipeline's checks; gives its number.
    pub async fn ask(&self, pipeline: &str) -> Result<i64, AskError> {
        let (pipeline, contract) = self.contracts.get_key_value(pipeline).ok_or(AskError::NoSuchPipeline)?;
        let place = self.queue.try_reserve().map_err(|_: TrySendError<()>| AskError::Busy)?;
        let run = check_result::begin(&self.pool, pipeline, &contract.version).await?;
        place.send(Job { run, pipeline: Arc::clone(pipeline) });
        Ok(run)
    }

    /// Where runs are kept.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

/// Checks a pipeline at once and keeps what that gave.
pub async fn check_and_keep(
    pool: &PgPool,
    connect: &PgConnectOptions,
    pipeline: &str,
    contract: &Contract,
    choice: Choice<'_>,
) -> Result<Vec<CheckResult>, CheckError> {
    let run = check_result::begin(pool, pipeline, &contract.version).await?;
    let checked = check(connect, contract, choice).await;
    keep(pool, run, pipeline, &checked).await?;
    checked
}

async fn keep(
    pool: &PgPool,
    run: i64,
    pipeline: &str,
    checked: &Result<Vec<CheckResult>, CheckError>,
) -> Result<(), sqlx::Error> {
    match checked {
        Ok(results) => {
            for result in results.iter().filter(|result| result.outcome == Outcome::Failed) {
                // That a rule is broken is a condition, and told as such when it begins.
                tracing::debug!(pipeline, rule = result.id, value = %result.value, threshold = %result.threshold,
                    "a check failed: {}", result.name);
            }
            check_result::finish(pool, run, results).await
        }
        Err(error) => {
            let reason = prose::with_causes(error);
            tracing::warn!(pipeline, reason, "the checks could not be run: {reason}");
            check_result::fail(pool, run, &reason).await
        }
    }
}
