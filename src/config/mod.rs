//! The configuration: built-in defaults, then `accord.toml`, then `ACCORD__SECTION__KEY`.
//!
//! Promises: what is accepted is executed, so an unknown key is refused with its name and place; a secret
//! appears in no dump, log or message. Must not know: what the settings are used for.

mod check;
mod duration;
mod error;
mod layer;
mod pipeline;
mod quarantine;
mod reconcile;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use figment::Figment;
use figment::value::Dict;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;
use validator::{Validate, ValidationError};

pub use check::Check;
pub use error::ConfigError;
pub use pipeline::{
    Auth, Backoff, Batch, Hold, Mode, Pipeline, PostgresReference, Reference, Register, Routes, Source,
    Webhook,
};
pub use quarantine::Quarantine;
pub use reconcile::{OnDrift, Reconcile};
pub use secret::{MASK, SecretUrl};

use layer::Layer;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "accord.toml";

/// Paths that Accord serves itself.
const OWN_PATHS: [&str; 6] = ["/api", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz"];

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    #[serde(default)]
    #[validate(nested)]
    pub http: Http,
    /// The library's database.
    #[validate(nested)]
    pub library: Library,
    /// How long Accord's own records are kept.
    #[serde(default)]
    #[validate(nested)]
    pub retention: Retention,
    /// How the process stops.
    #[serde(default)]
    #[validate(nested)]
    pub shutdown: Shutdown,
    /// What is logged, and how.
    #[serde(default)]
    #[validate(nested)]
    pub log: Log,
    /// The pipelines by name.
    #[serde(default)]
    pub pipeline: BTreeMap<String, Pipeline>,
}

/// `[http]`: the server.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How senders reach us; needed to register with one.
    #[serde(deserialize_with = "secret::public_url")]
    pub public_url: Option<Url>,
    /// The largest body taken, in bytes.
    #[validate(range(
        min = 1024,
        max = 1_073_741_824,
        message = "must be between 1024 and 1073741824 bytes"
    ))]
    pub body_limit: usize,
    /// How long a sender may take over its headers.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub header_timeout: Duration,
    /// How long a sender may take over its body.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub body_timeout: Duration,
    /// The most connections at once.
    #[validate(range(min = 1, max = 1_000_000, message = "must be between 1 and 1000000"))]
    pub max_connections: usize,
    /// What a caller from another host shows to reach the admin routes.
    #[serde(serialize_with = "secret::masked")]
    pub admin_token: Option<SecretString>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9099)),
            public_url: None,
            body_limit: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            // Below the 1,024 open files that a process usually may have, with room for the database's.
            max_connections: 900,
            admin_token: None,
        }
    }
}

/// `[library]`: the library's database.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Its URL; a direct connection, for Accord needs session features.
    #[serde(deserialize_with = "secret::database_url")]
    pub url: SecretUrl,
    /// The most connections of the pool.
    #[serde(default = "Library::max_connections")]
    #[validate(range(min = 2, max = 1000, message = "must be between 2 and 1000"))]
    pub max_connections: u32,
}

impl Library {
    fn max_connections() -> u32 {
        10
    }
}

/// `[retention]`: how long Accord's own records are kept. Original bytes follow what refers to them.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Ledger entries; never cut past the oldest open quarantine entry.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub ledger: Duration,
    /// Quarantine entries that are closed; open ones are kept.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub quarantine: Duration,
    /// Event ids: within this time a repeat is recognized.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub event_id: Duration,
    /// Reconciliations with their reports, but the newest that found something out is kept; replays of many entries.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub reconciliation: Duration,
    /// Results of dataset checks: the history that can be plotted.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub check: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self {
            ledger: days(90),
            quarantine: days(90),
            event_id: days(7),
            reconciliation: days(90),
            check: days(90),
        }
    }
}

