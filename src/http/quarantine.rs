//! `/api/v1/quarantine`: list what was refused, look at one, try it again, put it aside, erase it.
//!
//! Promises: what the contract calls sensitive is masked unless `raw=true` asks for it, which is logged; bodies have
//! to be JSON by their type, which no form of another site can send; a replay of many is a resource with progress.
//! Must not know: what a replay may set.

mod many;
mod wish;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool};
use validator::Validate;

use super::error::{Kind, Problem};
use super::resource::{self, BY, Object, Page, not_taken};
use super::{HttpPipeline, json};
use crate::change::Outcome;
use crate::contract::gate::Gate;
use crate::library::quarantine::close::{self, Decided, Decision};
use crate::library::quarantine::read::{self, From, State};
use crate::quarantine::{Mask, Masks, ReplayError, Replayer, judges};
use wish::Wish;

const ROOT: &str = "/api/v1/quarantine";

/// The longest body of a request here: an edited payload may be as long as a record.
const BODY_LIMIT: usize = 1024 * 1024;

/// Events of a row's history that are shown with an entry.
const HISTORY: i64 = 100;

#[derive(Clone)]
struct Service {
    pipelines: Arc<[HttpPipeline]>,
    pool: PgPool,
    masks: Arc<Masks>,
}

pub(super) fn routes(pipelines: Arc<[HttpPipeline]>, pool: PgPool) -> Router {
    Router::new()
        .route(ROOT, get(list))
        .route("/api/v1/quarantine/replays", post(many::replay_many))
        .route("/api/v1/quarantine/replays/{id}", get(many::one_replay))
        .route("/api/v1/quarantine/{id}", get(one))
        .route("/api/v1/quarantine/{id}/replay", post(replay))
        .route("/api/v1/quarantine/{id}/discard", post(discard))
        .route("/api/v1/quarantine/{id}/purge", post(purge))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Service { pipelines, pool, masks: Arc::default() })
}

impl HttpPipeline {
    /// Tries entries of this pipeline again.
    pub fn replayer(&self, pool: &PgPool) -> Replayer {
        let gate = Gate::new(Arc::clone(&self.contract));
        Replayer::new(Arc::clone(&self.name), gate, self.applier.clone(), pool.clone())
    }
}

async fn list(
    Shared(service): Shared<Service>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Problem> {
    let wish = wish.ok().map(|Query(wish)| wish).filter(|wish| wish.validate().is_ok());
    let Some((filter, wish)) = wish.and_then(|wish| Some((wish.filter()?, wish))) else {
        let states = State::ALL.map(State::as_str).join(", ");
        return Err(Problem::new(
            Kind::BadRequest,
            format!(
                "The query takes `pipeline`, `state` ({states}, or any), `reason`, `rule`, `key`, `older_than` and \
                 `newer_than` (such as 90s, 2h, 7days), `limit` (1 to 500), `before` (an id) and `raw` (true or false)."
            ),
        ));
    };
    let mut conn = service.connection().await?;
    let found = read::list(&mut *conn, &filter, From::Newest(wish.before), wish.limit + 1).await;
    let found = found.map_err(|error| Problem::database(&error))?;
    let mut shown = Vec::with_capacity(found.len());
    for entry in found {
        let mask = service.mask(&mut conn, &entry.pipeline, [entry.judged_by], wish.raw).await?;
        shown.push(mask.entry(entry));
    }
    let page = Page::cut(shown, wish.limit, |last| wish.next(last.id));
    if wish.raw {
        tracing::info!(entries = page.len(), by = BY, "the raw view of quarantine entries was asked for");
    }
    Ok(json(StatusCode::OK, &page))
}

/// The query of `GET /api/v1/quarantine/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    #[serde(default)]
    raw: bool,
}

async fn one(
    Shared(service): Shared<Service>,
    id: Result<Path<i64>, PathRejection>,
    view: Result<Query<View>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let Query(View { raw }) = view.map_err(|_| {
        Problem::new(Kind::BadRequest, "The query takes `raw` (true or false) and nothing else.")
    })?;
    service.shown(id, raw).await
}

/// The body of `POST /api/v1/quarantine/{id}/replay`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Edited {
    /// The record to try in the place of the original one.
    #[serde(default)]
    payload: Option<Box<RawValue>>,
}

/// What came of a replay.
#[derive(Debug, Serialize)]
struct Replayed {
    id: i64,
    state: State,
    /// Columns that newer data had settled.
    left_over: Vec<String>,
    result: Outcome,
}

async fn replay(
    Shared(service): Shared<Service>,
    id: Result<Path<i64>, PathRejection>,
    edited: Result<Json<Object<Edited>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let form = r#"{} for the original payload, or {"payload": {…}} for an edited one"#;
    let Json(Object(Edited { payload })) = edited.map_err(|rejection| not_taken(&rejection, form))?;
    let entry = service.whole(id).await?.entry;
    let replayer = service.replayer(&entry.pipeline)?;
    let payload = payload.map(|payload| payload.get().as_bytes().to_vec());
    let result = replayer.one(id, payload).await.map_err(problem)?;
    let mut conn = service.connection().await?;
    let mask = service.mask(&mut conn, &entry.pipeline, [entry.judged_by], false).await?;
    drop(conn);
    let result = mask.outcome(result);
    let whole = service.whole(id).await?;
    let told = Replayed { id, state: whole.entry.state, left_over: whole.left_over, result };
    Ok(json(StatusCode::OK, &told))
}

