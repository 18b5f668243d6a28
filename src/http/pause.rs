//! `/api/v1/pipelines/{name}/pause` and `…/resume`.
//!
//! Promises: both may be asked for twice; bodies have to be JSON by their type, which no form of another site can
//! send. Must not know: what heeds a pause.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::pool::PoolConnection;

use super::error::{Kind, Problem};
use super::resource::{self, BY, Object, no_such_pipeline, not_taken};
use super::{HttpPipeline, json};
use crate::library::pause::{self, LONGEST_REASON, Pause, Paused, Resumed};

/// The longest body of a request here.
const BODY_LIMIT: usize = 16 * 1024;

#[derive(Clone)]
struct Service {
    pipelines: Arc<[HttpPipeline]>,
    pool: PgPool,
}

pub(super) fn routes(pipelines: Arc<[HttpPipeline]>, pool: PgPool) -> Router {
    Router::new()
        .route("/api/v1/pipelines/{name}/pause", post(pause))
        .route("/api/v1/pipelines/{name}/resume", post(resume))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Service { pipelines, pool })
}

/// The body of `POST /api/v1/pipelines/{name}/pause`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    reason: String,
}

/// What a pipeline that is paused is answered with.
#[derive(Debug, Serialize)]
struct IsPaused<'a> {
    pipeline: &'a str,
    paused: Pause,
    /// It was paused before, by whom and why `paused` says.
    already: bool,
}

async fn pause(
    State(service): State<Service>,
    name: Result<Path<String>, PathRejection>,
    wish: Result<Json<Object<Wish>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| no_such_pipeline())?;
    let form = r#"{"reason": "why the pipeline is paused"}"#;
    let Json(Object(Wish { reason })) = wish.map_err(|rejection| not_taken(&rejection, form))?;
    let Some(reason) = pause::reason(&reason) else {
        let detail = format!(
            "Say in `reason`, in 1 to {LONGEST_REASON} characters, why the pipeline is paused: it is kept."
        );
        return Err(Problem::new(Kind::Unprocessable, detail));
    };
    let mut conn = service.connection(&name).await?;
    let paused = pause::pause(&mut conn, &name, BY, reason).await;
    let (paused, already) = match paused.map_err(|error| Problem::database(&error))? {
        Paused::Now(pause) => (pause, false),
        Paused::Already(pause) => (pause, true),
        Paused::Unknown => return Err(no_such_pipeline()),
    };
    Ok(json(StatusCode::OK, &IsPaused { pipeline: &name, paused, already }))
}

/// The body of `POST /api/v1/pipelines/{name}/resume`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What a pipeline that is resumed is answered with.
#[derive(Debug, Serialize)]
struct IsResumed<'a> {
    pipeline: &'a str,
    /// The pause that ended; none when there was none.
    was_paused: Option<Pause>,
    /// Changes that were kept, and are replayed from now on.
    to_replay: i64,
}

/// 202 while there is something to replay, else 200.
async fn resume(
    State(service): State<Service>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Json<Object<Nothing>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| no_such_pipeline())?;
    let Json(Object(Nothing {})) = body.map_err(|rejection| not_taken(&rejection, "{}"))?;
    let mut conn = service.connection(&name).await?;
    let resumed = pause::resume(&mut conn, &name).await.map_err(|error| Problem::database(&error))?;
    let was_paused = match resumed {
        Resumed::Now(pause) => Some(pause),
        Resumed::Already => None,
        Resumed::Unknown => return Err(no_such_pipeline()),
    };
    let to_replay = pause::kept(&mut *conn, &name).await.map_err(|error| Problem::database(&error))?;
    let status = if to_replay > 0 { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(json(status, &IsResumed { pipeline: &name, was_paused, to_replay }))
}

impl Service {
    /// A connection, where this server knows the pipeline.
    async fn connection(&self, name: &str) -> Result<PoolConnection<sqlx::Postgres>, Problem> {
        resource::pipeline(&self.pipelines, name)?;
        resource::connection(&self.pool).await
    }
}
