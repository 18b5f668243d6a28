//! What this process knows about the sender of a pipeline's webhooks, and shares with the other replicas.
//!
//! Promises: answers from memory, also while the library is away; nothing seen is counted twice or forgotten
//! before it is written. Must not know: how one registers.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::token::Tokens;
use crate::library::registration::{self, RegistrationState};

/// How long the library may take over one of our small statements.
const PATIENCE: Duration = Duration::from_secs(5);

/// One pipeline's sender, as far as it is known here.
#[derive(Debug)]
pub struct Sender {
    pipeline: i16,
    name: String,
    pool: PgPool,
    /// What all replicas know, as of the last exchange; the leader's registrations are in it at once.
    shared: RwLock<RegistrationState>,
    /// The last webhook that came to this replica, in microseconds of the epoch; 0 for none.
    last_webhook: AtomicI64,
    /// Calls without an accepted token that came to this replica and are not written yet.
    unauthorized: AtomicI64,
}

impl Sender {
    /// The sender of this pipeline, of whom nothing is known yet.
    pub fn new(pool: PgPool, pipeline: i16, name: impl Into<String>) -> Self {
        Self {
            pipeline,
            name: name.into(),
            pool,
            shared: RwLock::default(),
            last_webhook: AtomicI64::new(0),
            unauthorized: AtomicI64::new(0),
        }
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.name
    }

    /// What is known now.
    pub fn state(&self) -> RegistrationState {
        let mut state = self.shared.read().unwrap_or_else(PoisonError::into_inner).clone();
        state.last_webhook_at = state.last_webhook_at.max(self.last_webhook_here());
        state.unauthorized += self.unauthorized.load(Ordering::Relaxed);
        state
    }

    /// A webhook came in now.
    pub fn saw_webhook(&self) {
        self.last_webhook.fetch_max(Utc::now().timestamp_micros(), Ordering::Relaxed);
    }

    /// A call came without an accepted token.
    pub fn saw_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Ordering::Relaxed);
    }

    /// Exchanges with the other replicas until `stop`: reads their tokens and state, writes what was seen here.
    ///
    /// Every replica does this, at the interval that [`Tokens::load`] was told.
    pub async fn keep_shared(&self, tokens: Option<Arc<Tokens>>, every: Duration, stop: CancellationToken) {
        let mut reported = false;
        loop {
            match self.exchange(tokens.as_deref()).await {
                Ok(()) => reported = false,
                Err(error) if !reported => {
                    reported = true;
                    warn!(pipeline = self.name, %error, "cannot share what is known of the sender");
                }
                Err(error) => {
                    debug!(pipeline = self.name, %error, "still cannot share what is known of the sender");
                }
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                () = sleep(every) => {}
                // One more exchange writes what came since the last one.
                () = stop.cancelled() => {}
            }
        }
    }

    async fn exchange(&self, tokens: Option<&Tokens>) -> Result<(), sqlx::Error> {
        if let Some(tokens) = tokens {
            patiently(tokens.reload()).await?;
        }
        self.write_seen().await?;
        self.refresh().await
    }

    /// Reads what all replicas know, unless more is known here.
    pub(super) async fn refresh(&self) -> Result<(), sqlx::Error> {
        let Some(stored) = patiently(registration::load(&self.pool, self.pipeline)).await? else {
            return Ok(());
        };
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if last_attempt(&stored) >= last_attempt(&shared) {
            *shared = stored;
        } else {
            // The leader's latest attempt is not written yet; what the others saw is news all the same.
            shared.last_webhook_at = stored.last_webhook_at;
            shared.unauthorized = stored.unauthorized;
        }
        Ok(())
    }

    /// Keeps how registering went.
    pub(super) fn note_attempt(&self, note: impl FnOnce(&mut RegistrationState)) {
        note(&mut self.shared.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells all how registering went.
    pub(super) async fn write_attempt(&self) -> Result<(), sqlx::Error> {
        let state = self.shared.read().unwrap_or_else(PoisonError::into_inner).clone();
        patiently(registration::save_attempt(&self.pool, self.pipeline, &state)).await
    }

    async fn write_seen(&self) -> Result<(), sqlx::Error> {
        let unauthorized = self.unauthorized.swap(0, Ordering::Relaxed);
        let last_webhook_at = self.last_webhook_here();
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner).last_webhook_at;
        if unauthorized == 0 && last_webhook_at <= known {
            return Ok(());
        }
        let written =
            patiently(registration::add_seen(&self.pool, self.pipeline, last_webhook_at, unauthorized)).await;
        if written.is_err() {
            self.unauthorized.fetch_add(unauthorized, Ordering::Relaxed);
        }
        written
    }

    fn last_webhook_here(&self) -> Option<DateTime<Utc>> {
        match self.last_webhook.load(Ordering::Relaxed) {
            0 => None,
            micros => DateTime::from_timestamp_micros(micros),
        }
    }
}

fn last_attempt(state: &RegistrationState) -> Option<DateTime<Utc>> {
    state.last_success_at.max(state.last_error_at)
}

/// Waits only so long: over a dead network a statement would hang.
async fn patiently<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let silence = format!("the library did not answer within {} s", PATIENCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, silence).into())
    })
}
