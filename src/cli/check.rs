//! `accord check PIPELINE`: is the table what its contract promises?
//!
//! Promises: exits 3 when a rule of severity error is broken, 4 when one could not be judged; a warning alone
//! exits 0. Must not know: how a rule is measured.

mod history;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, value_parser};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::output::{pretty, print};
use super::reach;
use crate::config::Config;
use crate::contract::Contract;
use crate::library::session;
use crate::prose::{self, Paint};
use crate::quality::{self, CheckResult, Choice, Outcome};
use crate::serve::parts::Judge;

/// Shown below the flags.
pub(super) const EXAMPLES: &str = "\
Examples:
  accord check fragrances
  accord check fragrances --rule duplicate-names --json
  accord check fragrances --history                        the latest runs
  accord check fragrances --history --rule duplicate-names what that rule gave in each of them
  accord check --contract contracts/fragrances.yaml --target postgres://reader@localhost/fragrancedb

Exit codes: 0 all is as promised, or only warnings; 3 a rule of severity error is broken; 4 one could not be judged.";

/// The flags of `accord check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The pipeline's name, as `accord status` shows it. With --contract, the table's name in the contract.
    #[arg(required_unless_present = "contract")]
    pipeline: Option<String>,
    /// Check against this contract, without any configuration; nothing is kept.
    #[arg(long, value_name = "FILE", requires = "target")]
    contract: Option<PathBuf>,
    /// The database that holds the table: postgres://user:password@host:port/database.
    #[arg(
        long,
        value_name = "URL",
        requires = "contract",
        env = "ACCORD_CHECK_TARGET",
        hide_env_values = true
    )]
    target: Option<SecretString>,
    /// Check this rule alone.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Check nothing: show the latest runs; with --rule, what that rule gave in each of them.
    #[arg(long, conflicts_with = "contract")]
    history: bool,
    /// Show so many at most.
    #[arg(long, value_name = "NUMBER", requires = "history", default_value_t = 20, value_parser = value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Only those before this run: the next page.
    #[arg(long, value_name = "RUN", requires = "history")]
    before: Option<i64>,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    pipeline: Option<&'a str>,
    contract: &'a str,
    version: &'a str,
    results: &'a [CheckResult],
}

/// Checks, prints, and exits by the worst that was found.
pub async fn run(
    args: &CheckArgs,
    config: impl FnOnce() -> Result<Config, crate::config::ConfigError>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if args.history {
        return history::run(args, &config()?, json).await;
    }
    let choice = Choice { rule: args.rule.as_deref(), ..Choice::default() };
    let (contract, results) = match (&args.contract, &args.target) {
        (Some(file), Some(target)) => {
            let contract = Contract::load(file, args.pipeline.as_deref())?;
            let connect = target.expose_secret().parse().context("--target is no Postgres URL")?;
            let results = quality::check(&connect, &contract, choice).await?;
            (contract, results)
        }
        _ => of_pipeline(args.pipeline.as_deref().unwrap_or_default(), &config()?, choice).await?,
    };
    let (name, version) = (contract.name.as_str(), contract.version.as_str());
    let answer = Answer { pipeline: args.pipeline.as_deref(), contract: name, version, results: &results };
    print(&if json { pretty(&answer)? } else { readable(&results, Paint::stdout()) })?;
    Ok(exit_code(&results))
}

async fn of_pipeline(
    name: &str,
    config: &Config,
    choice: Choice<'_>,
) -> anyhow::Result<(Contract, Vec<CheckResult>)> {
    let pipeline = super::pipeline(config, name)?;
    let judge = Judge::of(&mut reach::library(config).await?, name, pipeline).await?;
    reach::tell(judge.notice.as_deref());
    let contract = judge.contract;
    let connect: PgConnectOptions =
        config.library.url.expose().parse().context("library.url cannot be used")?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(session::PATIENCE)
        .connect_lazy_with(connect.clone().application_name("accord"));
    let prepared: Option<bool> = sqlx::query_scalar("select to_regclass('accord.check_run') is not null")
        .fetch_one(&pool)
        .await
        .with_context(|| {
            format!("cannot reach the library's database at {}; see `accord doctor`", config.library.url)
        })?;
    let results = if prepared == Some(true) {
        quality::check_and_keep(&pool, &connect, name, &contract, choice).await?
    } else {
        eprintln!(
            "schema `accord` is not up to date, so nothing is kept: run `accord serve`, or `accord migrate`"
        );
        quality::check(&connect, &contract, choice).await?
    };
    Ok((contract, results))
}

