//! The HTTP face: each pipeline's webhook and read routes, health, numbers, and the operators' API.
//!
//! Promises: [`router`] refuses paths that collide instead of panicking; every error is a [`Problem`]; what
//! is for operators is guarded by [`Access`]. Must not know: how changes are applied.

pub mod access;
pub mod error;
pub mod health;
pub mod library;
pub mod path;
pub mod server;
pub mod status;

use std::collections::HashSet;
use std::future::{Ready, ready};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::apply::Applier;
use crate::contract::Contract;
use crate::source::webhook::{self, Webhook};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

pub use access::Access;
pub use error::Problem;
pub use library::LibraryRoutes;
pub use path::RoutePath;
pub use server::{Limits, serve};
pub use status::PipelineStatus;

/// What the HTTP face needs to know of one pipeline.
#[derive(Clone, Debug)]
pub struct HttpPipeline {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// How changes are applied: `refetch` or `apply`.
    pub mode: Arc<str>,
    /// What it holds its changes to.
    pub contract: Arc<Contract>,
    /// Its waist, asked for its health.
    pub applier: Applier,
    /// Where its sender calls.
    pub webhook: Option<Arc<Webhook>>,
    /// Where its table can be read.
    pub library: Option<LibraryRoutes>,
    /// What is known of its gap and its registration.
    pub status: watch::Receiver<PipelineStatus>,
}

/// Paths that are ours, or will be: a pipeline cannot have them, nor what lies under the last two.
const OWN_PATHS: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"];
const OWN_TREES: [&str; 2] = ["/api", "/console"];

/// Everything that Accord serves. Peer addresses are expected where [`serve`] puts them.
pub fn router(
    pipelines: Vec<HttpPipeline>,
    pool: &PgPool,
    metrics: Metrics,
    access: Access,
) -> Result<Router, RouterError> {
    check_paths(&pipelines)?;
    let mut router = Router::new();
    for pipeline in &pipelines {
        if let Some(webhook) = &pipeline.webhook {
            router = router.merge(webhook::routes(webhook));
        }
        if let Some(paths) = &pipeline.library {
            router = router.merge(library::routes(&pipeline.contract, paths, pool)?);
        }
    }
    let pipelines: Arc<[HttpPipeline]> = pipelines.into();
    let guarded = Router::new()
        .merge(status::routes(Arc::clone(&pipelines)))
        .route("/metrics", get(numbers).with_state(metrics))
        .route_layer(middleware::from_fn_with_state(access.clone(), access::guard));
    Ok(router
        .merge(guarded)
        .merge(health::routes(pipelines, access))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed))
}

fn numbers(State(metrics): State<Metrics>) -> Ready<impl IntoResponse> {
    ready(([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode()))
}

/// Finds two routes that want one path before the router would panic over them.
fn check_paths(pipelines: &[HttpPipeline]) -> Result<(), RouterError> {
    let mut taken: HashSet<String> = OWN_PATHS.map(ToOwned::to_owned).into();
    let mut claim = |path: &RoutePath, below: &str| {
        let is_below = |tree| {
            path.as_str().strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_free = !OWN_TREES.into_iter().any(is_below) && taken.insert(format!("{path}{below}"));
        if is_free { Ok(()) } else { Err(RouterError::PathTaken(path.clone())) }
    };
    for pipeline in pipelines {
        if let Some(webhook) = &pipeline.webhook {
            claim(&webhook.settings().path, "")?;
            claim(&webhook.settings().path, "/*")?;
        }
        if let Some(library) = &pipeline.library {
            claim(&library.list_path, "")?;
            claim(&library.item_path, "/*")?;
        }
    }
    Ok(())
}

/// The routes cannot be laid as configured.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Two routes want the same path.
    #[error("the path `{0}` is taken already: give each webhook and each read route a path of its own")]
    PathTaken(RoutePath),
    /// The read routes do not fit the contract.
    #[error(transparent)]
    Library(#[from] library::LibraryError),
}

/// An answer in JSON that nobody keeps or takes for anything else.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_as(status, JSON, body)
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn json_as(status: StatusCode, content_type: HeaderValue, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => {
            let headers = [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ];
            (status, headers, body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot write an answer as JSON: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
