//! The command line.
//!
//! Promises: results go to stdout, log and progress to stderr; exit codes: 0 clean or done, 1 error, 2 usage, 3 drift
//! or failed check, 4 held or inconclusive. Must not know: how any command does its work.

pub mod contract;
pub mod demo;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::library::{self, session};
use crate::supervisor::Supervisor;
use crate::{serve, telemetry};

/// Keeps a library's Postgres in accord with the systems that feed it.
#[derive(Debug, Parser)]
#[command(name = "accord", version, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file; by default ./accord.toml, where there is one.
    #[arg(long, global = true, value_name = "FILE", env = "ACCORD_CONFIG")]
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
    /// Bring schema `accord` in the library's database up to date. (`serve` does so by itself.)
    Migrate,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at a data contract, or write the first one of a table.
    #[command(subcommand)]
    Contract(contract::ContractCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration that is in force, without its secrets.
    Show,
}

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Contract(command) => contract::run(command, self.json).await,
            Command::Serve => serve(&Config::load(self.config.as_deref())?).await,
            Command::Migrate => migrate(&Config::load(self.config.as_deref())?).await,
            Command::Config(ConfigCommand::Show) => {
                let config = Config::load(self.config.as_deref())?;
                if self.json {
                    println!("{:#}", config.redacted()?);
                } else {
                    print!("{}", config.redacted_toml()?);
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    tracing::info!(config = %config.redacted()?, "starting");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set http.listen to a free address"))?;
    let mut supervisor = Supervisor::new(config.shutdown.grace);
    serve::lay_out(config, listener, &mut supervisor).await?;
    tracing::info!(%listen, "serving");
    supervisor.run().await?;
    Ok(ExitCode::SUCCESS)
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let connect = config.library.url.expose().parse()?;
    let mut conn = session::connect_writer(&connect).await.context("cannot reach the library's database")?;
    library::migrate(&mut conn).await?;
    eprintln!("schema `accord` is up to date");
    Ok(ExitCode::SUCCESS)
}
