//! `accord demo`: its flags.
//!
//! Promises: a flag that cannot work is refused before anything starts. Must not know: what a demo does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::value_parser;
use cms_simulator::{Faults, Interval, seed};

use crate::demo;

/// The flags of `accord demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The library's port on 127.0.0.1.
    #[arg(long, default_value_t = 9099, value_parser = value_parser!(u16).range(1..))]
    port: u16,
    /// The CMS's port on 127.0.0.1.
    #[arg(long, default_value_t = 9090, value_parser = value_parser!(u16).range(1..))]
    cms_port: u16,
    /// How many fragrances the CMS and the library both begin with.
    #[arg(long, value_name = "NUMBER", default_value_t = 5000,
          value_parser = value_parser!(u32).range(1..=i64::from(seed::MAX_ROWS)))]
    rows: u32,
    /// Time between two edits: 2s, 500ms, or a range such as 20s..25s, as the real CMS has it.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    every: Interval,
    /// The same seed on the same data makes the same edits and the same faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// What goes wrong on the way from the CMS: a list of name=value.
    ///
    /// drop=30% (calls never made), duplicate=10% (calls made twice), delay=2s or delay=2s@50% (calls come late
    /// and overtake each other), malformed=5% (bodies that are not JSON), burst=50 (50 edits within a second
    /// each time), forget=60s (the CMS forgets its listener every 60 s).
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    faults: Faults,
    /// Keep the databases here, and go on with them next time; without it, they go when the demo ends.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

/// Examples for `accord demo --help`.
pub const EXAMPLES: &str = "\
Examples:
  accord demo
  accord demo --every 500ms --faults drop=30%,duplicate=20%,malformed=10%
  accord demo --port 8099 --cms-port 8090 --data-dir ~/accord-demo";

/// Runs the demo until Ctrl-C or SIGTERM.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { port, cms_port, rows, every, seed, faults, data_dir } = args;
    demo::run(demo::Options { port, cms_port, rows, every, seed, faults, data_dir }).await?;
    Ok(ExitCode::SUCCESS)
}
