//! The command line.
//!
//! Promises: results go to stdout, log and progress to stderr; exit codes: 0 clean or done, 1 error, 2 usage, 3 drift
//! or failed check, 4 held or inconclusive. Must not know: how any command does its work.

pub mod backfill;
pub mod check;
pub mod contract;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod history;
mod output;
pub mod pause;
pub mod quarantine;
mod reach;
pub mod reconcile;
mod reconciliation;
pub mod status;
pub mod token;
mod who;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::config::{Config, Pipeline};
use crate::library::{self, session};
use crate::serve::Service;
use crate::supervisor::Requests;
use crate::telemetry;

/// Keeps a library's Postgres in accord with the systems that feed it.
#[derive(Debug, Parser)]
#[command(name = "accord", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file; by default ./accord.toml, where there is one.
    #[arg(long, global = true, value_name = "FILE", env = "ACCORD_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a library follow a CMS: everything runs in this process, with a Postgres of its own.
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Receive changes, apply them, and keep the library in accord. Ctrl-C stops in order.
    Serve,
    /// Show how each pipeline is doing, whether a server runs or not.
    Status(status::StatusArgs),
    /// Say in which rows a library and its reference differ. Only reads; no server is needed.
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::DiffArgs),
    /// Compare a library with its reference, and repair what differs. No server is needed.
    #[command(after_help = reconcile::EXAMPLES)]
    Reconcile(reconcile::ReconcileArgs),
    /// Fill an empty table from the pipeline's reference. Interrupted, it goes on where it was.
    #[command(after_help = backfill::EXAMPLES)]
    Backfill(backfill::BackfillArgs),
    /// Keep what senders send in quarantine, and change nothing in the library, until `accord resume`.
    #[command(after_help = pause::PAUSING)]
    Pause(pause::PauseArgs),
    /// End a pipeline's pause, and have what was kept replayed in the order in which it came.
    #[command(after_help = pause::RESUMING)]
    Resume(pause::ResumeArgs),
    /// Show what happened to one row: each change, from → to.
    History(history::HistoryArgs),
    /// Work the quarantine: what was refused, why, and what to do about it.
    #[command(subcommand, after_help = quarantine::EXAMPLES)]
    Quarantine(quarantine::QuarantineCommand),
    /// Check that a table is what its contract promises.
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Check everything that Accord stands on, and say how to mend what is wrong.
    Doctor,
    /// The secret at the end of a webhook's URL.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Look at a data contract, write the first one of a table, or change the one in force.
    #[command(subcommand, after_help = contract::EXAMPLES)]
    Contract(contract::ContractCommand),
    /// Bring schema `accord` in the library's database up to date. (`serve` does so by itself.)
    Migrate,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration that is in force, without its secrets.
    Show,
}

const EXAMPLES: &str = "\
Examples:
  accord demo                                         see it work, without any set-up
  accord contract import --from URL fragrances        a first contract for a table of yours
  accord doctor                                       is everything there that `serve` needs?
  accord serve --config accord.toml
  accord status                                       how is it doing?
  accord diff fragrances                              which rows differ from its reference?
  accord reconcile fragrances                         bring it in accord with its reference
  accord history fragrances 4254                      what happened to this row?

Exit codes: 0 clean or done, 1 error, 2 wrong usage, 3 drift or a failed check, 4 held or inconclusive.
Log: ACCORD_LOG=debug (or warn,accord=debug, …) overrides log.filter.";

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { config: file, json, command } = self;
        let config = || Config::load(file.as_deref());
        match command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve => serve(config()?).await,
            Command::Status(args) => status::run(&args, &config()?, json).await,
            Command::Diff(args) => diff::run(args, config, json).await,
            Command::Reconcile(args) => reconcile::run(args, config, json).await,
            Command::Backfill(args) => backfill::run(&args, &config()?, json).await,
            Command::Pause(args) => pause::pause(&args, &config()?, json).await,
            Command::Resume(args) => pause::resume(&args, &config()?, json).await,
            Command::History(args) => history::run(&args, &config()?, json).await,
            Command::Quarantine(command) => quarantine::run(command, &config()?, json).await,
            Command::Check(args) => check::run(&args, config, json).await,
            Command::Doctor => doctor::run(file.as_deref(), json).await,
            Command::Token(command) => token::run(command, &config()?, json).await,
            Command::Contract(command) => contract::run(command, config, json).await,
            Command::Migrate => migrate(&config()?).await,
            Command::Config(ConfigCommand::Show) => show(&config()?, json),
        }
    }
}

