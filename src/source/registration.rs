//! Keeps us registered with a sender that forgets.
//!
//! Promises: registers as soon as the sender can be reached, again every `keep_alive`, and marks a gap whenever
//! the sender may have spoken while nobody was told to listen. The sender cannot be asked who is registered, so a
//! restart or another listener between two successful registrations goes unseen here: the reconciler notices it, and
//! has us register again.
//! The token appears in no log, state or error. Must not know: what a webhook carries.
//!
//! Run it on the leader alone: there is one listener slot, and all replicas answer the same URL.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use url::Url;

use super::backoff;
use super::sender::Sender;
use super::token::Tokens;
use crate::apply::Gap;
use crate::config::{MASK, Register};
use crate::library::registration::RegistrationState;

/// Who wants to know how registering goes: the waist and the metrics.
pub trait Observer: Send + Sync {
    /// Changes may have been missed.
    fn gap(&self, gap: Gap);
    /// Whether we are registered, said after each attempt.
    fn registered(&self, registered: bool);
}

/// Where the sender is to call us.
#[derive(Clone, Debug)]
pub struct Listener {
    host: String,
    port: u16,
    path: String,
    tokens: Option<Arc<Tokens>>,
}

/// A registration, as the sender takes it; it calls `{host}:{port}{endpoint}`.
#[derive(Serialize)]
struct Registration<'a> {
    host: &'a str,
    port: u16,
    endpoint: String,
}

impl Listener {
    /// The endpoint at `path` under our public URL; with tokens, the current one follows as a segment.
    pub fn new(public_url: &Url, path: &str, tokens: Option<Arc<Tokens>>) -> Self {
        Self {
            host: format!("{}://{}", public_url.scheme(), public_url.host_str().unwrap_or_default()),
            port: public_url.port_or_known_default().unwrap_or(80),
            path: format!("{}{path}", public_url.path().trim_end_matches('/')),
            tokens,
        }
    }

    fn registration(&self) -> Registration<'_> {
        let endpoint = match &self.tokens {
            Some(tokens) => format!("{}/{}", self.path, tokens.current().expose()),
            None => self.path.clone(),
        };
        Registration { host: &self.host, port: self.port, endpoint }
    }
}

/// The URL that the sender calls, its token masked.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.host, self.port, self.path)?;
        if self.tokens.is_some() { write!(f, "/{MASK}") } else { Ok(()) }
    }
}

/// Why an attempt to register failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("the CMS cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the CMS answered {0}; does register.url name the endpoint that takes listeners?")]
    Refused(StatusCode),
}

impl AttemptError {
    /// The sentence with its causes.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// Attempts that failed one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    unreachable: bool,
}

/// Keeps one pipeline registered with its sender.
pub struct Registrar {
    config: Register,
    listener: Listener,
    client: Client,
    sender: Arc<Sender>,
    observer: Arc<dyn Observer>,
    again: Arc<Notify>,
}

