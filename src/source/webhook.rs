//! A pipeline's webhook: a sender POSTs a record, or an array of them, and is told what became of it.
//!
//! Promises: 2xx only after the commit; every body that an entitled sender delivers whole ends in an
//! outcome, malformed ones in quarantine; what is turned away marks a gap; never 410, which makes senders
//! give up for good; the token is in no log, answer or trace. Must not know: how changes are applied.

mod intake;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::HeaderName;
use axum::response::Response;
use axum::routing::post;
use serde::Serialize;

use self::intake::{Call, Intake};
pub use self::tokens::{Accepted, WebhookStats};
use crate::apply::{Applier, Gap, Refused};
use crate::change::{Answer, Origin, Outcome};
use crate::contract::gate::Gate;
use crate::http::error::Problem;
use crate::http::json;
use crate::http::path::RoutePath;
use crate::telemetry::metrics::PipelineMetrics;

/// How a webhook behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where senders call; the token follows as one more segment.
    pub path: RoutePath,
    /// Who is let in.
    pub auth: Auth,
    /// The longest body taken, in bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// When a sender that got 503 may try again.
    pub retry_after: Duration,
    /// Headers that may carry the sender's id of an event; the first one present counts.
    pub event_id_headers: Vec<HeaderName>,
}

impl Settings {
    /// The defaults for a path: a token is needed, 1 MiB within 10 s, the Standard Webhooks' event id.
    pub fn new(path: RoutePath) -> Self {
        Self {
            path,
            auth: Auth::Token,
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(5),
            event_id_headers: vec![HeaderName::from_static("webhook-id"), HeaderName::from_static("svix-id")],
        }
    }
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Whoever knows the token: as the last path segment, or as a bearer token.
    Token,
    /// Everybody.
    None,
}

/// The webhook of one pipeline.
#[derive(Debug)]
pub struct Webhook {
    intake: Intake,
    gate: Gate,
    applier: Applier,
}

impl Webhook {
    /// A webhook that judges with `gate` and hands in at `applier`.
    pub fn new(
        settings: Settings,
        tokens: Accepted,
        stats: Arc<WebhookStats>,
        gate: Gate,
        applier: Applier,
        metrics: PipelineMetrics,
    ) -> Self {
        let waist = applier.clone();
        let on_missed = Box::new(move || waist.mark_gap(Gap::Refused));
        let intake = Intake { settings, tokens, stats, metrics, on_missed };
        Self { intake, gate, applier }
    }

    /// How it behaves.
    pub fn settings(&self) -> &Settings {
        &self.intake.settings
    }

    async fn receive(&self, token: Option<&str>, request: Request) -> Result<Response, Problem> {
        let Call { body, event_id } = self.intake.take(token, request).await?;
        let judged = self.gate.judge(&body, Origin::Webhook, event_id.as_deref());
        if judged.ignored_fields > 0 {
            self.intake.metrics.unknown_fields(judged.ignored_fields);
        }
        if judged.changes.is_empty() {
            return Ok(json(StatusCode::OK, &Results { results: &[] }));
        }
        let answers = self.applier.apply(judged.changes).await.map_err(|refused| self.turn_away(refused))?;
        Ok(tell(&answers, judged.is_batch))
    }

    /// The waist did not take it, and has marked the gap; the sender may try again.
    fn turn_away(&self, refused: Refused) -> Problem {
        let detail = match refused {
            Refused::Busy => "Too many changes wait for the library: send this one again later.",
            Refused::TimedOut => "The library did not take the change in time: send it again later.",
            // A sender's change is kept while a pipeline is paused, never refused.
            Refused::Paused { .. } => "The pipeline is paused: send the change again later.",
            Refused::Stopping => "Accord is shutting down: send the change again later.",
        };
        let problem = Problem::unavailable(self.settings().retry_after, detail);
        self.intake.metrics.refused(problem.status().as_u16());
        problem
    }
}

/// The routes of a webhook: its path, and its path with a token.
pub fn routes(webhook: &Arc<Webhook>) -> Router {
    let path = &webhook.settings().path;
    Router::new()
        .route(path.as_str(), post(receive))
        .route(&format!("{path}/{{token}}"), post(receive_with_token))
        .with_state(Arc::clone(webhook))
}

async fn receive(State(webhook): State<Arc<Webhook>>, request: Request) -> Result<Response, Problem> {
    webhook.receive(None, request).await
}

async fn receive_with_token(
    State(webhook): State<Arc<Webhook>>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    webhook.receive(token.ok().as_deref().map(String::as_str), request).await
}

#[derive(Serialize)]
struct Results<'a> {
    results: &'a [Answer],
}

/// A record is answered with its outcome, an array with a list; 202 says that something is in quarantine.
fn tell(answers: &[Answer], is_batch: bool) -> Response {
    let is_kept_aside = |answer: &Answer| matches!(answer.outcome, Outcome::Quarantined { .. });
    let status = if answers.iter().any(is_kept_aside) { StatusCode::ACCEPTED } else { StatusCode::OK };
    match answers {
        [answer] if !is_batch => json(status, answer),
        results => json(status, &Results { results }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Violation;
    use http_body_util::BodyExt;

    async fn told(answers: &[Answer], is_batch: bool) -> (u16, String) {
        let response = tell(answers, is_batch);
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn applied() -> Answer {
        let outcome = Outcome::Applied { position: 7, changed: vec!["cost".into()] };
        Answer { outcome, duplicate: false }
    }

    fn quarantined() -> Answer {
        let violations = vec![Violation::at("/cost", "type", "\"much\"", "`cost` must be a number")];
        Answer { outcome: Outcome::Quarantined { position: 8, id: 3, violations }, duplicate: false }
    }

    #[tokio::test]
    async fn a_record_is_answered_with_its_outcome() {
        let (status, body) = told(&[applied()], false).await;
        assert_eq!(status, 200);
        insta::assert_snapshot!(body, @r#"{"outcome":"applied","position":7,"changed":["cost"]}"#);
        let (status, body) = told(&[quarantined()], false).await;
        assert_eq!(status, 202);
        insta::assert_snapshot!(body, @r#"{"outcome":"quarantined","position":8,"id":3,"violations":[{"pointer":"/cost","rule":"type","value":"\"much\"","message":"`cost` must be a number"}]}"#);
        let repeat = Answer { duplicate: true, ..applied() };
        insta::assert_snapshot!(told(&[repeat], false).await.1, @r#"{"outcome":"applied","position":7,"changed":["cost"],"duplicate":true}"#);
    }

    #[tokio::test]
    async fn an_array_is_answered_with_a_list_and_202_when_any_is_kept_aside() {
        assert_eq!(told(&[applied()], true).await.0, 200);
        let (status, body) = told(&[applied(), quarantined()], true).await;
        assert_eq!(status, 202);
        insta::assert_snapshot!(body, @r#"{"results":[{"outcome":"applied","position":7,"changed":["cost"]},{"outcome":"quarantined","position":8,"id":3,"violations":[{"pointer":"/cost","rule":"type","value":"\"much\"","message":"`cost` must be a number"}]}]}"#);
        assert_eq!(told(&[], true).await, (200, r#"{"results":[]}"#.to_owned()));
    }
}
