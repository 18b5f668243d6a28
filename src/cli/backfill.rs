//! `accord backfill`: the first fill of an empty library from its reference.
//!
//! Promises: needs no server, and gets along with one; Ctrl-C stops it, what is filled until then stays, and the
//! next one goes on after it. Must not know: how rows are written.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::output::{pretty, print};
use super::reach;
use super::reconciliation::watched;
use crate::apply::{Applier, Stop};
use crate::config::Config;
use crate::contract::gate::Gate;
use crate::reconcile::Progress;
use crate::reconcile::backfill::{Backfill, Filled};
use crate::serve::parts;
use crate::supervisor::thread;
use crate::telemetry::metrics::Metrics;

pub(super) const EXAMPLES: &str = "\
Examples:
  accord backfill fragrances            fill the empty table from the pipeline's reference
  accord backfill fragrances            … interrupted? The same command goes on where it was
  accord backfill fragrances --resume   fill a table that has rows of another origin already

Exit codes: 0 filled, 3 filled but for rows that are in quarantine, 1 error.";

/// The flags of `accord backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// The pipeline's name, as `accord status` shows it.
    pipeline: String,
    /// Fill the table even though it has rows: those that differ become what the reference says.
    #[arg(long)]
    resume: bool,
}

/// Fills the library. Exit codes: 0 filled, 3 filled but for rows in quarantine.
pub async fn run(args: &BackfillArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let name = &args.pipeline;
    let pipeline = super::pipeline(config, name)?;
    let reference = pipeline.reference.as_ref().with_context(|| {
        format!(
            "pipeline `{name}` has nothing to be filled from: configure [pipeline.{name}.reference.postgres]"
        )
    })?;
    let connect: PgConnectOptions =
        config.library.url.expose().parse().context("library.url cannot be used")?;
    reach::prepare(&connect, &config.library.url).await?;
    let known = parts::enroll(&connect, name, pipeline, "backfill").await?;
    reach::tell(known.notice.as_deref());
    let reconcile = pipeline.reconcile.clone().unwrap_or_default();
    let plan = parts::plan(&reference.postgres, &reconcile, &known.contract, &connect)?;

    let gate = Gate::new(Arc::clone(&known.contract));
    let settings = parts::waist_settings(name, pipeline, &gate, &connect, &Metrics::new().pipeline(name))?;
    let drain = CancellationToken::new();
    let (applier, writer) = Applier::new(settings, Stop { asked: drain.clone(), drain: drain.clone() });
    let writer = tokio::spawn(thread::run(format!("waist-{name}"), writer));
    let pipeline = known.ids.pipeline;
    let backfill = Backfill { plan: &plan, applier: &applier, pipeline, resume: args.resume };
    let progress = Progress::default();
    let filled = tokio::select! {
        filled = watched(&progress, backfill.run(&progress)) => filled.map_err(anyhow::Error::from),
        pressed = tokio::signal::ctrl_c() => Err(pressed.map_or_else(anyhow::Error::from, |()| {
            anyhow::anyhow!("stopped: what is filled stays, and the same command goes on after it")
        })),
    };
    // What was handed in is settled before anything is said.
    drain.cancel();
    let settled = writer.await;
    let filled = filled?;
    settled??;
    print(&if json { pretty(&filled)? } else { sentence(name, &filled) })?;
    Ok(if filled.quarantined == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn sentence(name: &str, filled: &Filled) -> String {
    let mut text = format!("{name}: {} rows written in {:.1} s", filled.applied, filled.seconds);
    for (count, what) in [
        (filled.before, "settled before"),
        (filled.unchanged, "there already"),
        (filled.gone, "gone from the reference meanwhile"),
        (filled.quarantined, "refused and kept in quarantine"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text.push('\n');
    text
}
