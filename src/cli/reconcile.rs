//! `accord reconcile`: compares a library with its reference and repairs what differs, in this process.
//!
//! Promises: needs no server, and gets along with one: the run is kept with the others, and the same lock keeps two
//! from running at once. Ctrl-C stops it, and what it repaired until then stays. Must not know: how one compares.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::output::{pretty, print};
use super::reach;
use super::reconciliation::{readable, watched};
use crate::apply::{Applier, Stop};
use crate::config::{
    Batch, Config, Hold, OnDrift, Pipeline, PostgresReference, Quarantine, Reconcile, Reference, SecretUrl,
    Source,
};
use crate::contract::Contract;
use crate::contract::gate::Gate;
use crate::prose::Paint;
use crate::reconcile::record::{Mode, Request, Trigger};
use crate::reconcile::runner::{Subject, Taken};
use crate::reconcile::store::{self, Releasable};
use crate::reconcile::{Progress, Report};
use crate::serve::parts;
use crate::supervisor::thread;
use crate::telemetry::metrics::Metrics;

pub(super) const EXAMPLES: &str = "\
Examples:
  accord reconcile fragrances --dry-run              what differs?
  accord reconcile fragrances                        bring the library in accord with its reference
  accord reconcile fragrances --release 17 --reason 'the CMS was really cleared'
  accord reconcile --contract fragrances.yaml --source URL --target URL

Exit codes: 0 in accord, 3 rows still differ, 4 held by a limit or inconclusive, 1 error.";

/// The flags of `accord reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The pipeline's name, as `accord status` shows it.
    #[arg(required_unless_present = "contract")]
    pipeline: Option<String>,
    /// Compare and tell, but write nothing to the library's table.
    #[arg(long)]
    dry_run: bool,
    /// Hold the run when it would delete more rows than this.
    #[arg(long, value_name = "NUMBER")]
    max_deletes: Option<u64>,
    /// Hold the run when it would repair more rows than this.
    #[arg(long, value_name = "NUMBER")]
    max_changes: Option<u64>,
    /// List every row that differs, not only a sample.
    #[arg(long)]
    all_keys: bool,
    /// Repair in the place of this run, which was held: no limit counts.
    #[arg(long, value_name = "RUN", requires = "reason", conflicts_with = "dry_run")]
    release: Option<i64>,
    /// Why the limits do not count this time; it is kept.
    #[arg(long, value_name = "TEXT", requires = "release")]
    reason: Option<String>,
    /// Do without a configuration: hold the target to this contract.
    #[arg(long, value_name = "FILE", requires_all = ["source", "target"])]
    contract: Option<PathBuf>,
    /// The database to follow; it is only ever read.
    #[arg(
        long,
        value_name = "URL",
        requires = "contract",
        env = "ACCORD_RECONCILE_SOURCE",
        hide_env_values = true
    )]
    source: Option<SecretString>,
    /// The database to repair. Schema `accord` is made in it where it is missing: that is where repairs are written
    /// down.
    #[arg(
        long,
        value_name = "URL",
        requires = "contract",
        env = "ACCORD_RECONCILE_TARGET",
        hide_env_values = true
    )]
    target: Option<SecretString>,
    /// Which table, where the contract describes several.
    #[arg(long, value_name = "NAME", requires = "contract")]
    table: Option<String>,
}

/// A pipeline, configured or made up of flags.
struct Case {
    name: String,
    pipeline: Pipeline,
    library: SecretUrl,
}

/// Reconciles once. The exit code is the report's.
pub async fn run(
    args: ReconcileArgs,
    config: impl FnOnce() -> Result<Config, crate::config::ConfigError>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let case = Case::of(&args, config)?;
    let connect: PgConnectOptions = case.library.expose().parse().context("the library's URL")?;
    if reach::prepare(&connect, &case.library).await? {
        eprintln!("Schema `accord` is now in {}: repairs are written down there.", case.library);
    }
    let known = if args.contract.is_some() {
        let given = Contract::load(&case.pipeline.contract, case.pipeline.table.as_deref())?;
        parts::enroll_as_given(&connect, &case.name, given).await?
    } else {
        parts::enroll(&connect, &case.name, &case.pipeline, "reconcile").await?
    };
    reach::tell(known.notice.as_deref());

    let metrics = Metrics::new().pipeline(&case.name);
    let gate = Gate::new(Arc::clone(&known.contract));
    let settings = parts::waist_settings(&case.name, &case.pipeline, &gate, &connect, &metrics)?;
    let drain = CancellationToken::new();
    let (applier, writer) = Applier::new(settings, Stop { asked: drain.clone(), drain: drain.clone() });
    let writer = tokio::spawn(thread::run(format!("waist-{}", case.name), writer));

    let reconcile = case.pipeline.reconcile.clone().unwrap_or_default();
    let plan = parts::plan(case.reference()?, &reconcile, &known.contract, &connect)?;
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(connect.clone());
    let subject = Subject {
        name: case.name,
        pipeline: known.ids.pipeline,
        plan,
        connect,
        pool,
        applier: Some(applier),
        max_deletes: args.max_deletes.or(reconcile.max_deletes),
        max_changes: args.max_changes.or(reconcile.max_changes),
        all_keys: args.all_keys,
        sender: None,
        metrics: metrics.reconciling().clone(),
    };
    let told = reconcile_once(&subject, &args).await;
    // What was handed in is settled before anything is said.
    drain.cancel();
    let settled = writer.await;
    let told = told?;
    settled??;
    print(&if json { pretty(&told)? } else { readable(&told.report, Paint::stdout()) })?;
    Ok(ExitCode::from(told.report.exit_code()))
}

