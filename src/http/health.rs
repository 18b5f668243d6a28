//! `/healthz` (is the process alive?) and `/readyz` (can a change commit now?).
//!
//! Promises: both answer from memory; readiness is about us alone, for a sender in trouble must not take us
//! out of a balancer and lose webhooks; reasons are shown only to those whom [`Access`] trusts.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::status::{HealthState, PipelineView};
use super::{Access, HttpPipeline, json};

/// What `/healthz` and `/readyz` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `ok`; `ready` or `not_ready`.
    pub status: String,
    /// How each pipeline is, for those who may see it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pipelines: Option<Vec<PipelineView>>,
}

#[derive(Clone)]
struct Readiness {
    pipelines: Arc<[HttpPipeline]>,
    access: Access,
}

pub(super) fn routes(pipelines: Arc<[HttpPipeline]>, access: Access) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(readiness))
        .with_state(Readiness { pipelines, access })
}

fn alive() -> Ready<Response> {
    ready(json(StatusCode::OK, &Report { status: "ok".to_owned(), pipelines: None }))
}

#[expect(clippy::needless_pass_by_value, reason = "an extractor of axum is a value")]
fn readiness(State(Readiness { pipelines, access }): State<Readiness>, request: Request) -> Ready<Response> {
    let pipelines = pipelines.iter().map(PipelineView::from).collect();
    let (status, report) = judge(pipelines, access.sees_detail(&request));
    ready(json(status, &report))
}

/// Ready when every pipeline is; nothing but their health counts.
fn judge(pipelines: Vec<PipelineView>, with_detail: bool) -> (StatusCode, Report) {
    let is_ready = pipelines.iter().all(|pipeline| pipeline.health.state == HealthState::Ready);
    let (code, word) =
        if is_ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Report { status: word.to_owned(), pipelines: with_detail.then_some(pipelines) })
}

#[cfg(test)]
mod tests {
    use super::super::status::ContractView;
    use super::*;
    use crate::apply::Health;
    use crate::library::registration::RegistrationState;
    use chrono::Utc;

    fn pipeline(health: Health) -> PipelineView {
        PipelineView {
            name: "fragrances".into(),
            contract: ContractView { name: "fragrances".into(), version: "1.0.0".into() },
            mode: "apply".into(),
            health: health.into(),
            conditions: Vec::new(),
            held: 0,
            lag_ms: 0,
            last_change_at: None,
            paused: None,
            quarantine: None,
            check: None,
            gap: None,
            registration: None,
            silent_since: None,
            reconciliation: None,
        }
    }

    fn away() -> Health {
        Health::Away { since: Utc::now(), reason: "connection refused".into() }
    }

    #[test]
    fn one_pipeline_that_cannot_commit_makes_us_unready() {
        for sick in [away(), Health::Starting, Health::Halted { since: Utc::now(), reason: "42P01".into() }] {
            let (code, report) = judge(vec![pipeline(Health::Ready), pipeline(sick)], true);
            assert_eq!((code, report.status.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not_ready"));
        }
        assert_eq!(judge(vec![pipeline(Health::Ready)], true).0, StatusCode::OK);
    }

    #[test]
    fn the_state_of_the_sender_never_decides() {
        let unregistered = RegistrationState { last_error: Some("refused".into()), ..Default::default() };
        let pipeline = PipelineView { registration: Some(unregistered), ..pipeline(Health::Ready) };
        let (code, report) = judge(vec![pipeline.clone()], true);
        assert_eq!((code, report.pipelines), (StatusCode::OK, Some(vec![pipeline])));
    }

    #[test]
    fn reasons_are_kept_from_strangers() {
        let (_, report) = judge(vec![pipeline(away())], false);
        assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"status":"not_ready"}"#);
    }
}
