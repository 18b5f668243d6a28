//! `accord quarantine replay|discard|purge`.
//!
//! Promises: a replay goes through a waist of this process, and the library's lock orders it among all others.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{ArgGroup, Args};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Desk, FilterArgs, tell};
use crate::apply::{Applier, Stop};
use crate::change::Outcome;
use crate::cli::output::{pretty, print};
use crate::cli::reach;
use crate::cli::who::who;
use crate::contract::gate::Gate;
use crate::library::quarantine::close::{self, Decided, Decision};
use crate::library::quarantine::read::State;
use crate::quarantine::Replayer;
use crate::quarantine::bulk::{self, Bulk};
use crate::serve::parts;
use crate::supervisor::thread;
use crate::telemetry::metrics::Metrics;

/// Something that was replayed is still refused.
const STILL_REFUSED: u8 = 3;

/// The flags of `accord quarantine replay`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "all"])))]
pub struct ReplayArgs {
    /// The entry's number.
    id: Option<i64>,
    /// Try this record in the place of the original one, which stays; `-` reads it from stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    payload: Option<PathBuf>,
    /// Try all open entries that these filters leave, the oldest first.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The flags of `accord quarantine discard` and `purge`.
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// The entry's number.
    id: i64,
    /// Why; it is kept.
    #[arg(long, value_name = "TEXT")]
    because: String,
}

/// What came of a replay.
#[derive(Serialize)]
struct Replayed {
    id: i64,
    state: State,
    /// Columns that newer data had settled.
    left_over: Vec<String>,
    result: Outcome,
}

pub(super) async fn replay(desk: &Desk<'_>, args: &ReplayArgs, json: bool) -> anyhow::Result<ExitCode> {
    match args.id {
        Some(id) => replay_one(desk, id, args.payload.as_deref(), json).await,
        None => replay_many(desk, args, json).await,
    }
}

async fn replay_one(
    desk: &Desk<'_>,
    id: i64,
    payload: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let edited = payload.map(contents).transpose()?;
    let entry = desk.whole(id).await?.entry;
    let waist = Waist::open(desk, &entry.pipeline).await?;
    let result = waist.replayer.one(id, edited).await;
    waist.settle().await?;
    let result = desk.mask(&entry.pipeline, [entry.judged_by], false).await?.outcome(result?);
    let whole = desk.whole(id).await?;
    let replayed = Replayed { id, state: whole.entry.state, left_over: whole.left_over, result };
    print(&if json {
        pretty(&replayed)?
    } else {
        tell::replayed(id, replayed.state, &replayed.left_over, &replayed.result)
    })?;
    Ok(exit(replayed.state == State::Open))
}

async fn replay_many(desk: &Desk<'_>, args: &ReplayArgs, json: bool) -> anyhow::Result<ExitCode> {
    let filter = args.filter.filter(Some(State::Open))?;
    let mut waists = Vec::new();
    for name in desk.config.pipeline.keys() {
        if filter.pipeline.as_ref().is_none_or(|wanted| wanted == name) {
            waists.push(Waist::open(desk, name).await?);
        }
    }
    if let (Some(name), true) = (&filter.pipeline, waists.is_empty()) {
        bail!("no pipeline `{name}` is configured; there is: {}", names(desk));
    }
    let replayers: Vec<Replayer> = waists.iter().map(|waist| waist.replayer.clone()).collect();
    let bulk = bulk::request(&desk.pool, &filter, &who()).await?;
    eprintln!("Replay {}: {} open entries", bulk.id, bulk.total);
    let total = bulk.total;
    let ran = bulk::run(&desk.pool, &bulk, &replayers, |progress| {
        eprintln!("  {} of {total}", progress.done());
    })
    .await;
    for waist in waists {
        waist.settle().await?;
    }
    let progress = ran?;
    let ended: Option<Bulk> = bulk::get(&desk.pool, bulk.id).await?;
    print(&if json { pretty(&ended)? } else { tell::replayed_many(progress, ended.and_then(|e| e.reason)) })?;
    Ok(exit(progress.refused > 0))
}

fn exit(still_refused: bool) -> ExitCode {
    if still_refused { ExitCode::from(STILL_REFUSED) } else { ExitCode::SUCCESS }
}

fn names(desk: &Desk<'_>) -> String {
    desk.config.pipeline.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn contents(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("cannot read the payload from stdin")?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("cannot read the payload {}", file.display()))
}

/// A waist of this process.
struct Waist {
    replayer: Replayer,
    drain: CancellationToken,
    writer: JoinHandle<anyhow::Result<()>>,
}

impl Waist {
    async fn open(desk: &Desk<'_>, name: &str) -> anyhow::Result<Self> {
        let pipeline = desk.config.pipeline.get(name).with_context(|| {
            format!("the entry's pipeline `{name}` is not configured; there is: {}", names(desk))
        })?;
        let known = parts::enroll(&desk.connect, name, pipeline, "quarantine replay").await?;
        reach::tell(known.notice.as_deref());
        let gate = Gate::new(known.contract);
        let metrics = Metrics::new().pipeline(name);
        let settings = parts::waist_settings(name, pipeline, &gate, &desk.connect, &metrics)?;
        let drain = CancellationToken::new();
        let (applier, writer) = Applier::new(settings, Stop { asked: drain.clone(), drain: drain.clone() });
        let writer = tokio::spawn(thread::run(format!("waist-{name}"), writer));
        Ok(Self { replayer: Replayer::new(name, gate, applier, desk.pool.clone()), drain, writer })
    }

    /// Ends it, once what was handed in is settled.
    async fn settle(self) -> anyhow::Result<()> {
        self.drain.cancel();
        drop(self.replayer);
        self.writer.await?
    }
}

/// What came of a decision.
#[derive(Serialize)]
struct Done {
    id: i64,
    state: &'static str,
    bytes_shared_with: i64,
}

pub(super) async fn discard(desk: &Desk<'_>, args: &DecisionArgs, json: bool) -> anyhow::Result<ExitCode> {
    let by = who();
    let decision = decision(&by, args)?;
    let mut conn = desk.pool.acquire().await?;
    let decided = close::discard(&mut conn, args.id, decision).await?;
    done(args.id, decided, "discarded", json)
}

pub(super) async fn purge(desk: &Desk<'_>, args: &DecisionArgs, json: bool) -> anyhow::Result<ExitCode> {
    let by = who();
    let decision = decision(&by, args)?;
    let mut conn = desk.pool.acquire().await?;
    let decided = close::purge(&mut conn, args.id, decision).await?;
    done(args.id, decided, "purged", json)
}

fn decision<'a>(by: &'a str, args: &'a DecisionArgs) -> anyhow::Result<Decision<'a>> {
    let reason = args.because.trim();
    ensure!(!reason.is_empty(), "--because is empty: say why; it is kept");
    Ok(Decision { by, reason })
}

fn done(id: i64, decided: Decided, state: &'static str, json: bool) -> anyhow::Result<ExitCode> {
    let bytes_shared_with = match decided {
        Decided::Done { bytes_shared_with } => bytes_shared_with,
        Decided::Unknown => bail!("there is no quarantine entry {id}: see `accord quarantine list --any`"),
        Decided::Not(is) => bail!("entry {id} is {} already, and so cannot be {state}", is.as_str()),
    };
    let shared = match bytes_shared_with {
        0 => String::new(),
        n => format!("; its bytes stay until the {n} other entries that came in the same body are purged"),
    };
    print(&if json {
        pretty(&Done { id, state, bytes_shared_with })?
    } else {
        format!("entry {id} is {state}{shared}\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
