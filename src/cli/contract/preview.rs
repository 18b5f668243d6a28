//! `accord contract preview FILE`: what would a new contract mean for what is stored?
//!
//! Promises: only reads; exits 3 when something newly fails. Must not know: how anything is judged.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use super::{pretty, print};
use crate::cli::reach;
use crate::config::{Config, Pipeline};
use crate::contract::Contract;
use crate::preview::{self, Preview, Progress, Quarantine, Stage, Subject, Tally};
use crate::prose::{self, Paint, count};
use crate::serve::parts::Judge;

pub(super) const EXAMPLES: &str = "\
Examples:
  accord contract preview contracts/fragrances.yaml
  accord contract preview next.yaml --pipeline fragrances --since 30days --json

Judged by the new contract, beside the one in force: every row of the library, the table as a whole, changes accepted
lately (the sender is likely to send such again), and what waits in quarantine. What fails under both is no news.
Keys are shown, and no values.

Exit codes: 0 nothing newly fails; 3 rows, accepted changes or checks of severity error would, or table and contract
disagree; 1 error.";

/// How often the bar is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// Something newly fails.
pub(super) const FAILS: u8 = 3;

/// The flags of `accord contract preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The new document, YAML of the Open Data Contract Standard.
    file: PathBuf,
    /// The pipeline whose changes it would judge; may be left out where the document fits exactly one.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Judge changes that were accepted within this time, the newest 100,000 at most.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "7days")]
    since: Duration,
}

/// Previews, prints, and exits by what was found.
pub(super) async fn run(args: &PreviewArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let (name, pipeline) = match &args.pipeline {
        Some(name) => (name.as_str(), crate::cli::pipeline(config, name)?),
        None => the_one(config, &args.file)?,
    };
    let proposed = Contract::load(&args.file, pipeline.table.as_deref())?;
    let judge = Judge::of(&mut reach::prepared_library(config).await?, name, pipeline).await?;
    let preview = made(config, name, Arc::new(judge.contract), Arc::new(proposed), args.since).await?;
    print(&if json { pretty(&preview)? } else { readable(&preview, Paint::stdout()) })?;
    Ok(if preview.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILS) })
}

/// Makes the preview, and shows how far it is meanwhile.
pub(super) async fn made(
    config: &Config,
    pipeline: &str,
    active: Arc<Contract>,
    proposed: Arc<Contract>,
    since: Duration,
) -> anyhow::Result<Preview> {
    let connect = config.library.url.expose().parse().context("library.url cannot be used")?;
    let newest = preview::NEWEST;
    let subject = Subject { connect: &connect, pipeline, active, proposed, since, newest };
    let progress = watch::Sender::new(Progress::default());
    // A bar on what is no terminal draws nothing.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut work = Box::pin(preview::preview(&subject, &progress));
    let made = loop {
        draw(&bar, *progress.borrow());
        if let Ok(made) = tokio::time::timeout(FRAME, &mut work).await {
            break made;
        }
    };
    bar.finish_and_clear();
    Ok(made?)
}

fn draw(bar: &ProgressBar, Progress { stage, done, of }: Progress) {
    let text = match stage {
        Stage::Shape => "comparing the table with the contracts".to_owned(),
        Stage::Rows => format!("judging {}", count(done, "row")),
        Stage::Changes => format!("judging {}", count(done, "recent change")),
        Stage::Quarantine => format!("judging {} of the quarantine", count(done, "record")),
        Stage::Checks => "measuring the table as a whole".to_owned(),
    };
    let template = if of.is_some() {
        "{spinner} {bar:30} {percent:>3} %  {msg}  {elapsed}"
    } else {
        "{spinner} {msg}  {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(of.unwrap_or_default().max(done));
    bar.set_position(done);
    bar.set_message(text);
    bar.tick();
}

/// The one configured pipeline whose contract is about the same thing as this document.
fn the_one<'a>(config: &'a Config, file: &Path) -> anyhow::Result<(&'a str, &'a Pipeline)> {
    let source = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the contract {}", file.display()))?;
    let origin = file.display().to_string();
    let fits = |pipeline: &Pipeline| {
        let table = pipeline.table.as_deref();
        let proposed = Contract::parse(&source, &origin, table).ok()?;
        let configured = Contract::load(&pipeline.contract, table).ok()?;
        let is_same = configured.name == proposed.name
            || (&configured.schema, &configured.table) == (&proposed.schema, &proposed.table);
        is_same.then_some(())
    };
    let fitting: Vec<_> = config.pipeline.iter().filter(|(_, pipeline)| fits(pipeline).is_some()).collect();
    match fitting.as_slice() {
        [(name, pipeline)] => Ok((name, pipeline)),
        [] => {
            // What is wrong with the document is better news than that it fits nothing.
            let only = config.pipeline.values().next().and_then(|pipeline| pipeline.table.as_deref());
            Contract::parse(&source, &origin, only)?;
            bail!(
                "the document has neither name nor table of a configured pipeline's contract: say --pipeline"
            )
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            bail!("the document fits several pipelines: say --pipeline with one of {}", names.join(", "))
        }
    }
}

