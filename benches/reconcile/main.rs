//! How fast two tables are compared, side by side with scans and with reladiff: `make bench-reconcile`.
//!
//! Everything runs on this machine, in one Postgres: a source, and targets that differ from it by known rows.
//! Contenders take turns, round by round, so that what else the machine does meets them all; every figure is a
//! median of rounds. Nobody may use parallel workers, for both sides are read at once and each has a core.
//! `accord diff` waits for no grace period (`--grace 0s`): what it waits for is no work.

mod contender;
mod reladiff;
mod report;
mod scene;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::contender::{Contender, Turn};
use crate::reladiff::Reladiff;
use crate::report::Report;
use crate::scene::{Drift, Scene};

/// Measures how fast two tables are compared, side by side with scans and with reladiff.
#[derive(Debug, Parser)]
#[command(name = "bench-reconcile")]
struct Arguments {
    /// Rows of each table.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Do without reladiff.
    #[arg(long)]
    no_reladiff: bool,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.bench {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&arguments))?;
    } else {
        // As a test target it would be no test, and take minutes.
        eprintln!("nothing measured: run it as `cargo bench --bench reconcile`");
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = results();
    std::fs::create_dir_all(&directory)?;
    let reladiff = if arguments.no_reladiff { None } else { Reladiff::install(&directory) };
    eprintln!("filling the tables");
    let scene = Scene::set(arguments.rows).await?;

    let mut report = Report::new(arguments.rows);
    for round in 1..=arguments.rounds {
        for contender in Contender::all(reladiff.is_some()) {
            eprintln!("round {round} of {}: {contender}", arguments.rounds);
            report.add(contender, contender.turn(&scene, reladiff.as_ref()).await?);
        }
    }
    eprintln!("three times the rows, for the memory");
    drop(scene);
    let large = Scene::set(arguments.rows * 3).await?;
    let Turn { peak_kib, .. } = Contender::Accord(Drift::None).turn(&large, None).await?;
    report.peak_at_three_times(peak_kib);

    println!("{report}");
    let file = directory.join("reconcile.json");
    std::fs::write(&file, report.json()?)?;
    println!("kept in {}", file.display());
    Ok(())
}

/// Where results go: `bench` in cargo's target directory.
fn results() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}
