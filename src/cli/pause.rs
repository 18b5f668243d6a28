//! `accord pause` and `accord resume`.
//!
//! Promises: need no server; every server on the library heeds them from its next change on. Must not know: what is
//! kept, and how it is replayed.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::output::{pretty, print};
use super::reach;
use super::who::who;
use crate::config::Config;
use crate::leader;
use crate::library::pause::{self, LONGEST_REASON, Pause, Paused, Resumed};
use crate::library::session;
use crate::prose;

pub(super) const PAUSING: &str = "\
Examples:
  accord pause fragrances --because 'the CMS is being migrated'
  accord quarantine list --pipeline fragrances --reason paused     what is kept
  accord resume fragrances                                         go on

While a pipeline is paused, nothing of it changes in the library: what senders send is answered with 202 and kept in
quarantine as `paused`; reconciliations that repair, backfills and replays are refused. Comparisons and checks go on.

Exit codes: 0 paused (also when it was before, which is said), 1 error.";

pub(super) const RESUMING: &str = "\
Examples:
  accord resume fragrances                wait until everything is replayed
  accord resume fragrances --no-wait      leave it to the server

What was kept is replayed by the server that leads; without one, as soon as one does. A replay overwrites nothing
newer: what arrives after the pause wins over what was kept in it.

Exit codes: 0 resumed, 3 resumed, and something that was kept is refused for a reason of its own, 1 error.";

/// The flags of `accord pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The pipeline's name, as `accord status` shows it.
    pipeline: String,
    /// Why; it is kept, and shown with whatever the pause keeps.
    #[arg(long, value_name = "TEXT")]
    because: String,
}

/// The flags of `accord resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The pipeline's name, as `accord status` shows it.
    pipeline: String,
    /// Do not wait until what was kept is replayed.
    #[arg(long)]
    no_wait: bool,
}

/// Something that was kept is refused for a reason of its own.
const REFUSED: u8 = 3;

/// How often it is looked how much there is still to replay.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// After so long without a replay nobody is waited for any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a pause comes to.
#[derive(Serialize)]
struct IsPaused<'a> {
    pipeline: &'a str,
    paused: Pause,
    already: bool,
}

/// Pauses a pipeline.
pub async fn pause(args: &PauseArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let name = &args.pipeline;
    let reason = pause::reason(&args.because).with_context(|| {
        format!("--because has to say why, in {LONGEST_REASON} characters at most: it is kept")
    })?;
    let mut conn = library(config).await?;
    let (paused, already) = match pause::pause(&mut conn, name, &who(), reason).await? {
        Paused::Now(pause) => (pause, false),
        Paused::Already(pause) => (pause, true),
        Paused::Unknown => return Err(unknown(&mut conn, config, name).await?),
    };
    print(&if json {
        pretty(&IsPaused { pipeline: name, paused, already })?
    } else if already {
        format!("`{name}` was paused already, {}\n", told(&paused))
    } else {
        format!(
            "`{name}` is paused. What senders send is kept in quarantine as `paused`, and replayed on `accord resume \
             {name}`.\n"
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a resumption comes to.
#[derive(Serialize)]
struct IsResumed<'a> {
    pipeline: &'a str,
    /// The pause that ended; none when there was none.
    was_paused: Option<Pause>,
    /// Changes that were to be replayed.
    kept: i64,
    /// Those of them that still are.
    to_replay: i64,
    /// Those that were refused for a reason of their own.
    refused: i64,
}

/// Resumes a pipeline.
pub async fn resume(args: &ResumeArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let name = &args.pipeline;
    let mut conn = library(config).await?;
    let was_paused = match pause::resume(&mut conn, name).await? {
        Resumed::Now(pause) => Some(pause),
        Resumed::Already => None,
        Resumed::Unknown => return Err(unknown(&mut conn, config, name).await?),
    };
    let kept = pause::kept(&mut conn, name).await?;
    let to_replay = if args.no_wait { kept } else { replayed(&mut conn, name, kept).await? };
    let refused = match &was_paused {
        Some(pause) => pause::refused(&mut conn, name, pause.since).await?,
        None => 0,
    };
    let resumed = IsResumed { pipeline: name, was_paused, kept, to_replay, refused };
    print(&if json { pretty(&resumed)? } else { resumed.readable() })?;
    Ok(if refused > 0 { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

impl IsResumed<'_> {
    fn readable(&self) -> String {
        let name = self.pipeline;
        let mut text = match &self.was_paused {
            Some(pause) => format!("`{name}` goes on; it was paused {}\n", told(pause)),
            None => format!("`{name}` is not paused\n"),
        };
        let changes = |n: i64| prose::count(n.unsigned_abs(), "change");
        if self.kept > self.to_replay {
            let _ = writeln!(text, "{} replayed", changes(self.kept - self.to_replay));
        }
        if self.to_replay > 0 {
            let _ = writeln!(text, "{} to be replayed by the server that leads", changes(self.to_replay));
        }
        if self.refused > 0 {
            let _ = writeln!(
                text,
                "{} refused: see `accord quarantine list --pipeline {name} --reason paused`",
                changes(self.refused)
            );
        }
        text
    }
}

/// Waits, while some process leads, until what was kept is replayed; gives how much is not.
async fn replayed(conn: &mut PgConnection, name: &str, kept: i64) -> anyhow::Result<i64> {
    // A bar on what is no terminal draws nothing.
    let bar = ProgressBar::with_draw_target(Some(kept.unsigned_abs()), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {percent:>3} %  {msg}  {elapsed}") {
        bar.set_style(style.clone());
    }
    bar.set_message("replaying what was kept");
    let mut left = kept;
    let mut moved = Instant::now();
    while left > 0 && moved.elapsed() < PATIENCE {
        if let Some(pause) = pause::read(&mut *conn, name).await? {
            let are = if left == 1 { "is" } else { "are" };
            let left = prose::count(left.unsigned_abs(), "change");
            bail!("`{name}` is paused again {}\n{left} {are} not replayed yet", told(&pause));
        }
        if !leader::is_led(&mut *conn).await? {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let now = pause::kept(&mut *conn, name).await?;
        if now != left {
            (left, moved) = (now, Instant::now());
        }
        bar.set_position((kept - left).unsigned_abs());
    }
    bar.finish_and_clear();
    Ok(left)
}

async fn library(config: &Config) -> anyhow::Result<PgConnection> {
    let connect: PgConnectOptions =
        config.library.url.expose().parse().context("library.url cannot be used")?;
    reach::prepare(&connect, &config.library.url).await?;
    Ok(session::connect_writer(&connect).await?)
}

/// Since when, by whom and why, as the end of a sentence.
fn told(pause: &Pause) -> String {
    let age = prose::age(pause.since, Utc::now());
    let since = pause.since.format("%Y-%m-%d %H:%M:%S UTC");
    format!("since {since} ({age}), by {}: {}", prose::safe(&pause.by), prose::safe(&pause.reason))
}

/// Why there is no such pipeline, and which there are.
async fn unknown(conn: &mut PgConnection, config: &Config, name: &str) -> anyhow::Result<anyhow::Error> {
    if config.pipeline.contains_key(name) {
        return Ok(anyhow::anyhow!(
            "pipeline `{name}` never ran against this library, so there is nothing to pause: run `accord serve`"
        ));
    }
    let names: Vec<String> =
        sqlx::query_scalar("select name from accord.pipeline order by name").fetch_all(conn).await?;
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Ok(anyhow::anyhow!("the library knows no pipeline `{name}`; there is: {names}"))
}