/// The preview for a person.
pub(super) fn readable(preview: &Preview, paint: Paint) -> String {
    let mut text = String::new();
    let Preview { pipeline, active, proposed, failures, notes, rows, changes, quarantine, .. } = preview;
    let heading = format!("{pipeline}: version {} → {}", active.version, proposed.version);
    let _ = writeln!(text, "{}", paint.bold(&prose::safe(&heading)));
    for failure in failures {
        let _ = writeln!(text, "{}  {}", paint.bad("FAIL"), prose::safe(failure));
    }
    for note in notes {
        let _ = writeln!(text, "{}  {}", paint.warn("note"), prose::safe(note));
    }
    if active.hash == proposed.hash {
        let _ = writeln!(text, "This is the contract in force.");
    }
    let _ = match rows {
        Some(rows) => writeln!(text, "rows        {}", judged(rows, "row")),
        None => writeln!(text, "rows        not judged: table and contract disagree"),
    };
    let cut = if changes.cut { "; there were more, only the newest were judged" } else { "" };
    let since = changes.since.format("%Y-%m-%d %H:%M UTC");
    let _ = writeln!(text, "changes     {} (since {since}{cut})", judged(&changes.tally, "accepted change"));
    let _ = writeln!(text, "quarantine  {}", prose::safe(&waiting(quarantine)));
    text
}

fn judged(tally: &Tally, noun: &str) -> String {
    let Tally { judged, would_fail, fail_already, would_pass, .. } = tally;
    let mut text = format!("{} judged, {would_fail} would now fail", count(*judged, noun));
    for (count, what) in [(fail_already, "fail under both"), (would_pass, "fail now and would pass")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn waiting(quarantine: &Quarantine) -> String {
    let Quarantine { open, would_pass, passing, still_refused, waiting, .. } = quarantine;
    let mut text = format!("{open} open, {would_pass} would pass");
    if !passing.is_empty() {
        let ids: Vec<String> = passing.iter().map(|entry| entry.id.to_string()).collect();
        let more = if ids.len() as u64 == *would_pass { "" } else { ", …" };
        let _ = write!(text, " (entries {}{more})", ids.join(", "));
    }
    let _ = write!(text, ", {still_refused} would still be refused");
    for wait in waiting {
        let _ = write!(text, ", {} wait otherwise ({})", wait.count, wait.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::preview::{Broken, Changes, Document, Entry, Waiting};

    #[test]
    fn a_person_sees_what_would_fail_and_what_would_pass() {
        let document = |version: &str| Document {
            name: "fragrances".to_owned(),
            version: version.to_owned(),
            hash: version.to_owned(),
        };
        let broken = Broken {
            rule: "minimum".to_owned(),
            field: Some("cost".to_owned()),
            count: 214,
            keys: vec!["7".to_owned(), "9".to_owned()],
        };
        let rows =
            Tally { judged: 5000, would_fail: 214, fail_already: 3, would_pass: 0, broken: vec![broken] };
        let entry = Entry { id: 17, key: None };
        let preview = Preview {
            pipeline: "fragrances".to_owned(),
            active: document("1.0.0"),
            proposed: document("1.1.0"),
            failures: vec!["214 rows would now fail rule minimum of cost (keys 7, 9, …)".to_owned()],
            notes: vec!["check x would now warn: 3 rows".to_owned()],
            disagreements: Vec::new(),
            rows: Some(rows),
            checks: None,
            changes: Changes {
                tally: Tally { judged: 12, ..Tally::default() },
                since: DateTime::UNIX_EPOCH,
                cut: false,
            },
            quarantine: Quarantine {
                open: 40,
                would_pass: 37,
                passing: vec![entry],
                still_refused: 1,
                refused: Vec::new(),
                waiting: vec![Waiting { reason: "foreignKey".to_owned(), count: 2 }],
            },
        };
        insta::assert_snapshot!(readable(&preview, Paint::plain()), @"
        fragrances: version 1.0.0 → 1.1.0
        FAIL  214 rows would now fail rule minimum of cost (keys 7, 9, …)
        note  check x would now warn: 3 rows
        rows        5,000 rows judged, 214 would now fail, 3 fail under both
        changes     12 accepted changes judged, 0 would now fail (since 1970-01-01 00:00 UTC)
        quarantine  40 open, 37 would pass (entries 17, …), 1 would still be refused, 2 wait otherwise (foreignKey)
        ");
    }
}
