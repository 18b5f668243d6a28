//! The API of the CMS: byte for byte the answers of the real one where those are known.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use crate::cms::Cms;
use crate::listener::Listener;

pub(crate) fn router(cms: Cms) -> Router {
    Router::new()
        .route("/", get(async || json(StatusCode::OK, r#"["I am a healthy CMS"]"#)))
        .route("/healthcheck", get(async || json(StatusCode::OK, r#"["I am healthy"]"#)))
        .route("/listener", post(add_listener).delete(remove_listener))
        .route("/docs", get(async || Html(include_str!("../assets/docs.html"))))
        .route("/openapi.json", get(async || json(StatusCode::OK, include_str!("../assets/openapi.json"))))
        .fallback(async || json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#))
        .method_not_allowed_fallback(async || {
            json(StatusCode::METHOD_NOT_ALLOWED, r#"{"detail":"Method Not Allowed"}"#)
        })
        .with_state(cms)
}

async fn add_listener(State(cms): State<Cms>, body: Bytes) -> Response {
    match Listener::from_body(&body) {
        Ok(listener) => {
            cms.set_listener(listener);
            json(StatusCode::OK, r#"["Listener added"]"#)
        }
        Err(invalid) => (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(invalid)).into_response(),
    }
}

/// The answer's wording is the real one's.
async fn remove_listener(State(cms): State<Cms>) -> Response {
    cms.remove_listener();
    json(StatusCode::OK, r#"["Removed added"]"#)
}

fn json(status: StatusCode, body: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
