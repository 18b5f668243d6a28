//! How fast changes are taken in, side by side with simpler servers: `make bench-ingest`.
//!
//! Everything runs on this machine: one Postgres that syncs every commit, each server in a process of its own,
//! and one load generator in another, so that CPU time is counted where it is spent. Contenders take turns,
//! round by round, so that what else the machine does meets them all; every figure is a median of rounds.

mod accord_server;
mod child;
mod contender;
mod cpu;
mod delta;
mod floor;
mod load;
mod machine;
mod report;
mod scene;
mod simple_servers;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::contender::{Contender, Run};
use crate::report::Report;
use crate::scene::Scene;

/// Measures how fast changes are taken in, side by side with simpler servers.
#[derive(Debug, Parser)]
#[command(name = "bench-ingest")]
struct Arguments {
    /// One short round each: ratios at a glance.
    #[arg(long)]
    quick: bool,
    /// How often each contender has its turn [default: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a turn is measured [default: 5]
    #[arg(long)]
    seconds: Option<u64>,
    /// Measure these alone; nothing is kept then.
    #[arg(long, value_enum)]
    only: Vec<Contender>,
    /// Measure with as many connections, instead of 64 and 256.
    #[arg(long)]
    connections: Vec<usize>,
    /// Measure memory and start alone; nothing is kept then.
    #[arg(long)]
    footprint: bool,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a child process of the benchmark does.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Load(load::Arguments),
    #[command(hide = true)]
    Floor(floor::Arguments),
    #[command(hide = true)]
    NoDatabase(simple_servers::NoDatabase),
    #[command(hide = true)]
    PerRequest(simple_servers::PerRequest),
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Load(load)) => on_one_thread(load.run())?,
        Some(Role::Floor(floor)) => on_one_thread(floor.run())?,
        Some(Role::NoDatabase(server)) => tokio::runtime::Runtime::new()?.block_on(server.run())?,
        Some(Role::PerRequest(server)) => tokio::runtime::Runtime::new()?.block_on(server.run())?,
        // As a test target it would be no test, and take minutes.
        None if !arguments.bench => eprintln!("nothing measured: run it as `cargo bench --bench ingest`"),
        None => on_one_thread(measure(&arguments))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn on_one_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 });
    let seconds = arguments.seconds.unwrap_or(if arguments.quick { 3 } else { 5 });
    let runs = runs(&arguments.connections, &arguments.only);

    let mut scene = Scene::set(&results()).await?;
    let footprint = scene.footprint().await?;
    if arguments.footprint {
        println!("{footprint}");
        return Ok(());
    }
    let mut report = Report::new(footprint);
    for round in 1..=rounds {
        for &run in &runs {
            eprintln!("round {round} of {rounds}: {run}");
            let turn = scene.turn(run, Duration::from_secs(seconds)).await;
            report.add(run, turn.with_context(|| format!("{run}"))?);
        }
    }
    println!("{report}");
    if arguments.only.is_empty() && arguments.connections.is_empty() {
        let file = results().join("ingest.json");
        std::fs::write(&file, report.json()?)?;
        println!("kept in {}", file.display());
    }
    Ok(())
}

/// Who takes a turn in each round, in order.
fn runs(connections: &[usize], only: &[Contender]) -> Vec<Run> {
    let connections = if connections.is_empty() { &contender::CONNECTIONS } else { connections };
    let mut runs: Vec<Run> = connections
        .iter()
        .flat_map(|&connections| Contender::ONE_A_REQUEST.map(|contender| Run { contender, connections }))
        .collect();
    runs.extend(
        Contender::IN_BATCHES.map(|contender| Run { contender, connections: contender.batch_clients() }),
    );
    runs.retain(|run| only.is_empty() || only.contains(&run.contender));
    runs
}

/// Where results and logs go: `bench` in cargo's target directory.
fn results() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}
