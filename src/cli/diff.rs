//! `accord diff`: in which rows do a library and its reference differ?
//!
//! Promises: only reads, so it needs neither a server nor schema `accord`; no password is ever shown. Must not
//! know: how tables are compared.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::output::{pretty, print};
use super::reconciliation::{readable, watched};
use crate::config::{Config, ConfigError};
use crate::contract::{Contract, Identifier};
use crate::prose::Paint;
use crate::reconcile::{Endpoint, Limits, Plan, Progress, Work, run as reconcile};

pub(super) const EXAMPLES: &str = "\
Examples:
  accord diff fragrances                              by configuration
  accord diff fragrances --all-keys --json
  accord diff --contract fragrances.yaml --source postgres://cms/… --target postgres://library/…

Without a configuration, nothing but the two databases is needed: `accord contract import` writes the contract
of a table.

Exit codes: 0 both say the same, 3 they differ, 4 it could not be found out, 1 error, 2 wrong usage.";

/// The flags of `accord diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The pipeline to compare with its reference, as it is configured.
    #[arg(required_unless_present = "contract", conflicts_with = "contract")]
    pipeline: Option<String>,
    /// Without a configuration: the contract that says which columns count, and what the key is.
    #[arg(long, value_name = "FILE", requires_all = ["source", "target"])]
    contract: Option<PathBuf>,
    /// The database that is right: postgres://user:password@host:port/database.
    #[arg(
        long,
        value_name = "URL",
        requires = "contract",
        env = "ACCORD_DIFF_SOURCE",
        hide_env_values = true
    )]
    source: Option<SecretString>,
    /// The database that should say the same.
    #[arg(
        long,
        value_name = "URL",
        requires = "contract",
        env = "ACCORD_DIFF_TARGET",
        hide_env_values = true
    )]
    target: Option<SecretString>,
    /// Which table, where the contract describes several.
    #[arg(long, value_name = "NAME", requires = "contract")]
    table: Option<String>,
    /// The source's table, where it is not the contract's: NAME or SCHEMA.NAME.
    #[arg(long, value_name = "NAME", requires = "contract")]
    source_table: Option<String>,
    /// The target's table, where it is not the contract's: NAME or SCHEMA.NAME.
    #[arg(long, value_name = "NAME", requires = "contract")]
    target_table: Option<String>,
    /// List every row that differs, not only a sample.
    #[arg(long)]
    all_keys: bool,
    /// How long a difference must last to be one: longer than a change usually takes to arrive.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// How long one statement may take on either side.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    statement_timeout: Duration,
}

/// Compares, and prints the report.
pub async fn run(
    args: DiffArgs,
    config: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let sides = match (&args.contract, &args.source, &args.target) {
        (Some(contract), Some(source), Some(target)) => Sides::given(&args, contract, source, target)?,
        _ => Sides::configured(args.pipeline.as_deref().unwrap_or_default(), &config()?)?,
    };
    let plan = Plan {
        contract: Arc::new(sides.contract),
        source: sides.source,
        target: sides.target,
        grace: args.grace,
        statement_timeout: args.statement_timeout,
        force: None,
    };
    let work = Work { repair: None, limits: Limits::default(), all_keys: args.all_keys, quarantine: None };
    let progress = Progress::default();
    let report = watched(&progress, Box::pin(reconcile(&plan, work, &progress))).await;
    print(&if json { pretty(&report)? } else { readable(&report, Paint::stdout()) })?;
    Ok(ExitCode::from(report.exit_code()))
}

/// What is compared with what.
struct Sides {
    contract: Contract,
    source: Endpoint,
    target: Endpoint,
}

impl Sides {
    /// As the flags say.
    fn given(
        args: &DiffArgs,
        contract: &PathBuf,
        source: &SecretString,
        target: &SecretString,
    ) -> anyhow::Result<Self> {
        let contract = Contract::load(contract, args.table.as_deref())?;
        let endpoint = |flag: &str, url: &SecretString, table: Option<&String>| {
            let connect = PgConnectOptions::from_str(url.expose_secret()).with_context(|| {
                format!("--{flag} is no Postgres URL: use postgres://user:password@host:port/database")
            })?;
            match table {
                Some(table) => at(connect, table),
                None => {
                    Ok(Endpoint { connect, schema: contract.schema.clone(), table: contract.table.clone() })
                }
            }
        };
        Ok(Self {
            source: endpoint("source", source, args.source_table.as_ref())?,
            target: endpoint("target", target, args.target_table.as_ref())?,
            contract,
        })
    }

    /// As the configuration says.
    fn configured(name: &str, config: &Config) -> anyhow::Result<Self> {
        let Some(pipeline) = config.pipeline.get(name) else {
            let names: Vec<&str> = config.pipeline.keys().map(String::as_str).collect();
            bail!("no pipeline `{name}` is configured; there is: {}", names.join(", "));
        };
        let reference = pipeline.reference.as_ref().with_context(|| {
            format!(
                "pipeline `{name}` has nothing to be compared with: configure [pipeline.{name}.reference.postgres], \
                 or give --contract, --source and --target"
            )
        })?;
        let contract = Contract::load(&pipeline.contract, pipeline.table.as_deref())?;
        let reference = &reference.postgres;
        Ok(Self {
            source: at(
                reference.url.expose().parse().context("reference.postgres.url cannot be used")?,
                &reference.table,
            )?,
            target: Endpoint {
                connect: config.library.url.expose().parse().context("library.url cannot be used")?,
                schema: contract.schema.clone(),
                table: contract.table.clone(),
            },
            contract,
        })
    }
}

/// A table, as `name` or `schema.name`.
fn at(connect: PgConnectOptions, table: &str) -> anyhow::Result<Endpoint> {
    let (schema, table) = match table.split_once('.') {
        Some((schema, table)) => (Some(Identifier::new(schema)?), table),
        None => (None, table),
    };
    Ok(Endpoint { connect, schema, table: Identifier::new(table)? })
}
