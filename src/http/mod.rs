//! The HTTP face: each pipeline's webhook and read routes, health, numbers, and the operators' API.
//!
//! Promises: [`router`] refuses paths that collide instead of panicking; every error is a [`Problem`]; what
//! is for operators is guarded by [`Access`]. Must not know: how changes are applied.

pub mod access;
pub mod checks;
mod door;
pub mod error;
pub mod health;
pub mod library;
pub mod path;
pub mod pause;
pub mod quarantine;
pub mod reconciliations;
mod resource;
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
pub use door::{Door, Shut};
pub use error::Problem;
pub use library::LibraryRoutes;
pub use path::RoutePath;
pub use reconciliations::Reconcilable;
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
    /// What may be asked of its reconciler; none where there is nothing to compare with.
    pub reconcile: Option<Reconcilable>,
    /// What is known of it beside its waist.
    pub status: watch::Receiver<PipelineStatus>,
}

/// Paths that are ours, or will be, and first segments under which everything is.
const OWN_PATHS: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"];
const OWN_TREES: [&str; 2] = ["api", "console"];

/// Everything that Accord serves. Peer addresses are expected where [`serve`] puts them.
pub fn router(
    pipelines: Vec<HttpPipeline>,
    pool: &PgPool,
    metrics: Metrics,
    access: Access,
) -> Result<Router, RouterError> {
    check_paths(pipelines.iter().flat_map(wanted_paths))?;
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
        .merge(reconciliations::routes(Arc::clone(&pipelines), pool.clone()))
        .merge(pause::routes(Arc::clone(&pipelines), pool.clone()))
        .merge(quarantine::routes(Arc::clone(&pipelines), pool.clone()))
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

/// The paths that a pipeline's routes take, each with whether one more segment follows.
fn wanted_paths(pipeline: &HttpPipeline) -> impl Iterator<Item = (&RoutePath, bool)> {
    let webhook = pipeline.webhook.iter().map(|webhook| &webhook.settings().path);
    let library = pipeline.library.iter();
    let webhook = webhook.flat_map(|path| [(path, false), (path, true)]);
    webhook.chain(library.flat_map(|paths| [(&paths.list_path, false), (&paths.item_path, true)]))
}

/// Finds two routes that want one path before the router would panic over them.
fn check_paths<'a>(wanted: impl Iterator<Item = (&'a RoutePath, bool)>) -> Result<(), RouterError> {
    let mut taken = HashSet::new();
    for (path, has_more) in wanted {
        let is_own = OWN_PATHS.contains(&path.as_str())
            || OWN_TREES.iter().any(|tree| path.as_str().split('/').nth(1) == Some(tree));
        if is_own || !taken.insert((path, has_more)) {
            return Err(RouterError::PathTaken(path.clone()));
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
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use sqlx::postgres::PgPoolOptions;
    use std::net::SocketAddr;
    use tower::ServiceExt;

    async fn ask(method: &str, path: &str, peer: &str) -> (StatusCode, axum::http::HeaderMap, String) {
        let pool = PgPoolOptions::new().connect_lazy("postgres://localhost:1/nowhere").unwrap();
        let router = router(Vec::new(), &pool, Metrics::new(), Access::new(None)).unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = request.extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    const LOCAL: &str = "127.0.0.1:4000";
    const REMOTE: &str = "10.0.0.7:4000";

    #[tokio::test]
    async fn health_is_open_to_all() {
        for path in ["/healthz", "/readyz"] {
            let (status, headers, _) = ask("GET", path, REMOTE).await;
            assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &JSON), "{path}");
        }
        assert_eq!(ask("GET", "/healthz", REMOTE).await.2, r#"{"status":"ok"}"#);
        assert_eq!(ask("GET", "/readyz", REMOTE).await.2, r#"{"status":"ready"}"#);
        assert_eq!(ask("GET", "/readyz", LOCAL).await.2, r#"{"status":"ready","pipelines":[]}"#);
    }

    #[tokio::test]
    async fn operators_routes_are_not_open_to_the_network() {
        for path in ["/metrics", "/api/v1/pipelines", "/api/v1/pipelines/fragrances"] {
            let (status, headers, body) = ask("GET", path, REMOTE).await;
            assert_eq!((status, &headers["content-type"]), (StatusCode::FORBIDDEN, &PROBLEM), "{path}");
            assert!(body.contains("http.admin_token"), "{body}");
        }
        let (status, headers, body) = ask("GET", "/metrics", LOCAL).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, CONTENT_TYPE));
        assert!(body.ends_with("# EOF\n"));
        assert_eq!(ask("GET", "/api/v1/pipelines", LOCAL).await.2, r#"{"data":[]}"#);
        assert_eq!(ask("GET", "/api/v1/pipelines/none", LOCAL).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn unknown_paths_and_wrong_methods_are_problems() {
        let (status, headers, _) = ask("GET", "/nothing", LOCAL).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::NOT_FOUND, &PROBLEM));
        let (status, headers, _) = ask("POST", "/healthz", LOCAL).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::METHOD_NOT_ALLOWED, &PROBLEM));
        assert_eq!(headers["allow"], "GET,HEAD");
    }

    const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

    #[test]
    fn a_path_is_taken_once_and_ours_stay_ours() {
        let path = |text: &str| RoutePath::new(text).unwrap();
        let check = |paths: &[(&str, bool)]| {
            let paths: Vec<_> = paths.iter().map(|(text, has_more)| (path(text), *has_more)).collect();
            check_paths(paths.iter().map(|(path, has_more)| (path, *has_more))).is_ok()
        };
        assert!(check(&[("/a", false), ("/a", true), ("/a/b", false), ("/metric", false), ("/apis", true)]));
        assert!(!check(&[("/a", true), ("/a", true)]));
        for ours in
            ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/api", "/api/v1/x", "/console/x"]
        {
            assert!(!check(&[(ours, false)]), "{ours}");
        }
    }
}
