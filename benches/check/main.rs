//! What the shipped checks cost on a million rows: `make bench-check`.
//!
//! Two floors are measured in the same run, in turns with the checks. The scans that the checks need: for each of
//! their statements the plainest one that reads the same columns, which is a grouping where repeats are sought. And
//! as many plain scans, none of which groups anything. Ratios are medians of the rounds.

use std::path::Path;
use std::time::{Duration, Instant};

use accord::contract::Contract;
use accord::contract::rule::Measure;
use accord::embedded::postgres::{Durability, Options, Postgres};
use accord::library::session;
use accord::quality::{self, Choice, Outcome};
use anyhow::Context as _;
use clap::Parser;
use serde_json::json;
use sqlx::PgConnection;

/// Measures what the shipped checks cost.
#[derive(Debug, Parser)]
#[command(name = "bench-check")]
struct Arguments {
    /// How many rows the table has.
    #[arg(long, default_value_t = 1_000_000)]
    rows: i32,
    /// How often each side has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
const SCHEMA: &str = include_str!("../../database_config/schema.sql");

/// Names repeat as they do in the real catalogue, where four of five are new.
const ROWS: &str = "
    insert into fragrances (fragrance_id, name, description, cost, forbidden)
    select i, 'Fragrance ' || (i * 0.79)::integer, repeat('notes of iris and cedar, ', 4 + i % 5), i % 101, i % 7 = 0
    from generate_series(0, $1 - 1) i";

/// The scan that counts row by row touches every column.
const ALL_COLUMNS: &str = "select count(fragrance_id), count(name), count(description), count(cost), count(forbidden) from fragrances";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // As a test target it would be no test, and take minutes.
    if !arguments.bench {
        return Ok(());
    }
    let contract = Contract::load(CONTRACT, None)?;
    let options = Options { durability: Durability::ProcessOnly, ..Options::default() };
    let postgres = Postgres::start(options).await.context("no Postgres")?;
    postgres.create_database("check").await?;
    let connect = postgres.url("check").parse()?;
    plant(&connect, arguments.rows).await?;

    let mut conn = session::connect_checker(&connect).await?;
    let floors = [floor(&contract, true), floor(&contract, false)];
    let (mut checks, mut scans) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut slowest = Vec::new();
    for round in 0..=arguments.rounds {
        let mut scanned = [Duration::ZERO; 2];
        for (floor, scanned) in floors.iter().zip(&mut scanned) {
            let started = Instant::now();
            for statement in floor {
                sqlx::raw_sql(*statement).fetch_all(&mut conn).await?;
            }
            *scanned = started.elapsed();
        }
        let started = Instant::now();
        let results = quality::check_on(&mut conn, &contract, Choice::default()).await?;
        let checked = started.elapsed();
        anyhow::ensure!(
            results.iter().all(|result| result.outcome == Outcome::Passed),
            "the table is good, but not by these checks: {results:?}"
        );
        // The first round only warms up.
        if round > 0 {
            checks.push(checked);
            scans.iter_mut().zip(scanned).for_each(|(scans, scanned)| scans.push(scanned));
        }
        slowest = results.into_iter().map(|result| (result.duration_ms, result.id)).collect();
    }
    slowest.sort_by(|a, b| b.0.total_cmp(&a.0));

    let ratio = |floor: &[Duration]| {
        median(
            checks.iter().zip(floor).map(|(check, scan)| check.as_secs_f64() / scan.as_secs_f64()).collect(),
        )
    };
    let milliseconds =
        |times: &[Duration]| median(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect());
    let (needed, plain) = (ratio(&scans[0]), ratio(&scans[1]));
    let count = floors[0].len();
    println!("{} rows, {} rules, {count} scans", arguments.rows, contract.rules.len());
    println!("all checks                  {:>8.0} ms", milliseconds(&checks));
    println!("the {count} scans that they need {:>8.0} ms: {needed:.2} ×", milliseconds(&scans[0]));
    println!("{count} plain scans              {:>8.0} ms: {plain:.2} ×", milliseconds(&scans[1]));
    for (took, rule) in slowest.iter().take(5) {
        println!("  {took:>8.1} ms  {rule}");
    }
    keep(&json!({
        "rows": arguments.rows,
        "rules": contract.rules.len(),
        "scans": count,
        "checks_ms": milliseconds(&checks),
        "needed_scans_ms": milliseconds(&scans[0]),
        "plain_scans_ms": milliseconds(&scans[1]),
        "ratio": needed,
        "ratio_to_plain_scans": plain,
    }))
}

async fn plant(connect: &sqlx::postgres::PgConnectOptions, rows: i32) -> anyhow::Result<()> {
    use sqlx::ConnectOptions as _;
    let mut conn: PgConnection = connect.clone().disable_statement_logging().connect().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut conn).await?;
    sqlx::query(ROWS).bind(rows).execute(&mut conn).await?;
    sqlx::raw_sql("vacuum (analyze) fragrances").execute(&mut conn).await?;
    Ok(())
}

/// A scan for each that the checks need: one for what is counted row by row, one for each other rule that has to
/// read the table.
fn floor(contract: &Contract, grouping: bool) -> Vec<&'static str> {
    let mut scans = vec![ALL_COLUMNS];
    for rule in &contract.rules {
        let (column, repeats) = match &rule.measure {
            // The primary key's index sees to it.
            Measure::Duplicates(columns) if *columns == contract.key => continue,
            Measure::Duplicates(columns) => (columns.first().copied(), grouping),
            Measure::Query { property, .. } => (*property, false),
            _ => continue,
        };
        scans.push(match (column.map(|column| contract.columns[column].field.as_str()), repeats) {
            (Some("name"), true) => "select count(*) from (select from fragrances group by name) names",
            (Some("name"), false) => "select count(name) from fragrances",
            (Some("description"), _) => "select count(description) from fragrances",
            (Some("cost"), _) => "select count(cost) from fragrances",
            _ => "select count(*) from fragrances",
        });
    }
    scans
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn keep(report: &serde_json::Value) -> anyhow::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("check.json");
    std::fs::write(&file, serde_json::to_string_pretty(report)?)?;
    println!("kept in {}", file.display());
    Ok(())
}
