//! `/api/v1/reconciliations`: ask for one, see how far it is and what it found, release one that was held.
//!
//! Promises: a run is a resource, asked for from any replica and carried out by the leader; bodies have to be JSON
//! by their type, which no form of another site can send; what cannot be done is answered with what can. Must not
//! know: how a run is carried out.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use validator::Validate;

use super::error::{Kind, Problem};
use super::resource::{self, Object, Page, accepted, location, not_taken};
use super::{HttpPipeline, json};
use crate::library::pause::{self, Pause};
use crate::reconcile::record::{Mode, Request, RunState, Trigger};
use crate::reconcile::store::{self, Filter, Releasable};

/// What may be asked of a pipeline's reconciler.
#[derive(Clone, Copy, Debug)]
pub struct Reconcilable {
    /// Its row in the library.
    pub pipeline: i16,
    /// Whether repairs may be asked for.
    pub repairs: bool,
}

const ROOT: &str = "/api/v1/reconciliations";

/// The longest body of a request here.
const BODY_LIMIT: usize = 16 * 1024;

#[derive(Clone)]
struct Service {
    pipelines: Arc<[HttpPipeline]>,
    pool: PgPool,
}

pub(super) fn routes(pipelines: Arc<[HttpPipeline]>, pool: PgPool) -> Router {
    Router::new()
        .route(ROOT, get(list).post(ask))
        .route("/api/v1/reconciliations/{id}", get(one))
        .route("/api/v1/reconciliations/{id}/release", post(release))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Service { pipelines, pool })
}

/// The body of `POST /api/v1/reconciliations`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    pipeline: String,
    mode: Mode,
}

async fn ask(
    State(service): State<Service>,
    wanted: Result<Json<Object<Wanted>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Object(Wanted { pipeline: name, mode })) = wanted.map_err(|rejection| {
        not_taken(
            &rejection,
            r#"{"pipeline": "NAME", "mode": "diff"} or {"pipeline": "NAME", "mode": "repair"}"#,
        )
    })?;
    let Reconcilable { pipeline, repairs } = service.reconcilable(&name)?;
    if mode == Mode::Repair && !repairs {
        return Err(Problem::new(
            Kind::Unprocessable,
            format!(
                "`pipeline.{name}.reconcile.on_drift` is \"report\", so nothing is ever written: ask for mode \"diff\", \
                 or change the setting."
            ),
        ));
    }
    let mut conn = service.connection().await?;
    if mode == Mode::Repair {
        unless_paused(&mut conn, &name).await?;
    }
    if let Some(id) = store::current(&mut conn, pipeline).await.map_err(|error| Problem::database(&error))? {
        return Err(busy(id));
    }
    enqueue(&mut conn, pipeline, &Request::new(mode, Trigger::Manual)).await
}

/// The query of `GET /api/v1/reconciliations`.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Wish {
    pipeline: Option<String>,
    state: Option<RunState>,
    #[serde(default = "Wish::limit")]
    #[validate(range(min = 1, max = 500))]
    limit: i64,
    before: Option<i64>,
}

impl Wish {
    fn limit() -> i64 {
        50
    }
}

async fn list(
    State(service): State<Service>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Problem> {
    let wish = wish.ok().map(|Query(wish)| wish).filter(|wish| wish.validate().is_ok());
    let Some(Wish { pipeline, state, limit, before }) = wish else {
        let states = RunState::ALL.map(RunState::as_str).join(", ");
        return Err(Problem::new(
            Kind::BadRequest,
            format!(
                "The query takes `pipeline`, `state` ({states}), `limit` (1 to 500) and `before` (an id)."
            ),
        ));
    };
    let mut conn = service.connection().await?;
    let filter = Filter { pipeline, state, before, limit: limit + 1 };
    let found = store::list(&mut conn, &filter).await.map_err(|error| Problem::database(&error))?;
    Ok(json(StatusCode::OK, &Page::cut(found, limit, |last| next(&filter, limit, last.id))))
}

fn next(filter: &Filter, limit: i64, before: i64) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filter.pipeline.iter().map(|name| ("pipeline", name)));
    query.extend_pairs(filter.state.iter().map(|state| ("state", state.as_str())));
    query.append_pair("limit", &limit.to_string()).append_pair("before", &before.to_string());
    format!("{ROOT}?{}", query.finish())
}

async fn one(
    State(service): State<Service>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let mut conn = service.connection().await?;
    let found = store::one(&mut conn, id).await.map_err(|error| Problem::database(&error))?;
    found.map(|run| json(StatusCode::OK, &run)).ok_or_else(unknown)
}

