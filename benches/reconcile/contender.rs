//! Who takes part.

use std::collections::BTreeSet;
use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::reladiff::Reladiff;
use crate::scene::{Drift, Scene};

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");

/// Who has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Contender {
    /// `count(*)`.
    Count,
    /// `count` of the last column, for which all columns have to be walked.
    Touch,
    /// One digest for the whole table.
    Digest,
    /// `accord diff`.
    Accord(Drift),
    /// reladiff, with as many threads as there are sides.
    Reladiff(Drift),
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) time: Duration,
    /// The most memory that the process had.
    pub(crate) peak_kib: Option<u64>,
    /// Bytes that the source sent.
    pub(crate) source_bytes: Option<u64>,
    /// Rows that differ and were not named.
    pub(crate) missed: Option<usize>,
    /// Rows that were named and do not differ.
    pub(crate) invented: Option<usize>,
}

impl Contender {
    pub(crate) fn all(with_reladiff: bool) -> Vec<Self> {
        let mut all = vec![Self::Count, Self::Touch, Self::Digest];
        all.extend(Drift::ALL.map(Self::Accord));
        if with_reladiff {
            all.extend([Drift::None, Drift::Tenth].map(Self::Reladiff));
        }
        all
    }

    pub(crate) async fn turn(self, scene: &Scene, reladiff: Option<&Reladiff>) -> anyhow::Result<Turn> {
        match self {
            Self::Count => scan(scene, "select count(*) from fragrances").await,
            Self::Touch => scan(scene, "select count(forbidden) from fragrances").await,
            Self::Digest => {
                let digest = "select bit_xor(hash_record_extended(row(name, description, cost, forbidden), fragrance_id))
                              from fragrances";
                scan(scene, digest).await
            }
            Self::Accord(drift) => accord(scene, drift).await,
            Self::Reladiff(drift) => {
                let reladiff = reladiff.context("reladiff is not there")?;
                let began = Instant::now();
                let named = reladiff.diff(&scene.source(), &scene.target(drift)).await?;
                let time = began.elapsed();
                let truth = scene.truth(drift).await?;
                let truth: BTreeSet<String> = truth.into_iter().map(|(key, _)| key).collect();
                Ok(Turn { time, ..Turn::default() }.judged(&truth, &named))
            }
        }
    }
}

impl Turn {
    fn judged<T: Ord>(self, truth: &BTreeSet<T>, named: &BTreeSet<T>) -> Self {
        let missed = Some(truth.difference(named).count());
        let invented = Some(named.difference(truth).count());
        Self { missed, invented, ..self }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count(*), both sides at once"),
            Self::Touch => f.write_str("count(last column), both sides at once"),
            Self::Digest => f.write_str("one digest, both sides at once"),
            Self::Accord(drift) => write!(f, "accord diff, {drift}"),
            Self::Reladiff(drift) => write!(f, "reladiff -j 2, {drift}"),
        }
    }
}

/// Runs a query on source and target at once.
async fn scan(scene: &Scene, query: &'static str) -> anyhow::Result<Turn> {
    let one = async |url: String| {
        let mut conn = PgConnection::connect(&url).await?;
        sqlx::raw_sql("set enable_indexonlyscan = off; set enable_indexscan = off; set enable_bitmapscan = off; set jit = off")
            .execute(&mut conn)
            .await?;
        Ok::<_, sqlx::Error>(conn)
    };
    let (mut source, mut target) = (one(scene.source()).await?, one(scene.target(Drift::None)).await?);
    let began = Instant::now();
    let (a, b) = tokio::try_join!(
        sqlx::query(query).fetch_one(&mut source),
        sqlx::query(query).fetch_one(&mut target)
    )?;
    let time = began.elapsed();
    let value = |row| -> Result<i64, sqlx::Error> { sqlx::Row::try_get(row, 0) };
    ensure!(value(&a)? == value(&b)?, "the two sides differ");
    Ok(Turn { time, ..Turn::default() })
}

/// Runs the program that is shipped, and holds what it says to the truth.
async fn accord(scene: &Scene, drift: Drift) -> anyhow::Result<Turn> {
    let (source, target) = (scene.source(), scene.target(drift));
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord"));
    command.args(["diff", "--grace", "0s", "--json", "--all-keys", "--contract", CONTRACT]);
    command.args(["--source", &source, "--target", &target]);
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let pid = child.id().context("the process is gone")?;
    let mut output = child.stdout.take().context("no output")?;
    let mut text = String::new();
    // Its peak is asked for while it lives: afterwards nobody knows.
    let mut peak_kib = 0;
    let status = {
        let reading = output.read_to_string(&mut text);
        tokio::pin!(reading);
        loop {
            tokio::select! {
                read = &mut reading => { read?; break child.wait().await?; }
                () = tokio::time::sleep(Duration::from_millis(5)) => peak_kib = peak_kib.max(high_water(pid)),
            }
        }
    };
    let time = began.elapsed();
    ensure!(matches!(status.code(), Some(0 | 3)), "accord diff ended with {status}: {text}");
    let report: Value = serde_json::from_str(&text)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = report["drift"].as_array().context("a list of rows")?;
    let named = rows.iter().map(|row| (word(&row["key"]), word(&row["kind"]))).collect();
    let turn = Turn {
        time,
        peak_kib: Some(peak_kib),
        source_bytes: report["bytes"]["source"].as_u64(),
        ..Turn::default()
    };
    Ok(turn.judged(&scene.truth(drift).await?, &named))
}

/// The most resident memory a process has had so far, in KiB.
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
