//! `accord diff`: in which rows do a library and its reference differ?
//!
//! Promises: only reads, so it needs neither a server nor schema `accord`; no password is ever shown. Must not
//! know: how tables are compared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::output::{pretty, print};
use super::reach;
use super::reconciliation::{readable, watched};
use crate::config::{Config, ConfigError, Reconcile};
use crate::contract::Contract;
use crate::prose::Paint;
use crate::reconcile::{Endpoint, Limits, Plan, Progress, Work, run as reconcile};
use crate::serve::parts::{self, Judge};

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
    /// How long a difference must last to be one: longer than a change usually takes to arrive. [default: as
    /// configured, else 2s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// How long one statement may take on either side. [default: as configured, else 10m]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    statement_timeout: Option<Duration>,
}

/// Compares, and prints the report.
pub async fn run(
    args: DiffArgs,
    config: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut plan = match (&args.contract, &args.source, &args.target) {
        (Some(contract), Some(source), Some(target)) => given(&args, contract, source, target)?,
        _ => configured(args.pipeline.as_deref().unwrap_or_default(), &config()?).await?,
    };
    plan.grace = args.grace.unwrap_or(plan.grace);
    plan.statement_timeout = args.statement_timeout.unwrap_or(plan.statement_timeout);
    let work = Work { repair: None, limits: Limits::default(), all_keys: args.all_keys, quarantine: None };
    let progress = Progress::default();
    let report = watched(&progress, Box::pin(reconcile(&plan, work, &progress))).await;
    print(&if json { pretty(&report)? } else { readable(&report, Paint::stdout()) })?;
    Ok(ExitCode::from(report.exit_code()))
}

/// What the flags say.
fn given(
    args: &DiffArgs,
    contract: &Path,
    source: &SecretString,
    target: &SecretString,
) -> anyhow::Result<Plan> {
    let contract = Contract::load(contract, args.table.as_deref())?;
    let endpoint = |flag: &str, url: &SecretString, table: Option<&String>| {
        let connect = PgConnectOptions::from_str(url.expose_secret()).with_context(|| {
            format!("--{flag} is no Postgres URL: use postgres://user:password@host:port/database")
        })?;
        anyhow::Ok(match table {
            Some(table) => Endpoint::named(connect, table)?,
            None => Endpoint::of(connect, &contract),
        })
    };
    let Reconcile { grace, statement_timeout, .. } = Reconcile::default();
    Ok(Plan {
        source: endpoint("source", source, args.source_table.as_ref())?,
        target: endpoint("target", target, args.target_table.as_ref())?,
        contract: Arc::new(contract),
        grace,
        statement_timeout,
        force: None,
    })
}

/// What the configuration says.
async fn configured(name: &str, config: &Config) -> anyhow::Result<Plan> {
    let pipeline = super::pipeline(config, name)?;
    let reference = pipeline.reference.as_ref().with_context(|| {
        format!(
            "pipeline `{name}` has nothing to be compared with: configure [pipeline.{name}.reference.postgres], \
             or give --contract, --source and --target"
        )
    })?;
    let library = config.library.url.expose().parse().context("library.url cannot be used")?;
    let contract = match reach::library(config).await {
        Ok(mut conn) => {
            let judge = Judge::of(&mut conn, name, pipeline).await?;
            reach::tell(judge.notice.as_deref());
            judge.contract
        }
        // That a side cannot be reached is for the comparison to tell.
        Err(_) => Contract::load(&pipeline.contract, pipeline.table.as_deref())?,
    };
    let settings = pipeline.reconcile.clone().unwrap_or_default();
    parts::plan(&reference.postgres, &settings, &Arc::new(contract), &library)
}