/// The body of a decision.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Reason {
    #[validate(length(min = 1, max = 1000))]
    reason: String,
}

async fn discard(
    Shared(service): Shared<Service>,
    id: Result<Path<i64>, PathRejection>,
    reason: Result<Json<Object<Reason>>, JsonRejection>,
) -> Result<Response, Problem> {
    let (id, reason) = decision(id, reason, "the entry is put aside")?;
    let mut conn = service.connection().await?;
    let decided = close::discard(&mut conn, id, Decision { by: BY, reason: &reason }).await;
    decided_on(id, decided, "discarded")
}

async fn purge(
    Shared(service): Shared<Service>,
    id: Result<Path<i64>, PathRejection>,
    reason: Result<Json<Object<Reason>>, JsonRejection>,
) -> Result<Response, Problem> {
    let (id, reason) = decision(id, reason, "its bytes are erased")?;
    let mut conn = service.connection().await?;
    let decided = close::purge(&mut conn, id, Decision { by: BY, reason: &reason }).await;
    decided_on(id, decided, "purged")
}

fn decision(
    id: Result<Path<i64>, PathRejection>,
    reason: Result<Json<Object<Reason>>, JsonRejection>,
    what: &str,
) -> Result<(i64, String), Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let form = format!(r#"{{"reason": "why {what}"}}"#);
    let Json(Object(mut reason)) = reason.map_err(|rejection| not_taken(&rejection, &form))?;
    reason.reason = reason.reason.trim().to_owned();
    if reason.validate().is_err() || reason.reason.contains('\0') {
        let detail = format!("Say in `reason`, in 1 to 1000 characters, why {what}: it is kept.");
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    Ok((id, reason.reason))
}

/// What came of a decision.
#[derive(Serialize)]
struct Done {
    id: i64,
    state: &'static str,
    /// So many other entries need the same bytes, which stay until the last of them is purged.
    bytes_shared_with: i64,
}

fn decided_on(
    id: i64,
    decided: Result<Decided, sqlx::Error>,
    state: &'static str,
) -> Result<Response, Problem> {
    match decided.map_err(|error| Problem::database(&error))? {
        Decided::Done { bytes_shared_with } => {
            Ok(json(StatusCode::OK, &Done { id, state, bytes_shared_with }))
        }
        Decided::Unknown => Err(unknown()),
        Decided::Not(is) => Err(Problem::new(
            Kind::Conflict,
            format!("The entry is {} already, and so cannot be {state}.", is.as_str()),
        )),
    }
}

impl Service {
    async fn connection(&self) -> Result<PoolConnection<sqlx::Postgres>, Problem> {
        resource::connection(&self.pool).await
    }

    fn pipeline(&self, name: &str) -> Option<&HttpPipeline> {
        self.pipelines.iter().find(|pipeline| *pipeline.name == *name)
    }

    fn replayer(&self, name: &str) -> Result<Replayer, Problem> {
        self.pipeline(name).map(|pipeline| pipeline.replayer(&self.pool)).ok_or_else(|| {
            let detail = format!(
                "Pipeline `{name}` is not configured here, so nothing can be replayed into it: GET \
                 /api/v1/pipelines lists those that are."
            );
            Problem::new(Kind::Unprocessable, detail)
        })
    }

    /// The mask for what these contracts have judged for a pipeline.
    async fn mask(
        &self,
        conn: &mut PgConnection,
        pipeline: &str,
        judged_by: impl IntoIterator<Item = i32>,
        raw: bool,
    ) -> Result<Mask, Problem> {
        if raw {
            return Ok(Mask::Raw);
        }
        let in_force = self.pipeline(pipeline).map(|pipeline| &pipeline.contract);
        self.masks.of(conn, in_force, judged_by).await.map_err(|error| Problem::database(&error))
    }

    async fn whole(&self, id: i64) -> Result<read::Whole, Problem> {
        let mut conn = self.connection().await?;
        let found = read::one(&mut *conn, id).await.map_err(|error| Problem::database(&error))?;
        found.ok_or_else(unknown)
    }

    async fn shown(&self, id: i64, raw: bool) -> Result<Response, Problem> {
        let whole = self.whole(id).await?;
        let mut conn = self.connection().await?;
        let history = read::history(&mut *conn, id, HISTORY).await;
        let history = history.map_err(|error| Problem::database(&error))?;
        if raw {
            tracing::info!(entry = id, by = BY, "the raw view of a quarantine entry was asked for");
        }
        let mask = self.mask(&mut conn, &whole.entry.pipeline, judges(&whole.entry, &history), raw).await?;
        Ok(json(StatusCode::OK, &mask.whole(whole, history)))
    }
}

fn problem(error: ReplayError) -> Problem {
    match error {
        ReplayError::Unknown { .. } => unknown(),
        ReplayError::Closed(_) | ReplayError::Paused { .. } => {
            Problem::new(Kind::Conflict, format!("{error}."))
        }
        ReplayError::Refused(_) => {
            Problem::unavailable(std::time::Duration::from_secs(5), format!("{error}."))
        }
        ReplayError::Database(error) => Problem::database(&error),
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "No quarantine entry has this number: GET /api/v1/quarantine lists them.")
}