impl Case {
    fn of(
        args: &ReconcileArgs,
        config: impl FnOnce() -> Result<Config, crate::config::ConfigError>,
    ) -> anyhow::Result<Self> {
        if let (Some(contract), Some(source), Some(target)) = (&args.contract, &args.source, &args.target) {
            return Self::alone(args, contract, source, target);
        }
        let config = config()?;
        let name = args.pipeline.clone().unwrap_or_default();
        let pipeline = super::pipeline(&config, &name)?.clone();
        let reports = pipeline.reconcile.as_ref().is_some_and(|r| r.on_drift == OnDrift::Report);
        ensure!(
            args.dry_run || !reports,
            "`pipeline.{name}.reconcile.on_drift` is \"report\", so nothing is ever written: use --dry-run, or change \
             the setting"
        );
        let case = Self { name, pipeline, library: config.library.url };
        case.reference()?;
        Ok(case)
    }

    /// As the flags say; the ledger knows the pipeline by its table.
    fn alone(
        args: &ReconcileArgs,
        contract: &Path,
        source: &SecretString,
        target: &SecretString,
    ) -> anyhow::Result<Self> {
        let compiled = Contract::load(contract, args.table.as_deref())?;
        let table = match &compiled.schema {
            Some(schema) => format!("{}.{}", schema.as_str(), compiled.table.as_str()),
            None => compiled.table.as_str().to_owned(),
        };
        let timeout = Duration::from_secs(2);
        let url = url("source", source)?;
        let reference = Reference { postgres: PostgresReference { url, table, timeout } };
        Ok(Self {
            name: args.pipeline.clone().unwrap_or_else(|| compiled.table.as_str().to_owned()),
            pipeline: Pipeline {
                contract: contract.to_owned(),
                table: args.table.clone(),
                mode: None,
                routes: None,
                hold: Hold::default(),
                batch: Batch::default(),
                quarantine: Quarantine::default(),
                source: Source { webhook: None },
                reference: Some(reference),
                check: None,
                reconcile: Some(Reconcile::default()),
            },
            library: self::url("target", target)?,
        })
    }

    fn reference(&self) -> anyhow::Result<&PostgresReference> {
        let reference = self.pipeline.reference.as_ref().with_context(|| {
            let name = &self.name;
            format!("pipeline `{name}` has nothing to be compared with: configure [pipeline.{name}.reference.postgres]")
        })?;
        Ok(&reference.postgres)
    }
}

fn url(flag: &str, url: &SecretString) -> anyhow::Result<SecretUrl> {
    let url: Option<Url> = url.expose_secret().parse().ok();
    let url = url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    url.map(SecretUrl::from).with_context(|| {
        format!("--{flag} is no Postgres URL: use postgres://user:password@host:port/database")
    })
}

async fn reconcile_once(subject: &Subject, args: &ReconcileArgs) -> anyhow::Result<Told> {
    let request = match (args.release, &args.reason) {
        (Some(held), Some(reason)) => {
            may_release(&subject.pool, subject, held, reason).await?;
            Request::release(held, reason.trim())
        }
        _ => Request::new(if args.dry_run { Mode::Diff } else { Mode::Repair }, Trigger::Manual),
    };
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let _stopping = stop_when_asked(&stop)?;
    let taken = watched(&progress, Box::pin(subject.take(&request, &progress, &stop))).await?;
    let Taken::Ended(ended) = taken else {
        let mut conn = subject.pool.acquire().await?;
        let current = store::current(&mut conn, subject.pipeline).await?;
        let which =
            current.map_or_else(|| "another reconciliation".to_owned(), |id| format!("reconciliation {id}"));
        bail!("{which} of `{}` is running: wait for it, `accord status` shows how it ends", subject.name);
    };
    let report = ended.report.with_context(|| {
        format!("stopped: reconciliation {} is aborted; what it repaired until then stays", ended.id)
    })?;
    Ok(Told { id: ended.id, report })
}

/// Cancels `stop` at Ctrl-C or SIGTERM, for as long as the handle lives.
fn stop_when_asked(stop: &CancellationToken) -> std::io::Result<AbortOnDropHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    })))
}

async fn may_release(pool: &PgPool, subject: &Subject, held: i64, reason: &str) -> anyhow::Result<()> {
    ensure!(!reason.trim().is_empty(), "--reason is empty: say why the limits do not count this time");
    match store::releasable(pool, held).await? {
        Releasable::Yes { pipeline } if pipeline == subject.pipeline => Ok(()),
        Releasable::Yes { .. } => {
            bail!("reconciliation {held} is another pipeline's, not `{}`'s", subject.name)
        }
        Releasable::Unknown => {
            bail!("there is no reconciliation {held}; `accord status` shows the newest one")
        }
        Releasable::NotHeld(state) => {
            bail!("only a held run can be released; reconciliation {held} is {}", state.as_str())
        }
        Releasable::Released(by) => bail!("reconciliation {held} was released already, by {by}"),
    }
}

/// What is said in the end.
#[derive(Serialize)]
struct Told {
    id: i64,
    #[serde(flatten)]
    report: Report,
}
