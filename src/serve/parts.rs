//! From the configuration to the parts that do the work, for `serve` and for commands that do without a server.
//!
//! Promises: what differs between the two is not here.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::apply::{ReferenceSettings, Settings};
use crate::config::{Pipeline, PostgresReference, Reconcile};
use crate::contract::Contract;
use crate::contract::gate::Gate;
use crate::library::activation::{self, Active, Decision};
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
    /// What an operator is to be told: the configured file is not what judges.
    pub(crate) notice: Option<String>,
}

/// Makes the pipeline known and goes by the contract in force, which is the configured file where none was yet; makes
/// sure that the table is what it says. `by` stands in the books for a first activation.
pub(crate) async fn enroll(
    connect: &PgConnectOptions,
    name: &str,
    pipeline: &Pipeline,
    by: &str,
) -> anyhow::Result<Known> {
    let mut conn = session::connect_writer(connect).await?;
    let known = loop {
        if let Some(active) = activation::active(&mut conn, name).await? {
            let judge = Judge::active(name, pipeline, &active)?;
            let ids = agreed(&mut conn, name, &judge.contract).await?;
            break Known { ids, contract: Arc::new(judge.contract), notice: judge.notice };
        }
        let contract = Contract::load(&pipeline.contract, pipeline.table.as_deref())?;
        let ids = agreed(&mut conn, name, &contract).await?;
        let decision = Decision { by, forced: false, reason: None, preview: None };
        if activation::activate(&mut conn, ids.pipeline, ids.contract, None, &decision).await? {
            break Known { ids, contract: Arc::new(contract), notice: None };
        }
        // Another process was first, with a file of its own perhaps: that one counts.
    };
    conn.close().await?;
    Ok(known)
}

/// Makes a pipeline known that goes by a contract of the caller's own, whatever is in force.
pub(crate) async fn enroll_as_given(
    connect: &PgConnectOptions,
    name: &str,
    contract: Contract,
) -> anyhow::Result<Known> {
    let mut conn = session::connect_writer(connect).await?;
    let ids = agreed(&mut conn, name, &contract).await?;
    conn.close().await?;
    Ok(Known { ids, contract: Arc::new(contract), notice: None })
}

/// The pipeline's numbers, once table and contract are known to agree.
async fn agreed(conn: &mut PgConnection, name: &str, contract: &Contract) -> anyhow::Result<Ids> {
    let sql = TableSql::new(contract);
    let wrong = facts::disagreements(conn, sql.target(), contract).await?;
    anyhow::ensure!(
        wrong.is_empty(),
        "table and contract disagree; see `accord doctor`:\n  {}",
        wrong.join("\n  ")
    );
    Ok(pipeline::enroll(conn, name, sql.target(), contract).await?)
}

/// The contract that judges a pipeline, for those who only read.
pub(crate) struct Judge {
    pub(crate) contract: Contract,
    /// What an operator is to be told: the configured file is not what judges.
    pub(crate) notice: Option<String>,
}

impl Judge {
    /// The contract in force where the library knows one, else the configured file.
    pub(crate) async fn of(conn: &mut PgConnection, name: &str, pipeline: &Pipeline) -> anyhow::Result<Self> {
        let there = sqlx::query_scalar("select to_regclass('accord.activation') is not null");
        if there.fetch_one(&mut *conn).await?
            && let Some(active) = activation::active(conn, name).await?
        {
            return Self::active(name, pipeline, &active);
        }
        Ok(Self::of_file(Contract::load(&pipeline.contract, pipeline.table.as_deref())?))
    }

    /// The configured file, where no library can be asked for another.
    pub(crate) fn of_file(contract: Contract) -> Self {
        Self { contract, notice: None }
    }

    fn active(name: &str, pipeline: &Pipeline, active: &Active) -> anyhow::Result<Self> {
        let Active { activation, source } = active;
        let (version, file) = (&activation.version, pipeline.contract.display());
        let origin = format!("the active contract of `{name}` (version {version})");
        let contract = Contract::parse(source, &origin, pipeline.table.as_deref()).with_context(|| {
            format!(
                "the contract in force cannot be used any more; put the configured file in force: \
                 `accord contract activate {name} {file} --force`"
            )
        })?;
        let notice = match std::fs::read(&pipeline.contract) {
            Ok(bytes) if Contract::hash_of(&bytes) == activation.hash => None,
            Ok(_) => Some(format!(
                "version {version} of the contract judges `{name}`, and {file} is not that document: see what it \
                 would mean by `accord contract preview {file} --pipeline {name}`, and put it in force by \
                 `accord contract activate {name}`"
            )),
            Err(error) => Some(format!(
                "version {version} of the contract judges `{name}`, and {file} cannot be read ({error}): \
                 `accord contract show {name}` prints the document in force"
            )),
        };
        Ok(Self { contract, notice })
    }
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
