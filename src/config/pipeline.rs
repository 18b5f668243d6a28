//! `[pipeline.NAME]`: one source, one contract, one table.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use validator::{Validate, ValidationError};

pub use crate::apply::Mode;

use super::check::Check;
use super::quarantine::Quarantine;
use super::reconcile::Reconcile;
use super::secret::{self, SecretUrl};
use super::{duration, positive};

/// One pipeline.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The contract's document; a relative path is taken from the configuration file's directory.
    pub contract: PathBuf,
    /// The library's table, where it is not the one that the contract names.
    pub table: Option<String>,
    /// How a change is applied. Decided at load where the file is silent: see [`Pipeline::mode`].
    pub mode: Option<Mode>,
    /// Where the library's own routes for this table are served; without it, they are not.
    #[validate(nested)]
    pub routes: Option<Routes>,
    /// Requests that wait while the library is away.
    #[serde(default)]
    #[validate(nested)]
    pub hold: Hold,
    /// How changes are gathered into one commit.
    #[serde(default)]
    #[validate(nested)]
    pub batch: Batch,
    /// When its quarantine is said to grow.
    #[serde(default)]
    #[validate(nested)]
    pub quarantine: Quarantine,
    /// Where changes come from.
    #[validate(nested)]
    pub source: Source,
    /// Where a row can be read afresh.
    #[validate(nested)]
    pub reference: Option<Reference>,
    /// When and how the library is compared with the reference.
    #[validate(nested)]
    pub reconcile: Option<Reconcile>,
    /// When the table is checked by itself.
    #[validate(nested)]
    pub check: Option<Check>,
}

impl Pipeline {
    /// How a change is applied: as configured, else `refetch` where there is a reference to read from.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(if self.reference.is_some() { Mode::Refetch } else { Mode::Apply })
    }

    /// The registration that this pipeline keeps with its sender, where it keeps one.
    pub fn register(&self) -> Option<&Register> {
        self.source.webhook.as_ref()?.register.as_ref()
    }
}

/// The library's own read routes.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// Path of the list, such as `/fragrances`.
    #[validate(custom(function = plain_path))]
    pub list: String,
    /// Path of one row, such as `/fragrance/{id}`.
    #[validate(custom(function = item_path))]
    pub item: String,
}

/// Requests that wait while the library's database is away.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Hold {
    /// As many wait at once; the next is answered 503.
    #[validate(range(min = 1, max = 1_000_000, message = "must be between 1 and 1000000"))]
    pub max_requests: usize,
    /// As long waits each; then it is answered 503.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub max_time: Duration,
}

impl Default for Hold {
    fn default() -> Self {
        Self { max_requests: 1024, max_time: Duration::from_secs(25) }
    }
}

/// How changes are gathered into one commit.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// The most changes in one transaction.
    #[validate(range(min = 1, max = 100_000, message = "must be between 1 and 100000"))]
    pub max_changes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_changes: 1024 }
    }
}

/// Where changes come from.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A sender calls us.
    #[validate(nested)]
    pub webhook: Option<Webhook>,
}

/// The endpoint that a sender calls.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The endpoint's path; with `auth = "token"` the token follows as one more segment.
    #[validate(custom(function = plain_path))]
    pub path: String,
    /// The header that carries the sender's id for an event, where it sends one.
    #[serde(default, deserialize_with = "header_name", serialize_with = "header_text")]
    pub event_id_header: Option<HeaderName>,
    /// What a caller has to show.
    #[serde(default)]
    pub auth: Auth,
    /// The registration to keep with the sender; without it, somebody else tells the sender where to call.
    #[validate(nested)]
    pub register: Option<Register>,
}

/// What a caller of the webhook has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// An unguessable segment at the end of the path.
    #[default]
    Token,
    /// Nothing: whoever reaches the port may change the library.
    None,
}

/// The registration kept with the sender.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Where the sender takes registrations.
    #[serde(deserialize_with = "secret::http_url")]
    pub url: SecretUrl,
    /// The registration is repeated this often, for the sender may forget it.
    #[serde(with = "duration", default = "Register::keep_alive")]
    #[validate(custom(function = positive))]
    pub keep_alive: Duration,
    /// How long the sender may take to answer.
    #[serde(with = "duration", default = "Register::timeout")]
    #[validate(custom(function = positive))]
    pub timeout: Duration,
    /// Whether to take the registration back on shutdown.
    #[serde(default)]
    pub deregister_on_shutdown: bool,
    /// How long to wait after an attempt that failed.
    #[serde(default)]
    #[validate(nested)]
    pub backoff: Backoff,
}

impl Register {
    /// Registers at this URL, everything else as by default.
    pub fn at(url: SecretUrl) -> Self {
        Self {
            url,
            keep_alive: Self::keep_alive(),
            timeout: Self::timeout(),
            deregister_on_shutdown: false,
            backoff: Backoff::default(),
        }
    }

    fn keep_alive() -> Duration {
        Duration::from_secs(30)
    }

    fn timeout() -> Duration {
        Duration::from_secs(5)
    }
}

/// Bounds of the pause after an attempt that failed; the pause doubles from one to the other, with jitter.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
#[validate(schema(function = ordered))]
pub struct Backoff {
    /// The longest pause after the first failure.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub initial: Duration,
    /// The longest pause at all.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(200), max: Duration::from_secs(5) }
    }
}

fn ordered(backoff: &Backoff) -> Result<(), ValidationError> {
    if backoff.initial > backoff.max {
        return Err(ValidationError::new("order").with_message("`initial` is longer than `max`".into()));
    }
    Ok(())
}

/// Where a row can be read afresh.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The sender's own database.
    #[validate(nested)]
    pub postgres: PostgresReference,
}

/// A table in the sender's Postgres.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct PostgresReference {
    /// Its database.
    #[serde(deserialize_with = "secret::database_url")]
    pub url: SecretUrl,
    /// Its table.
    #[validate(length(min = 1, message = "must name a table"))]
    pub table: String,
    /// How long a read may take before the payload is applied as it came.
    #[serde(with = "duration", default = "PostgresReference::timeout")]
    #[validate(custom(function = positive))]
    pub timeout: Duration,
}

impl PostgresReference {
    fn timeout() -> Duration {
        Duration::from_secs(2)
    }
}

fn plain_path(path: &str) -> Result<(), ValidationError> {
    if is_plain_path(path) {
        return Ok(());
    }
    Err(ValidationError::new("path").with_message("must be a path such as \"/notifications\"".into()))
}

fn item_path(path: &str) -> Result<(), ValidationError> {
    if path.matches("{id}").count() == 1 && is_plain_path(&path.replace("/{id}", "/id")) {
        return Ok(());
    }
    Err(ValidationError::new("path").with_message("must be a path such as \"/fragrance/{id}\"".into()))
}

fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|segment| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
        })
    })
}

fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(|_| D::Error::custom("expected the name of a header such as \"x-event-id\""))
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn header_text<S: Serializer>(name: &Option<HeaderName>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(HeaderName::as_str).serialize(serializer)
}