impl Registrar {
    /// Registers `listener` with the sender at `config.url`.
    pub fn new(
        config: Register,
        listener: Listener,
        sender: Arc<Sender>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(config.timeout)
            // The token goes to the configured host and nowhere else.
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A kept connection may have been closed meanwhile, which would look like a sender that is away.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { config, listener, client, sender, observer, again: Arc::default() })
    }

    /// The same, to be told by `again` when not to wait for the next keep-alive: the slot may be another's.
    #[must_use]
    pub fn told_by(self, again: Arc<Notify>) -> Self {
        Self { again, ..self }
    }

    /// Keeps us registered until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep_registered() => {}
            () = stop.cancelled() => {}
        }
        let registered = self.sender.state().registered_since.is_some();
        if self.config.deregister_on_shutdown && registered {
            self.deregister().await;
        }
    }

    async fn keep_registered(&self) {
        // What the leader before us achieved decides whether our first registration closes a gap.
        if let Err(error) = self.sender.refresh().await {
            debug!(pipeline = self.sender.pipeline(), %error, "the last registration is not known");
        }
        let mut failures = Failures::default();
        loop {
            let pause = match self.register().await {
                Ok(()) => {
                    self.succeeded(failures);
                    failures = Failures::default();
                    self.config.keep_alive
                }
                Err(error) => {
                    failures.count = failures.count.saturating_add(1);
                    failures.unreachable |= matches!(error, AttemptError::Unreachable(_));
                    self.failed(&error, failures);
                    backoff::pause(&self.config.backoff, failures.count, &mut rand::rng())
                }
            };
            // Not one after the other: the library may be away, and the CMS is not to wait for it.
            let rest = async {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.again.notified() => {}
                }
            };
            tokio::join!(rest, self.write_attempt());
        }
    }

    async fn register(&self) -> Result<(), AttemptError> {
        self.send(self.client.post(self.config.url.expose()).json(&self.listener.registration())).await
    }

    async fn deregister(&self) {
        if let Err(error) = self.send(self.client.delete(self.config.url.expose())).await {
            warn!(pipeline = self.sender.pipeline(), error = error.text(), "registration not taken back");
            return;
        }
        info!(pipeline = self.sender.pipeline(), cms = %self.config.url, "registration taken back");
        self.observer.registered(false);
        self.sender.note_attempt(|state| state.registered_since = None);
        self.write_attempt().await;
    }

    /// Only the status counts: an answer's body may repeat what was sent, token included.
    async fn send(&self, request: RequestBuilder) -> Result<(), AttemptError> {
        let answer = request.send().await.map_err(|error| AttemptError::Unreachable(error.without_url()))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(AttemptError::Refused(status)) }
    }

    fn succeeded(&self, failures: Failures) {
        let now = Utc::now();
        let gap =
            gap_before(&self.sender.state(), failures, now, self.config.keep_alive + self.config.timeout);
        if let Some(gap) = gap {
            self.observer.gap(gap);
            info!(
                pipeline = self.sender.pipeline(),
                cms = %self.config.url,
                listener = %self.listener,
                failed_attempts = failures.count,
                "registered with the CMS",
            );
        } else {
            debug!(pipeline = self.sender.pipeline(), cms = %self.config.url, "registration repeated");
        }
        self.observer.registered(true);
        self.sender.note_attempt(|state| {
            state.registered_since = state.registered_since.filter(|_| gap.is_none()).or(Some(now));
            state.last_success_at = Some(now);
        });
    }

    fn failed(&self, error: &AttemptError, failures: Failures) {
        let text = error.text();
        if failures.count == 1 || self.sender.state().last_error.as_ref() != Some(&text) {
            warn!(
                pipeline = self.sender.pipeline(),
                cms = %self.config.url,
                error = text,
                "not registered with the CMS; trying until it answers",
            );
        } else {
            debug!(pipeline = self.sender.pipeline(), error = text, "still not registered with the CMS");
        }
        self.observer.registered(false);
        self.sender.note_attempt(|state| {
            state.registered_since = None;
            state.last_error_at = Some(Utc::now());
            state.last_error = Some(text);
        });
    }

    async fn write_attempt(&self) {
        if let Err(error) = self.sender.write_attempt().await {
            debug!(pipeline = self.sender.pipeline(), %error, "the state of the registration is not written");
        }
    }
}

/// What may have been missed before a registration that succeeded now.
///
/// Nothing when it only repeats one that was in force, be it another leader's. Otherwise the sender was away
/// (and, if it restarted, has forgotten us), or it was there and did not know of us.
fn gap_before(
    state: &RegistrationState,
    failures: Failures,
    now: DateTime<Utc>,
    interval: Duration,
) -> Option<Gap> {
    if failures.unreachable {
        return Some(Gap::SenderBack);
    }
    let in_force = state.registered_since.is_some()
        && state.last_success_at.is_some_and(|at| (now - at).to_std().unwrap_or_default() <= interval * 2);
    if failures.count == 0 && in_force { None } else { Some(Gap::Registration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(public_url: &str) -> String {
        Listener::new(&public_url.parse().unwrap(), "/notifications", None).to_string()
    }

    #[test]
    fn the_listener_is_plain_concatenation() {
        assert_eq!(listener("http://smart_library:9099"), "http://smart_library:9099/notifications");
        assert_eq!(listener("https://library.example"), "https://library.example:443/notifications");
        assert_eq!(listener("http://gate/accord/"), "http://gate:80/accord/notifications");
        assert_eq!(listener("http://[::1]:9099"), "http://[::1]:9099/notifications");
    }

    #[test]
    fn only_a_registration_that_repeats_one_in_force_closes_no_gap() {
        let now = Utc::now();
        let keep_alive = Duration::from_secs(30);
        let registered = |seconds_ago: i64| RegistrationState {
            registered_since: Some(now - chrono::TimeDelta::days(1)),
            last_success_at: Some(now - chrono::TimeDelta::seconds(seconds_ago)),
            ..RegistrationState::default()
        };
        let lost = RegistrationState { registered_since: None, ..registered(30) };
        let none = Failures::default();
        let away = Failures { count: 3, unreachable: true };
        let turned_away = Failures { count: 3, unreachable: false };
        let gap = |state: &RegistrationState, failures| gap_before(state, failures, now, keep_alive);

        assert_eq!(gap(&registered(30), none), None, "keep-alive, or a new leader that came soon");
        assert_eq!(gap(&registered(-1), none), None, "a clock that runs behind the last leader's");
        assert_eq!(gap(&registered(600), none), Some(Gap::Registration), "nobody kept it alive");
        assert_eq!(gap(&RegistrationState::default(), none), Some(Gap::Registration), "never registered");
        assert_eq!(gap(&lost, none), Some(Gap::Registration), "the last leader's attempts failed");
        assert_eq!(gap(&registered(30), turned_away), Some(Gap::Registration));
        assert_eq!(gap(&registered(30), away), Some(Gap::SenderBack));
    }
}
