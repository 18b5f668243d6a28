//! How the pipelines are: `/api/v1/pipelines` and the shapes that it speaks in.
//!
//! Promises: the shapes are one public contract for the API, the command line and the console. Must not
//! know: who may ask.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::resource::{no_such_pipeline, pipeline};
use super::{HttpPipeline, json};
use crate::apply::{Applier, Health};
use crate::library::pause::Pause;
use crate::library::pipeline::GapRecord;
use crate::library::registration::RegistrationState;
use crate::reconcile::record::Run;
use crate::standing::{self, Checked, Condition, Expected, Live, Standing, Waiting};

/// What is known of a pipeline beside its waist.
#[derive(Clone, Debug, Default)]
pub struct PipelineStatus {
    /// How it stands with the sender; none for a pipeline that does not register.
    pub registration: Option<RegistrationState>,
    /// What the library's database last said of it; none before it said anything.
    pub standing: Option<Arc<Standing>>,
    /// What is normal for it.
    pub expected: Expected,
}

impl PipelineStatus {
    /// What deserves an operator's eye now.
    pub fn conditions(&self, applier: &Applier, now: DateTime<Utc>) -> Vec<Condition> {
        let live = Live { health: applier.health(), lag: applier.lag() };
        standing::all(self.standing.as_deref(), &live, &self.expected, now)
    }
}

/// One pipeline as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// The contract it holds its changes to.
    pub contract: ContractView,
    /// How changes are applied: `refetch` or `apply`.
    pub mode: String,
    /// Whether a change can commit now.
    pub health: HealthView,
    /// What deserves an operator's eye, the most pressing first.
    pub conditions: Vec<Condition>,
    /// How many requests wait for the library.
    pub held: usize,
    /// How long the oldest of them has been waiting.
    pub lag_ms: u64,
    /// When a change was last committed.
    pub last_change_at: Option<DateTime<Utc>>,
    /// An operator paused it.
    pub paused: Option<Pause>,
    /// What waits in its quarantine; none before the database said so.
    pub quarantine: Option<Waiting>,
    /// What the contract's rules last came to.
    pub check: Option<Checked>,
    /// Changes may have been missed.
    pub gap: Option<GapRecord>,
    /// How it stands with the sender.
    pub registration: Option<RegistrationState>,
    /// The source changes without calling our webhook: its listener is lost or taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent_since: Option<DateTime<Utc>>,
    /// The newest reconciliation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reconciliation: Option<Run>,
}

/// A contract, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractView {
    /// The document's `id` or `name`.
    pub name: String,
    /// The document's `version`.
    pub version: String,
}

/// [`Health`] as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Which it is.
    pub state: HealthState,
    /// Since when, where it is not well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<DateTime<Utc>>,
    /// Why, where it is not well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// The state of [`Health`] in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// A change can commit now.
    Ready,
    /// The database was not reached yet.
    Starting,
    /// The database is away.
    Away,
    /// An operator has to look.
    Halted,
}

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        let (state, told) = match health {
            Health::Ready => (HealthState::Ready, None),
            Health::Starting => (HealthState::Starting, None),
            Health::Away { since, reason } => (HealthState::Away, Some((since, reason))),
            Health::Halted { since, reason } => (HealthState::Halted, Some((since, reason))),
        };
        let (since, reason) = told.unzip();
        Self { state, since, reason }
    }
}

impl From<&HttpPipeline> for PipelineView {
    fn from(pipeline: &HttpPipeline) -> Self {
        let status = pipeline.status.borrow().clone();
        let conditions = status.conditions(&pipeline.applier, Utc::now());
        let known = status.standing.as_deref();
        Self {
            name: pipeline.name.to_string(),
            contract: ContractView {
                name: pipeline.contract.name.clone(),
                version: pipeline.contract.version.clone(),
            },
            mode: pipeline.mode.to_string(),
            health: pipeline.applier.health().into(),
            conditions,
            held: pipeline.applier.held(),
            lag_ms: u64::try_from(pipeline.applier.lag().as_millis()).unwrap_or(u64::MAX),
            last_change_at: known.and_then(|known| known.last_change_at),
            paused: known.and_then(|known| known.paused.clone()),
            quarantine: known.map(|known| known.quarantine.clone()),
            check: known.and_then(|known| known.check.clone()),
            gap: known.and_then(|known| known.gap.clone()),
            registration: status.registration,
            silent_since: known.and_then(|known| known.silent_since),
            reconciliation: known.and_then(|known| known.reconciliation.clone()),
        }
    }
}

/// A collection as answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Collection<T> {
    /// Its members.
    pub data: Vec<T>,
}

type Pipelines = Arc<[HttpPipeline]>;

pub(super) fn routes(pipelines: Pipelines) -> Router {
    Router::new()
        .route("/api/v1/pipelines", get(list))
        .route("/api/v1/pipelines/{name}", get(one))
        .with_state(pipelines)
}

fn list(State(pipelines): State<Pipelines>) -> Ready<Response> {
    let data = pipelines.iter().map(PipelineView::from).collect();
    ready(json(StatusCode::OK, &Collection { data }))
}

fn one(
    State(pipelines): State<Pipelines>,
    name: Result<Path<String>, PathRejection>,
) -> Ready<Result<Response, Problem>> {
    let found = name.map_err(|_| no_such_pipeline());
    let found = found.and_then(|Path(name)| pipeline(&pipelines, &name).map(PipelineView::from));
    ready(found.map(|view| json(StatusCode::OK, &view)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_view_says_what_is_wrong_and_since_when() {
        let since = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let view = PipelineView {
            name: "fragrances".into(),
            contract: ContractView { name: "fragrances".into(), version: "1.0.0".into() },
            mode: "refetch".into(),
            health: Health::Away { since, reason: "connection refused".into() }.into(),
            conditions: Live {
                health: Health::Away { since, reason: "connection refused".into() },
                lag: Duration::ZERO,
            }
            .conditions(since),
            held: 3,
            lag_ms: 1500,
            last_change_at: Some(since),
            paused: None,
            quarantine: Some(Waiting { open: 2, ..Waiting::default() }),
            check: None,
            gap: Some(GapRecord { since, reasons: vec!["outage".into()] }),
            registration: Some(RegistrationState { registered_since: Some(since), ..Default::default() }),
            silent_since: None,
            reconciliation: None,
        };
        insta::assert_json_snapshot!(view, @r#"
        {
          "name": "fragrances",
          "contract": {
            "name": "fragrances",
            "version": "1.0.0"
          },
          "mode": "refetch",
          "health": {
            "state": "away",
            "since": "2023-11-14T22:13:20Z",
            "reason": "connection refused"
          },
          "conditions": [
            {
              "condition": "library_away",
              "severity": "error",
              "since": "2023-11-14T22:13:20Z",
              "message": "the library's database is away, changes are held (connection refused): see `accord doctor`"
            }
          ],
          "held": 3,
          "lag_ms": 1500,
          "last_change_at": "2023-11-14T22:13:20Z",
          "paused": null,
          "quarantine": {
            "open": 2,
            "reasons": {},
            "growth": 0,
            "growing_since": null
          },
          "check": null,
          "gap": {
            "since": "2023-11-14T22:13:20Z",
            "reasons": [
              "outage"
            ]
          },
          "registration": {
            "registered_since": "2023-11-14T22:13:20Z",
            "last_success_at": null,
            "last_error_at": null,
            "last_error": null,
            "last_webhook_at": null,
            "unauthorized": 0
          }
        }
        "#);
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<PipelineView>(&text).unwrap(), view);
    }
}