/// The body of `POST /api/v1/reconciliations/{id}/release`.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Release {
    #[validate(length(min = 1, max = 1000))]
    reason: String,
}

async fn release(
    State(service): State<Service>,
    id: Result<Path<i64>, PathRejection>,
    release: Result<Json<Object<Release>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let form = r#"{"reason": "why the limits do not count this time"}"#;
    let Json(Object(mut release)) = release.map_err(|rejection| not_taken(&rejection, form))?;
    release.reason = release.reason.trim().to_owned();
    if release.validate().is_err() {
        let detail =
            "Say in `reason`, in 1 to 1000 characters, why the limits do not count this time: it is kept.";
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    let mut conn = service.connection().await?;
    let releasable = store::releasable(&mut *conn, id).await.map_err(|error| Problem::database(&error))?;
    let (name, pipeline) = match releasable {
        Releasable::Yes { pipeline } => (service.may_repair(pipeline)?, pipeline),
        Releasable::Unknown => return Err(unknown()),
        Releasable::NotHeld(state) => {
            let detail = format!("Only a held run can be released; this one is {}.", state.as_str());
            return Err(Problem::new(Kind::Conflict, detail));
        }
        Releasable::Released(by) => {
            let detail = format!("It was released already: see {}.", address(by));
            return Err(conflict(by, detail));
        }
    };
    unless_paused(&mut conn, &name).await?;
    if let Some(id) = store::current(&mut conn, pipeline).await.map_err(|error| Problem::database(&error))? {
        return Err(busy(id));
    }
    enqueue(&mut conn, pipeline, &Request::release(id, release.reason)).await
}

/// A repair would wait for the pause to end, and then not be what was asked for.
async fn unless_paused(conn: &mut PgConnection, name: &str) -> Result<(), Problem> {
    match pause::read(conn, name).await.map_err(|error| Problem::database(&error))? {
        None => Ok(()),
        Some(Pause { since, .. }) => Err(Problem::new(
            Kind::Conflict,
            format!(
                "The pipeline is paused since {}, so nothing is repaired: POST /api/v1/pipelines/{name}/resume first, \
                 or ask for mode \"diff\".",
                since.format("%Y-%m-%d %H:%M:%S UTC")
            ),
        )),
    }
}

async fn enqueue(conn: &mut PgConnection, pipeline: i16, request: &Request) -> Result<Response, Problem> {
    let (id, is_new) =
        store::enqueue(conn, pipeline, request).await.map_err(|error| Problem::database(&error))?;
    if !is_new {
        return Err(busy(id));
    }
    Ok(accepted(&address(id), &Accepted { id, state: RunState::Queued }))
}

#[derive(Serialize)]
struct Accepted {
    id: i64,
    state: RunState,
}

impl Service {
    async fn connection(&self) -> Result<PoolConnection<Postgres>, Problem> {
        resource::connection(&self.pool).await
    }

    fn reconcilable(&self, name: &str) -> Result<Reconcilable, Problem> {
        resource::pipeline(&self.pipelines, name)?.reconcile.ok_or_else(|| {
            Problem::new(
                Kind::Unprocessable,
                format!(
                    "Pipeline `{name}` has no reference to compare the library with: configure \
                     [pipeline.{name}.reference.postgres]."
                ),
            )
        })
    }

    /// The name of a run's pipeline, where this configuration knows it and lets it write.
    fn may_repair(&self, id: i16) -> Result<Arc<str>, Problem> {
        let is_it = |offer: Reconcilable| offer.pipeline == id && offer.repairs;
        let found = self.pipelines.iter().find(|pipeline| pipeline.reconcile.is_some_and(is_it));
        found.map(|pipeline| Arc::clone(&pipeline.name)).ok_or_else(|| {
            let detail =
                "Its pipeline is not configured here, or has `on_drift` = \"report\": nothing would be repaired.";
            Problem::new(Kind::Unprocessable, detail)
        })
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "No reconciliation has this number: GET /api/v1/reconciliations lists them.")
}

fn busy(id: i64) -> Problem {
    let detail =
        format!("One is queued or running already: wait for {} and look at its result first.", address(id));
    conflict(id, detail)
}

fn conflict(with: i64, detail: String) -> Problem {
    let problem = Problem::new(Kind::Conflict, detail);
    match location(&address(with)) {
        Some(location) => problem.with_header(header::LOCATION, location),
        None => problem,
    }
}

fn address(id: i64) -> String {
    format!("{ROOT}/{id}")
}
