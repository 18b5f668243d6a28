//! `/api/v1/quarantine/replays`: many entries tried again, as a resource with progress.
//!
//! Promises: it outlives the request that asked for it, and says how far it is. Must not know: what a replay may set.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{ROOT, Service};
use crate::http::error::{Kind, Problem};
use crate::http::json;
use crate::http::resource::{BY, Object, accepted, not_taken};
use crate::library::quarantine::read::{Filter, State};
use crate::quarantine::Replayer;
use crate::quarantine::bulk::{self, Bulk};

/// The body of `POST /api/v1/quarantine/replays`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Many {
    filter: Object<Filter>,
}

pub(super) async fn replay_many(
    Shared(service): Shared<Service>,
    many: Result<Json<Object<Many>>, JsonRejection>,
) -> Result<Response, Problem> {
    let form = r#"{"filter": {"pipeline": "NAME", "reason": "…", "rule": "…", "key": "…", "older_than": "2h", "newer_than": "7days"}}, every part of the filter optional"#;
    let Json(Object(Many { filter: Object(filter) })) =
        many.map_err(|rejection| not_taken(&rejection, form))?;
    if let Some(fault) = filter.fault() {
        return Err(Problem::new(Kind::Unprocessable, fault));
    }
    if filter.state.is_some_and(|state| state != State::Open) {
        let detail = "Only open entries can be replayed: leave `state` out of the filter.";
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    if let Some(pipeline) = &filter.pipeline {
        service.replayer(pipeline)?;
    }
    let bulk = bulk::request(&service.pool, &filter, BY).await.map_err(|error| Problem::database(&error))?;
    let response = accepted(&format!("{ROOT}/replays/{}", bulk.id), &bulk);
    // It outlives the request; a process that ends before it does leaves a replay that shows as aborted.
    tokio::spawn(async move { service.work(&bulk).await });
    Ok(response)
}

pub(super) async fn one_replay(
    Shared(service): Shared<Service>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Response, Problem> {
    let unknown = || {
        Problem::new(Kind::NotFound, "No replay has this number: POST /api/v1/quarantine/replays starts one.")
    };
    let Path(id) = id.map_err(|_| unknown())?;
    let mut conn = service.connection().await?;
    let found = bulk::get(&mut *conn, id).await.map_err(|error| Problem::database(&error))?;
    found.map(|bulk| json(StatusCode::OK, &bulk)).ok_or_else(unknown)
}

impl Service {
    async fn work(&self, bulk: &Bulk) {
        let replayers: Vec<Replayer> =
            self.pipelines.iter().map(|pipeline| pipeline.replayer(&self.pool)).collect();
        match bulk::run(&self.pool, bulk, &replayers, |_| {}).await {
            Ok(progress) => tracing::info!(replay = bulk.id, ?progress, "replayed quarantine entries"),
            Err(error) => {
                tracing::warn!(replay = bulk.id, %error, "the replay of quarantine entries ended early: {error}");
            }
        }
    }
}