/// The pipeline of this name, or which there are.
fn pipeline<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Pipeline> {
    config.pipeline.get(name).with_context(|| {
        let names: Vec<&str> = config.pipeline.keys().map(String::as_str).collect();
        format!("no pipeline `{name}` is configured; there is: {}", names.join(", "))
    })
}

fn show(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    output::print(&if json { output::pretty(&config.redacted()?)? } else { config.redacted_toml()? })?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    tracing::info!(config = %config.redacted()?, "starting");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set http.listen to a free address"))?;
    let mut requests = Requests::signals()?;
    let service = tokio::select! {
        service = Service::start(config, listener) => service?,
        _ = requests.next() => return Ok(ExitCode::SUCCESS),
    };
    tracing::info!(%listen, "serving");
    service.run(&mut requests).await?;
    Ok(ExitCode::SUCCESS)
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let connect = config.library.url.expose().parse()?;
    let mut conn = session::connect_writer(&connect).await.context("cannot reach the library's database")?;
    library::migrate(&mut conn).await?;
    eprintln!("schema `accord` is up to date");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_teaches() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_help(), @"
        Keeps a library's Postgres in accord with the systems that feed it

        Usage: accord [OPTIONS] <COMMAND>

        Commands:
          demo        Watch a library follow a CMS: everything runs in this process, with a Postgres of its
                      own
          serve       Receive changes, apply them, and keep the library in accord. Ctrl-C stops in order
          status      Show how each pipeline is doing, whether a server runs or not
          diff        Say in which rows a library and its reference differ. Only reads; no server is needed
          reconcile   Compare a library with its reference, and repair what differs. No server is needed
          backfill    Fill an empty table from the pipeline's reference. Interrupted, it goes on where it
                      was
          pause       Keep what senders send in quarantine, and change nothing in the library, until `accord
                      resume`
          resume      End a pipeline's pause, and have what was kept replayed in the order in which it came
          history     Show what happened to one row: each change, from → to
          quarantine  Work the quarantine: what was refused, why, and what to do about it
          check       Check that a table is what its contract promises
          doctor      Check everything that Accord stands on, and say how to mend what is wrong
          token       The secret at the end of a webhook's URL
          contract    Look at a data contract, write the first one of a table, or change the one in force
          migrate     Bring schema `accord` in the library's database up to date. (`serve` does so by
                      itself.)
          config      Look at the configuration
          help        Print this message or the help of the given subcommand(s)

        Options:
              --config <FILE>  The configuration file; by default ./accord.toml, where there is one [env:
                               ACCORD_CONFIG]
              --json           Print results as JSON
          -h, --help           Print help
          -V, --version        Print version

        Examples:
          accord demo                                         see it work, without any set-up
          accord contract import --from URL fragrances        a first contract for a table of yours
          accord doctor                                       is everything there that `serve` needs?
          accord serve --config accord.toml
          accord status                                       how is it doing?
          accord diff fragrances                              which rows differ from its reference?
          accord reconcile fragrances                         bring it in accord with its reference
          accord history fragrances 4254                      what happened to this row?

        Exit codes: 0 clean or done, 1 error, 2 wrong usage, 3 drift or a failed check, 4 held or
        inconclusive.
        Log: ACCORD_LOG=debug (or warn,accord=debug, …) overrides log.filter.
        ");
    }
}
