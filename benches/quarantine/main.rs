//! How quick the quarantine stays with 100,000 open entries: `make bench-quarantine`.
//!
//! Pages are read as the API reads them, on a Postgres of the benchmark's own; then all entries are replayed
//! through a waist. Figures go to the terminal and to `target/bench/quarantine.json`.

mod pages;
mod scene;

use std::path::PathBuf;
use std::time::Instant;

use accord::library::quarantine::read::Filter;
use accord::quarantine::bulk;
use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

use crate::scene::Scene;

/// Measures the pages of a large quarantine, and the replay of all of it.
#[derive(Debug, Parser)]
#[command(name = "bench-quarantine")]
struct Arguments {
    /// As many open entries.
    #[arg(long, default_value_t = 100_000)]
    entries: i64,
    /// How often each page is read.
    #[arg(long, default_value_t = 50)]
    times: usize,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("filling the quarantine with {} entries …", arguments.entries);
    let scene = Scene::set(arguments.entries).await?;
    let pages = pages::measure(&scene.pool, arguments.entries, arguments.times).await?;
    for page in &pages {
        println!("{page}");
    }

    let bulk = bulk::request(&scene.pool, &Filter::default(), "bench").await?;
    println!("replaying {} entries …", bulk.total);
    let began = Instant::now();
    let progress = bulk::run(&scene.pool, &bulk, std::slice::from_ref(&scene.replayer), |_| {}).await?;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is a round number")]
    let rate = progress.released as f64 / seconds;
    println!(
        "{} released, {} not: {rate:.0} entries a second",
        progress.released,
        bulk.total - progress.released
    );

    let figures = json!({
        "entries": arguments.entries,
        "goal_ms": pages::GOAL_MS,
        "pages": pages,
        "replay": { "released": progress.released, "seconds": seconds, "entries_a_second": rate },
    });
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench/quarantine.json");
    std::fs::create_dir_all(file.with_file_name("")).context("target/bench")?;
    std::fs::write(&file, serde_json::to_vec_pretty(&figures)?)?;
    println!("kept in target/bench/quarantine.json");
    Ok(())
}
