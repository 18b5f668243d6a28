//! What this process knows about the sender of a pipeline's webhooks, and shares with the other replicas.
//!
//! Promises: answers from memory, also while the library is away; nothing seen is counted twice or forgotten
//! before it is written. Must not know: how one registers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::token::Tokens;
use super::webhook::WebhookStats;
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
    /// What the webhook of this replica saw.
    seen: Arc<WebhookStats>,
    /// How many of the calls without an accepted token are written.
    written: AtomicU64,
}

impl Sender {
    /// The sender of this pipeline, of whom nothing is known yet.
    pub fn new(pool: PgPool, pipeline: i16, name: impl Into<String>, seen: Arc<WebhookStats>) -> Self {
        Self {
            pipeline,
            name: name.into(),
            pool,
            shared: RwLock::default(),
            seen,
            written: AtomicU64::new(0),
        }
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.name
    }

    /// What is known now.
    pub fn state(&self) -> RegistrationState {
        let mut state = self.shared.read().unwrap_or_else(PoisonError::into_inner).clone();
        state.last_webhook_at = state.last_webhook_at.max(self.seen.last_seen());
        state.unauthorized += self.unwritten().cast_signed();
        state
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
        let unauthorized = self.unwritten();
        let last_webhook_at = self.seen.last_seen();
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner).last_webhook_at;
        if unauthorized == 0 && last_webhook_at <= known {
            return Ok(());
        }
        let written = patiently(registration::add_seen(
            &self.pool,
            self.pipeline,
            last_webhook_at,
            unauthorized.cast_signed(),
        ))
        .await;
        if written.is_ok() {
            self.written.fetch_add(unauthorized, Ordering::Relaxed);
        }
        written
    }

    fn unwritten(&self) -> u64 {
        self.seen.unauthorized() - self.written.load(Ordering::Relaxed)
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
