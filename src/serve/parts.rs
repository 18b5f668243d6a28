//! From the configuration to the parts that do the work, for `serve` and for commands that do without a server.
//!
//! Promises: what differs between the two is not here.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;

use crate::apply::{ReferenceSettings, Settings};
use crate::config::{Pipeline, PostgresReference, Reconcile};
use crate::contract::Contract;
use crate::contract::gate::Gate;
use crate::library::pipeline::{self, Ids};
use crate::library::statement::TableSql;
use crate::library::{facts, session};
use crate::reconcile::{Endpoint, Plan};
use crate::telemetry::metrics::PipelineMetrics;

/// The most bytes of bodies that one pipeline holds.
const HELD_BYTES: usize = 64 << 20;

/// A pipeline's numbers, once the database knows it.
pub(crate) struct Known {
    pub(crate) ids: Ids,
    pub(crate) contract: Arc<Contract>,
}

/// Makes the pipeline known, and makes sure that its table is what the contract says.
pub(crate) async fn enroll(
    connect: &PgConnectOptions,
    name: &str,
    contract: Arc<Contract>,
) -> anyhow::Result<Known> {
    let mut conn = session::connect_writer(connect).await?;
    let sql = TableSql::new(&contract);
    let wrong = facts::disagreements(&mut conn, sql.target(), &contract).await?;
    anyhow::ensure!(
        wrong.is_empty(),
        "table and contract disagree; see `accord doctor`:\n  {}",
        wrong.join("\n  ")
    );
    let ids = pipeline::enroll(&mut conn, name, sql.target(), &contract).await?;
    conn.close().await?;
    Ok(Known { ids, contract })
}

/// How the pipeline's waist works.
pub(crate) fn waist_settings(
    name: &str,
    pipeline: &Pipeline,
    gate: &Gate,
    connect: &PgConnectOptions,
    metrics: &PipelineMetrics,
) -> anyhow::Result<Settings> {
    let reference = pipeline.reference.as_ref().map(|r| waist_reference(&r.postgres)).transpose()?;
    Ok(Settings {
        name: name.to_owned(),
        gate: gate.clone(),
        connect: connect.clone(),
        mode: pipeline.mode(),
        reference,
        max_batch: pipeline.batch.max_changes,
        max_held: pipeline.hold.max_requests,
        max_held_bytes: HELD_BYTES,
        hold: pipeline.hold.max_time,
        metrics: metrics.clone(),
    })
}

fn waist_reference(config: &PostgresReference) -> anyhow::Result<ReferenceSettings> {
    let Endpoint { connect, schema, table } = endpoint(config)?;
    Ok(ReferenceSettings { connect, schema, table, timeout: config.timeout })
}

fn endpoint(config: &PostgresReference) -> anyhow::Result<Endpoint> {
    let connect = config.url.expose().parse().context("reference.postgres.url")?;
    Ok(Endpoint::named(connect, &config.table)?)
}

/// What a reconciliation of the pipeline compares.
pub(crate) fn plan(
    reference: &PostgresReference,
    settings: &Reconcile,
    contract: &Arc<Contract>,
    library: &PgConnectOptions,
) -> anyhow::Result<Plan> {
    Ok(Plan {
        contract: Arc::clone(contract),
        source: endpoint(reference)?,
        target: Endpoint::of(library.clone(), contract),
        grace: settings.grace,
        statement_timeout: settings.statement_timeout,
        force: None,
    })
}