/// `[shutdown]`: how the process stops.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long what is in flight may take to finish.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(25) }
    }
}

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Directives such as `info,accord=debug`.
    #[validate(custom(function = log_filter))]
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Config {
    /// Reads the file (else `accord.toml` in the working directory, if there is one) and the environment.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(path, std::env::vars_os())
    }

    /// As [`Config::load`], with these variables in the place of the process' environment.
    pub fn load_with(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let file = match path {
            Some(path) => Some(path),
            None => Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let directory = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let mut layers = Vec::new();
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
            layers.push(Layer::toml(&text, file, directory)?);
        }
        layers.push(Layer::environment(variables, directory)?);
        Self::from_layers(&layers, directory)
    }

    /// Reads a TOML text alone; relative paths are taken from `directory`.
    pub fn from_toml(text: &str, directory: &Path) -> Result<Self, ConfigError> {
        let layer = Layer::toml(text, &directory.join(DEFAULT_FILE), directory)?;
        Self::from_layers(&[layer], directory)
    }

    fn from_layers(layers: &[Layer], directory: &Path) -> Result<Self, ConfigError> {
        // An empty section lets a missing `library.url` be reported by its own name.
        let base = Figment::from(("library", Dict::new()));
        let mut config: Self = layers
            .iter()
            .cloned()
            .fold(base, Figment::merge)
            .extract()
            .map_err(|error| error::unreadable(error, layers))?;
        for pipeline in config.pipeline.values_mut() {
            pipeline.contract = directory.join(&pipeline.contract);
            pipeline.mode = Some(pipeline.mode());
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// Everything as it is in force, without any secret.
    pub fn redacted(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    /// The same as TOML, in the form of the file.
    pub fn redacted_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// What is allowed but deserves a second look, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.pipeline.is_empty() {
            warnings.push("no pipeline is configured: add a section [pipeline.NAME]".to_owned());
        }
        let listen = self.http.listen;
        if !listen.ip().is_loopback() && self.http.admin_token.is_none() {
            warnings.push(format!(
                "http.listen = \"{listen}\" is open to other hosts and http.admin_token is not set: admin \
                 routes answer this host alone; set http.admin_token_file to use them from elsewhere"
            ));
        }
        for (name, pipeline) in &self.pipeline {
            if pipeline.reference.is_some() && pipeline.reconcile.is_none() {
                warnings.push(format!(
                    "pipeline.{name} is not reconciled by itself: what is missed stays missed until somebody runs \
                     `accord reconcile {name}`; add a section [pipeline.{name}.reconcile]"
                ));
            }
            let open = pipeline.source.webhook.as_ref().is_some_and(|webhook| webhook.auth == Auth::None);
            if open && !listen.ip().is_loopback() {
                warnings.push(format!(
                    "pipeline.{name}.source.webhook.auth = \"none\" on {listen}: whoever reaches the port may \
                     change the library; use auth = \"token\" if the sender can call a URL with a token"
                ));
            }
        }
        warnings
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(errors) = self.validate() {
            problems.extend(error::out_of_range("", &errors));
        }
        for (name, pipeline) in &self.pipeline {
            let at = format!("pipeline.{name}");
            if let Err(errors) = pipeline.validate() {
                problems.extend(error::out_of_range(&at, &errors));
            }
            problems.extend(self.contradictions(name, pipeline));
        }
        problems.extend(self.shared_paths());
        problems
    }

    /// Settings of a pipeline that are well-formed each but do not fit together.
    fn contradictions(&self, name: &str, pipeline: &Pipeline) -> Vec<String> {
        let mut problems = Vec::new();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 63 || !name.chars().all(legal) {
            problems.push(format!(
                "`pipeline.{name}`: a name has 1 to 63 of the characters a-z, 0-9, `_` and `-`"
            ));
        }
        if pipeline.source.webhook.is_none() {
            problems.push(format!(
                "`pipeline.{name}.source` names no source: add [pipeline.{name}.source.webhook]"
            ));
        }
        if pipeline.mode() == Mode::Refetch && pipeline.reference.is_none() {
            problems.push(format!(
                "`pipeline.{name}.mode` is \"refetch\" but there is nothing to read afresh: add \
                 [pipeline.{name}.reference.postgres], or use mode = \"apply\""
            ));
        }
        if pipeline.reconcile.is_some() && pipeline.reference.is_none() {
            problems.push(format!(
                "`pipeline.{name}.reconcile` has nothing to compare the library with: add \
                 [pipeline.{name}.reference.postgres], or take the section out"
            ));
        }
        if pipeline.register().is_some() && self.http.public_url.is_none() {
            problems.push(format!(
                "`pipeline.{name}.source.webhook.register` needs `http.public_url`: the URL under which the \
                 sender reaches us, such as \"http://smart_library:9099\""
            ));
        }
        problems
    }

    /// Paths that two parts of the server would claim.
    fn shared_paths(&self) -> Vec<String> {
        let mut taken = HashSet::new();
        let mut problems = Vec::new();
        for (name, pipeline) in &self.pipeline {
            let webhook = pipeline.source.webhook.as_ref().map(|webhook| webhook.path.as_str());
            let routes = pipeline.routes.as_ref();
            let claims = [webhook, routes.map(|r| r.list.as_str()), routes.map(|r| r.item.as_str())];
            for path in claims.into_iter().flatten() {
                let own = OWN_PATHS.iter().any(|own| {
                    path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                });
                if own {
                    problems.push(format!(
                        "`pipeline.{name}`: {path} is served by Accord itself; choose another path"
                    ));
                }
                // The token is a segment of its own, so it competes with the id of a row.
                let with_token = (Some(path) == webhook).then(|| format!("{path}/{{id}}"));
                let claimed = [Some(path.to_owned()), with_token];
                if !claimed.into_iter().flatten().all(|claim| taken.insert(claim)) {
                    problems.push(format!("`pipeline.{name}`: {path} is already taken; choose another path"));
                }
            }
        }
        problems
    }
}

fn positive(duration: &Duration) -> Result<(), ValidationError> {
    if duration.is_zero() {
        return Err(ValidationError::new("positive").with_message("must be longer than zero".into()));
    }
    Ok(())
}

fn log_filter(filter: &str) -> Result<(), ValidationError> {
    tracing_subscriber::EnvFilter::try_new(filter).map(drop).map_err(|_| {
        ValidationError::new("filter").with_message("must be directives such as \"info,accord=debug\"".into())
    })
}
