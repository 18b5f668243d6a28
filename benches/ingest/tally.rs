//! What a driver (the load generator, or Postgres' own client) tells the benchmark, over its standard output.
//!
//! A driver warms up, writes a line when it begins to measure and one when it ends, finishes what is in
//! flight, and closes with its tally.

use std::io::{BufRead, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What a turn came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Tally {
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Changes acknowledged in that time.
    pub(crate) changes: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Changes acknowledged from beginning to end, warming up included.
    pub(crate) acknowledged: u64,
    /// How many of those were answered `applied`.
    pub(crate) applied: u64,
    /// Why requests failed, the first few of them.
    pub(crate) failures: Vec<String>,
}

/// The driver's side: counts, and knows what is measured.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    measuring: Option<Instant>,
    seconds: f64,
    changes: u64,
    latencies: Vec<Duration>,
    acknowledged: u64,
    applied: u64,
    failures: Vec<String>,
}

impl Counter {
    /// A request with this many changes was answered.
    pub(crate) fn answered(&mut self, latency: Duration, changes: u64, applied: u64) {
        self.acknowledged += changes;
        self.applied += applied;
        if self.measuring.is_some() {
            self.changes += changes;
            self.latencies.push(latency);
        }
    }

    pub(crate) fn failed(&mut self, why: String) {
        const ENOUGH: usize = 5;
        if self.failures.len() < ENOUGH {
            self.failures.push(why);
        }
    }

    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        say(BEGIN)?;
        self.measuring = Some(Instant::now());
        Ok(())
    }

    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.seconds = self.measuring.take().map_or(0.0, |began| began.elapsed().as_secs_f64());
        say(END)
    }

    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.latencies.sort_unstable();
        let tally = Tally {
            seconds: self.seconds,
            changes: self.changes,
            p50_ms: quantile(&self.latencies, 50),
            p99_ms: quantile(&self.latencies, 99),
            acknowledged: self.acknowledged,
            applied: self.applied,
            failures: self.failures,
        };
        say(&serde_json::to_string(&tally)?)
    }
}

const BEGIN: &str = "begin";
const END: &str = "end";

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// In milliseconds; zero when there are none.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

/// The benchmark's side: follows a driver to its tally, and calls `snapshot` at both ends of what is measured.
pub(crate) fn follow<T>(output: impl BufRead, snapshot: impl Fn() -> T) -> anyhow::Result<(Tally, T, T)> {
    let mut lines = output.lines();
    let mut line = || lines.next().context("the driver ended before its time")?.context("its output");
    anyhow::ensure!(line()? == BEGIN, "the driver did not begin");
    let before = snapshot();
    anyhow::ensure!(line()? == END, "the driver did not end");
    let after = snapshot();
    Ok((serde_json::from_str(&line()?)?, before, after))
}
