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
use validator::Validate;

use super::access::{self, Access};
use super::error::{self, Kind, Problem};
use super::json;
use super::resource::{Object, Page, accepted, no_such_pipeline, not_taken};
use crate::library::check_result::{self, CheckResult, Run};
use crate::quality::{AskError, Checks};

const ROOT: &str = "/api/v1/checks";
const RESULTS: &str = "/api/v1/checks/results";

/// The routes, to be merged into the router.
pub fn routes(checks: Checks, access: Access) -> Router {
    Router::new()
        .route(ROOT, post(ask).get(list))
        .route(RESULTS, get(of_rule))
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

/// The query of `GET /api/v1/checks`.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Runs {
    pipeline: Option<String>,
    #[serde(default = "shown")]
    #[validate(range(min = 1, max = 500))]
    limit: i64,
    before: Option<i64>,
}

/// The query of `GET /api/v1/checks/results`.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct OfRule {
    pipeline: String,
    rule: String,
    #[serde(default = "shown")]
    #[validate(range(min = 1, max = 500))]
    limit: i64,
    before: Option<i64>,
}

/// As many as a list shows unless it is told otherwise.
fn shown() -> i64 {
    50
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
        AskError::NoSuchPipeline => no_such_pipeline(),
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
    wish: Result<Query<Runs>, QueryRejection>,
) -> Result<Response, Problem> {
    let wish = wish.ok().map(|Query(wish)| wish).filter(|wish| wish.validate().is_ok());
    let Some(Runs { pipeline, limit, before }) = wish else {
        let detail = "The query takes `pipeline`, `limit` (1 to 500) and `before` (the number of a run).";
        return Err(Problem::new(Kind::BadRequest, detail));
    };
    let runs = check_result::latest(checks.pool(), pipeline.as_deref(), before, limit + 1).await;
    let runs = runs.map_err(|error| Problem::database(&error))?;
    let asked = pipeline.iter().map(|name| ("pipeline", name.as_str()));
    let page = Page::cut(runs, limit, |last| next(ROOT, asked, limit, last.id));
    Ok(json(StatusCode::OK, &page))
}

/// What one rule gave in each run: a history to plot.
async fn of_rule(
    State(checks): State<Checks>,
    wish: Result<Query<OfRule>, QueryRejection>,
) -> Result<Response, Problem> {
    let wish = wish.ok().map(|Query(wish)| wish).filter(|wish| wish.validate().is_ok());
    let Some(OfRule { pipeline, rule, limit, before }) = wish else {
        let detail = "The query takes `pipeline` and `rule` (its id), which it needs, `limit` (1 to 500) and \
                      `before` (the number of a run).";
        return Err(Problem::new(Kind::BadRequest, detail));
    };
    let samples = check_result::of_rule(checks.pool(), &pipeline, &rule, before, limit + 1).await;
    let samples = samples.map_err(|error| Problem::database(&error))?;
    let asked = [("pipeline", pipeline.as_str()), ("rule", rule.as_str())];
    let page = Page::cut(samples, limit, |last| next(RESULTS, asked, limit, last.run));
    Ok(json(StatusCode::OK, &page))
}

/// Where the next page is.
fn next<'a>(
    root: &str,
    asked: impl IntoIterator<Item = (&'a str, &'a str)>,
    limit: i64,
    before: i64,
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(asked);
    query.append_pair("limit", &limit.to_string()).append_pair("before", &before.to_string());
    format!("{root}?{}", query.finish())
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
