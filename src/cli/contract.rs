//! `accord contract …`: look at a contract, write a first one, or change the one in force.
//!
//! Promises: the answer goes to stdout and nothing else does; no password is ever shown. Must not know: how a
//! contract is compiled.

mod activate;
mod preview;
mod versions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::Subcommand;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::output::{pretty, print};
use crate::config::{Config, ConfigError};
use crate::contract::lint::{Report, lint};
use crate::contract::{Contract, Severity, import};

pub(super) const EXAMPLES: &str = "\
Examples:
  accord contract lint next.yaml                           is anything wrong with it?
  accord contract preview next.yaml                        what would it mean for what is stored?
  accord contract activate fragrances next.yaml            put it in force
  accord contract versions fragrances                      what was in force, since when?
  accord contract show fragrances > fragrances.yaml        the document in force

A file counts from its activation on; the first one of a pipeline is activated by its first `accord serve`.";

/// Look at a data contract, write the first one of a table, or change the one in force.
#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Say what is wrong with a contract, and what it asks for that is not done.
    Lint {
        /// The document, YAML of the Open Data Contract Standard.
        file: PathBuf,
    },
    /// Print the JSON Schema that records are judged by.
    Schema {
        /// The document, YAML of the Open Data Contract Standard.
        file: PathBuf,
        /// The schema of a delta, which need not carry every field, instead of a full record's.
        #[arg(long)]
        delta: bool,
        /// Which table, where the document describes several.
        #[arg(long)]
        table: Option<String>,
    },
    /// Judge a new contract against what is stored, beside the one in force. Only reads.
    #[command(after_help = preview::EXAMPLES)]
    Preview(preview::PreviewArgs),
    /// Put a contract in force, unless something that is stored would newly fail.
    #[command(after_help = activate::EXAMPLES)]
    Activate(activate::ActivateArgs),
    /// List the contracts that were in force, the newest first.
    Versions {
        /// The pipeline's name, as `accord status` shows it.
        pipeline: String,
    },
    /// Print the contract in force, as it was written.
    Show {
        /// The pipeline's name, as `accord status` shows it.
        pipeline: String,
    },
    /// Write the first contract of an existing Postgres table to stdout.
    Import {
        /// Where the table is: postgres://user:password@host:port/database.
        #[arg(long, value_name = "URL", env = "ACCORD_IMPORT_FROM", hide_env_values = true)]
        from: SecretString,
        /// The table, as `name` or `schema.name`.
        table: String,
    },
}

/// Does what the command says. Exit codes: 0 done, 1 the contract has errors, 3 something would newly fail.
pub async fn run(
    command: ContractCommand,
    config: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match command {
        ContractCommand::Preview(args) => preview::run(&args, &config()?, json).await,
        ContractCommand::Activate(args) => activate::run(&args, &config()?, json).await,
        ContractCommand::Versions { pipeline } => versions::list(&pipeline, &config()?, json).await,
        ContractCommand::Show { pipeline } => versions::show(&pipeline, &config()?, json).await,
        ContractCommand::Lint { file } => {
            let report = lint(&read(&file)?, &file.display().to_string());
            print(&if json { pretty(&report)? } else { readable(&report) })?;
            Ok(if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        ContractCommand::Schema { file, delta, table } => {
            let contract = Contract::load(&file, table.as_deref())?;
            print(&pretty(if delta { &contract.delta_schema } else { &contract.full_schema })?)?;
            Ok(ExitCode::SUCCESS)
        }
        ContractCommand::Import { from, table } => {
            let yaml = import::import(&mut connect(&from).await?, &table).await?;
            print(&if json { pretty(&serde_json::json!({ "contract": yaml }))? } else { yaml })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the contract {}", file.display()))
}

/// Connects, and on failure names the place but never the password.
async fn connect(url: &SecretString) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url.expose_secret())
        .context("--from is no Postgres URL: use postgres://user:password@host:port/database")?
        .disable_statement_logging();
    let place = format!(
        "{}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default()
    );
    PgConnection::connect_with(&options).await.with_context(|| format!("cannot connect to {place}"))
}

/// One line a finding, and a line that sums up.
fn readable(report: &Report) -> String {
    let origin = &report.origin;
    let mut lines: Vec<String> =
        report.findings.iter().map(|finding| format!("{origin}:{finding}\n")).collect();
    let count = |severity, word: &str| match report.count(severity) {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    lines.push(format!("{origin}: {errors}, {warnings}\n"));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<ContractCommand, clap::Error> {
        let command = ContractCommand::augment_subcommands(clap::Command::new("contract"));
        command.clone().debug_assert();
        ContractCommand::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    async fn exit_code(arguments: &[&str]) -> ExitCode {
        run(parse(arguments).unwrap(), || Config::load(None), false).await.unwrap()
    }

    #[tokio::test]
    async fn lint_exits_by_what_it_found() {
        let bad = tempfile::NamedTempFile::new().unwrap();
        let bad = bad.path().to_str().unwrap();
        // ExitCode cannot be compared, only shown.
        let shown = |code| format!("{code:?}");
        let (good, bad) = (&["contract", "lint", "contracts/fragrances.yaml"], &["contract", "lint", bad]);
        assert_eq!(shown(exit_code(good).await), shown(ExitCode::SUCCESS));
        assert_eq!(shown(exit_code(bad).await), shown(ExitCode::FAILURE));
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let command = parse(&["contract", "schema", "no/such.yaml", "--delta"]).unwrap();
        let error = run(command, || Config::load(None), false).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read the contract no/such.yaml");
    }

    #[test]
    fn findings_are_lines_that_an_editor_can_follow() {
        let text = readable(&lint("apiVersion: v3.1.0\nkind: Contract\n", "c.yaml"));
        insta::assert_snapshot!(text, @r"
        c.yaml:2:7 error syntax unknown variant `Contract`, expected one of DataContract
        c.yaml: 1 error, 0 warnings
        ");
    }
}
