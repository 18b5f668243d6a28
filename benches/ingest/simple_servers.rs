//! What Accord is compared with: a server that has no database, and a handler as one would first write it.

use std::net::SocketAddr;

use accord::http::{Door, Limits, serve};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where both take changes, as Accord's webhook does.
const PATH: &str = "/notifications/{token}";

/// Accord's own server; it reads a change, and answers what Accord would.
#[derive(Debug, clap::Args)]
pub(crate) struct NoDatabase {
    #[arg(long)]
    listen: SocketAddr,
}

impl NoDatabase {
    /// Serves until it is killed.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        let router = Router::new().route(PATH, post(take));
        serve(listener, Door::open(router), Limits::default(), CancellationToken::new()).await;
        Ok(())
    }
}

async fn take(body: Bytes) -> impl IntoResponse {
    const ANSWER: &str = r#"{"outcome":"applied","position":1234567,"changed":["description","cost"]}"#;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let status = if body.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    (status, headers, ANSWER)
}

/// A plain handler: one upsert a request through a pool of 20, without gate or ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct PerRequest {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    url: String,
}

impl PerRequest {
    /// Serves until it is killed.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        // sqlx would ask each connection for a sign of life first. Without that the handler is faster, and a
        // comparison with the faster one is the fairer.
        let pool = PgPoolOptions::new().min_connections(20).max_connections(20).test_before_acquire(false);
        let router = Router::new().route(PATH, post(upsert)).with_state(pool.connect(&self.url).await?);
        Ok(axum::serve(listener, router).await?)
    }
}

#[derive(Deserialize)]
struct Delta {
    fragrance_id: i32,
    name: Option<String>,
    description: Option<String>,
    cost: Option<f64>,
    forbidden: Option<bool>,
}

#[derive(Serialize)]
struct Told {
    outcome: &'static str,
}

async fn upsert(State(pool): State<PgPool>, Json(delta): Json<Delta>) -> Result<Json<Told>, StatusCode> {
    let upserted = sqlx::query(
        "insert into fragrances as f (fragrance_id, name, description, cost, forbidden)
         values ($1, $2, $3, $4, $5)
         on conflict (fragrance_id) do update set
             name = coalesce(excluded.name, f.name),
             description = coalesce(excluded.description, f.description),
             cost = coalesce(excluded.cost, f.cost),
             forbidden = coalesce(excluded.forbidden, f.forbidden)",
    )
    .bind(delta.fragrance_id)
    .bind(delta.name)
    .bind(delta.description)
    .bind(delta.cost)
    .bind(delta.forbidden)
    .execute(&pool)
    .await;
    match upserted {
        Ok(_) => Ok(Json(Told { outcome: "applied" })),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
