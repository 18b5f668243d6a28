//! `accord contract activate PIPELINE [FILE]`: puts a contract in force.
//!
//! Promises: nothing is put in force that was not judged against what is stored; what could not work is not put in
//! force, forced or not; of two who activate at once, one is told to look again. Must not know: how anything is judged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;

use super::preview::{self, FAILS};
use super::{pretty, print};
use crate::cli::reach;
use crate::cli::who::who;
use crate::config::{Config, Pipeline};
use crate::contract::Contract;
use crate::contract::lint::lint;
use crate::library::activation::{self, Decision};
use crate::library::statement::TableSql;
use crate::library::{pipeline, session};
use crate::preview::Preview;
use crate::prose::Paint;
use crate::serve::parts::Judge;

pub(super) const EXAMPLES: &str = "\
Examples:
  accord contract activate fragrances                      the configured file, as it is now
  accord contract activate fragrances next.yaml
  accord contract activate fragrances --force --because 'the CMS cleans those rows up tonight'

It is previewed first (`accord contract preview`), and refused when something of severity error newly fails: rows,
checks, or changes that were accepted lately, for the sender will send such again. --force activates all the same, and
that is kept. What table and contract disagree about cannot be forced. Running servers take the new contract up within
about two seconds, without losing a call.

Exit codes: 0 in force; 3 refused, with the reasons; 1 error.";

/// The flags of `accord contract activate`.
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// The pipeline whose changes it is to judge.
    pipeline: String,
    /// The document; by default the pipeline's configured file.
    file: Option<PathBuf>,
    /// Put it in force although something newly fails.
    #[arg(long)]
    force: bool,
    /// Why; it is kept.
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    /// Judge changes that were accepted within this time, the newest 100,000 at most.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "7days")]
    since: Duration,
}

/// What came of it: it is in force now, was so already, or is not.
const ACTIVATED: &str = "activated";
const ACTIVE: &str = "active";
const REFUSED: &str = "refused";

/// What came of it, as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    pipeline: &'a str,
    version: &'a str,
    hash: &'a str,
    state: &'static str,
    preview: Option<&'a Preview>,
}

/// Previews, and activates where nothing stands against it.
pub(super) async fn run(args: &ActivateArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let name = args.pipeline.as_str();
    let pipeline = crate::cli::pipeline(config, name)?;
    let because = args.because.as_deref().map(str::trim);
    ensure!(because != Some(""), "--because is empty: say why, or leave it out");
    let proposed = sound(pipeline, args.file.as_ref().unwrap_or(&pipeline.contract))?;
    let connect: PgConnectOptions =
        config.library.url.expose().parse().context("library.url cannot be used")?;
    reach::prepare(&connect, &config.library.url).await?;
    let mut conn = session::connect_writer(&connect).await?;

    let before = activation::active(&mut conn, name).await?.map(|active| active.activation);
    let version = proposed.version.as_str();
    let tell = |state, preview: Option<&Preview>, text: &str| {
        let answer = Answer { pipeline: name, version, hash: &proposed.hash, state, preview };
        print(&if json { pretty(&answer)? } else { text.to_owned() })
    };
    if before.as_ref().is_some_and(|before| before.hash == proposed.hash) {
        tell(ACTIVE, None, &format!("version {version} of the contract is in force for `{name}` already\n"))?;
        return Ok(ExitCode::SUCCESS);
    }

    let (active, is_usable) = match Judge::of(&mut conn, name, pipeline).await {
        // Where nothing was in force, there is nothing that would change.
        _ if before.is_none() => (Arc::clone(&proposed), true),
        Ok(judge) => (Arc::new(judge.contract), true),
        Err(error) if args.force => {
            eprintln!("Note: nothing to compare with, for {error:#}");
            (Arc::clone(&proposed), false)
        }
        Err(error) => return Err(error),
    };
    let preview = preview::made(config, name, active, Arc::clone(&proposed), args.since).await?;
    if let Some(way_out) = obstacle(&preview, args.force) {
        tell(REFUSED, Some(&preview), &preview::readable(&preview, Paint::stdout()))?;
        eprintln!("Not activated: {way_out}");
        return Ok(ExitCode::from(FAILS));
    }

    let (by, kept) = (who(), serde_json::to_value(&preview)?);
    let forced = !(is_usable && preview.failures.is_empty());
    let decision = Decision { by: &by, forced, reason: because, preview: Some(&kept) };
    let ids = pipeline::enroll(&mut conn, name, TableSql::new(&proposed).target(), &proposed).await?;
    let expected = before.map(|before| before.id);
    let done = activation::activate(&mut conn, ids.pipeline, ids.contract, expected, &decision).await?;
    ensure!(
        done,
        "another contract was activated for `{name}` meanwhile: see `accord contract versions {name}`, and preview \
         again"
    );
    tell(
        ACTIVATED,
        Some(&preview),
        &format!("version {version} of the contract is in force for `{name}`\n"),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What stands against the activation, as the way out.
fn obstacle(preview: &Preview, force: bool) -> Option<&'static str> {
    if !preview.disagreements.is_empty() {
        return Some("table and contract disagree, which cannot be forced: alter the table, or the contract");
    }
    (!preview.failures.is_empty() && !force).then_some("see above; --force activates it all the same")
}

/// The document, without any error in any of its tables.
fn sound(pipeline: &Pipeline, file: &Path) -> anyhow::Result<Arc<Contract>> {
    let contract = Contract::load(file, pipeline.table.as_deref())?;
    let report = lint(&contract.source, &file.display().to_string());
    ensure!(!report.has_errors(), "the contract has errors: see `accord contract lint {}`", file.display());
    Ok(Arc::new(contract))
}