fn exit_code(results: &[CheckResult]) -> ExitCode {
    if results.iter().any(|result| result.outcome == Outcome::Failed) {
        ExitCode::from(3)
    } else if results.iter().any(|result| result.inconclusive) {
        ExitCode::from(4)
    } else {
        ExitCode::SUCCESS
    }
}

/// A line for each rule; below it, what is wrong.
fn readable(results: &[CheckResult], paint: Paint) -> String {
    let width = results.iter().map(|result| result.id.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for result in results {
        let word = word(result.outcome, paint);
        let value = match result.outcome {
            Outcome::NotExecuted => String::new(),
            _ => measured(&result.value, &result.unit, &result.threshold, result.rows),
        };
        let line = format!("{word} {:<width$}  {value}", prose::safe(&result.id));
        let _ = writeln!(text, "{}", line.trim_end());
        if result.outcome == Outcome::Passed {
            continue;
        }
        let _ = writeln!(text, "             {}", prose::safe(&result.name));
        if let Some(reason) = &result.reason {
            let _ = writeln!(text, "             {}", prose::safe(reason));
        }
        if !result.keys.is_empty() {
            let _ = writeln!(text, "             rows: {}", prose::safe(&result.keys.join(", ")));
        }
    }
    let count = |outcome| results.iter().filter(|result| result.outcome == outcome).count();
    let _ = writeln!(
        text,
        "\n{} passed, {} warned, {} failed, {} not executed",
        count(Outcome::Passed),
        count(Outcome::Warned),
        count(Outcome::Failed),
        count(Outcome::NotExecuted),
    );
    text
}

/// The outcome, as wide as the longest one.
fn word(outcome: Outcome, paint: Paint) -> String {
    let word = format!("{:<12}", outcome.as_str());
    match outcome {
        Outcome::Passed => paint.good(&word),
        Outcome::Warned | Outcome::NotExecuted => paint.warn(&word),
        Outcome::Failed => paint.bad(&word),
    }
}

/// The value beside its threshold: `21.3 percent (< 50)`.
fn measured(value: &Json, unit: &str, threshold: &Json, rows: Option<i64>) -> String {
    let value = match value.as_f64().filter(|value| value.fract() != 0.0) {
        Some(value) => format!("{value:.2}"),
        None => value.to_string(),
    };
    let unit = if unit == "rows" { String::new() } else { format!(" {unit}") };
    let of = rows.map(|rows| format!(" of {rows} rows")).unwrap_or_default();
    format!("{value}{unit}{of} ({})", prose::threshold(threshold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, outcome: Outcome) -> CheckResult {
        CheckResult {
            id: id.to_owned(),
            name: "What it promises".to_owned(),
            dimension: "uniqueness".to_owned(),
            severity: "error".to_owned(),
            outcome,
            value: serde_json::json!(20.9),
            unit: "percent".to_owned(),
            threshold: serde_json::json!({"mustBeLessThan": 50}),
            rows: Some(5000),
            keys: vec!["1".to_owned(), "7".to_owned()],
            sql: None,
            reason: None,
            duration_ms: 1.5,
            inconclusive: false,
        }
    }

    #[test]
    fn a_person_sees_the_verdicts_and_what_is_wrong() {
        let results = [result("few-repeats", Outcome::Passed), result("none", Outcome::Failed)];
        insta::assert_snapshot!(readable(&results, Paint::plain()), @"
        passed       few-repeats  20.90 percent of 5000 rows (< 50)
        failed       none         20.90 percent of 5000 rows (< 50)
                     What it promises
                     rows: 1, 7

        1 passed, 0 warned, 1 failed, 0 not executed
        ");
    }

    #[test]
    fn the_exit_code_tells_the_worst() {
        let shown = |code: ExitCode| format!("{code:?}");
        let inconclusive = CheckResult { inconclusive: true, ..result("a", Outcome::NotExecuted) };
        for (results, code) in [
            (vec![result("a", Outcome::Passed), result("b", Outcome::Warned)], 0),
            (vec![result("a", Outcome::NotExecuted)], 0),
            (vec![inconclusive.clone()], 4),
            (vec![inconclusive, result("b", Outcome::Failed)], 3),
        ] {
            assert_eq!(shown(exit_code(&results)), shown(ExitCode::from(code)));
        }
    }
}
