//! `/api/v1/checks`: dataset checks, asked for and looked up.
//!
//! Promises: a run is a resource: POST answers 202 with its `Location` before the work begins; all of it is
//! guarded by [`Access`]. Must not know: how a rule is measured.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};

use super::access::{self, Access};
use super::error::{self, Kind, Problem};
use super::json;
use super::resource::{Object, accepted, not_taken};
use super::status::Collection;
use crate::library::check_result::{self, CheckResult, Run};
use crate::quality::{AskError, Checks};

/// Runs that a list shows unless it is told otherwise, and at most.
const SHOWN: i64 = 50;
const MOST: i64 = 500;

/// The routes, to be merged into the router.
pub fn routes(checks: Checks, access: Access) -> Router {
    Router::new()
        .route("/api/v1/checks", post(ask).get(list))
        .route("/api/v1/checks/{id}", get(one))
        .with_state(checks)
        .route_layer(middleware::from_fn_with_state(access, access::guard))
        .method_not_allowed_fallback(error::method_not_allowed)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    pipeline: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    pipeline: Option<String>,
    limit: Option<i64>,
}

/// A run with its results.
#[derive(Debug, Serialize)]
struct Full {
    #[serde(flatten)]
    run: Run,
    results: Vec<CheckResult>,
}

async fn ask(
    State(checks): State<Checks>,
    wish: Result<Json<Object<Wish>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Object(wish)) = wish.map_err(|rejection| not_taken(&rejection, r#"{"pipeline": "NAME"}"#))?;
    let id = checks.ask(&wish.pipeline).await.map_err(|error| match error {
        AskError::NoSuchPipeline => {
            Problem::new(Kind::NotFound, "No pipeline has this name: GET /api/v1/pipelines lists them.")
        }
        AskError::Busy => {
            Problem::unavailable(Duration::from_secs(10), "Too many checks wait: try again later.")
        }
        AskError::Database(error) => Problem::database(&error),
    })?;
    let run = find(&checks, id).await?;
    Ok(accepted(&format!("/api/v1/checks/{id}"), &run))
}

async fn list(
    State(checks): State<Checks>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(filter) = filter.map_err(|rejection| Problem::new(Kind::BadRequest, rejection.body_text()))?;
    let limit = filter.limit.unwrap_or(SHOWN).clamp(1, MOST);
    let runs = check_result::latest(checks.pool(), filter.pipeline.as_deref(), limit).await;
    let data = runs.map_err(|error| Problem::database(&error))?;
    Ok(json(StatusCode::OK, &Collection { data }))
}

async fn one(
    State(checks): State<Checks>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| missing())?;
    let run = find(&checks, id).await?;
    let results = check_result::results(checks.pool(), id).await;
    let results = results.map_err(|error| Problem::database(&error))?;
    Ok(json(StatusCode::OK, &Full { run, results }))
}

async fn find(checks: &Checks, id: i64) -> Result<Run, Problem> {
    let run = check_result::one(checks.pool(), id).await;
    run.map_err(|error| Problem::database(&error))?.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(Kind::NotFound, "No check has this number: GET /api/v1/checks lists them.")
}
