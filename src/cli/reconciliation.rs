//! A reconciliation at a terminal: its progress while it runs, its report when it is done.
//!
//! Promises: progress goes to stderr, and only to a terminal; what came from a database cannot steer it. Must
//! not know: what is compared, or repaired.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::prose::{self, Paint, count};
use crate::reconcile::{Drift, Kind, Progress, Report, Snapshot, Stage, State};

/// How often the bar is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// Does the work, and shows how far it is meanwhile.
pub(super) async fn watched<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    // A bar on what is no terminal draws nothing.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    tokio::pin!(work);
    let done = loop {
        draw(&bar, &progress.snapshot());
        if let Ok(done) = tokio::time::timeout(FRAME, &mut work).await {
            break done;
        }
    };
    bar.finish_and_clear();
    done
}

fn draw(bar: &ProgressBar, now: &Snapshot) {
    let (text, done, of) = match now.stage {
        Stage::Preflight => ("comparing the shapes of both tables".to_owned(), 0, 0),
        Stage::Scan => {
            let expected = count(now.rows_expected, "row");
            // Digests come when a scan is through, so for a while there is nothing to count.
            (format!("scanning about {expected}"), now.rows, now.rows_expected)
        }
        Stage::Leaf => (format!("{}, looking at their keys", count(now.candidates, "candidate")), 0, 0),
        Stage::Confirm => (
            format!("looking twice at {}, {} confirmed", count(now.candidates, "candidate"), now.confirmed),
            now.confirmed,
            now.candidates,
        ),
        Stage::Repair => (format!("repairing {}", count(now.confirmed, "row")), now.repaired, now.confirmed),
        Stage::Fill => (format!("filling {}", count(now.rows_expected, "row")), now.rows, now.rows_expected),
    };
    let template = if done > 0 {
        "{spinner} {bar:30} {percent:>3} %  {msg}  {elapsed}"
    } else {
        "{spinner} {msg}  {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(of.max(done));
    bar.set_position(done);
    bar.set_message(text);
    bar.tick();
}

/// The report for a person.
pub(super) fn readable(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    let word = match report.state {
        State::Clean | State::Repaired => paint.good(word(report.state)),
        State::Drift | State::Held => paint.warn(word(report.state)),
        State::Inconclusive => paint.bad(word(report.state)),
    };
    let _ = writeln!(text, "{word}: {}", summary(report));
    if let Some(reason) = &report.reason {
        let _ = writeln!(text, "{}", prose::safe(reason));
    }
    if report.state != State::Inconclusive {
        let _ = writeln!(text, "{}", paint.dim(&effort(report)));
    }
    if !report.drift.is_empty() {
        let _ = writeln!(text, "\nWhat the source says → what the target says:");
        for drift in &report.drift {
            tell(&mut text, drift, paint);
        }
    }
    let unlisted =
        report.counts.drifted().saturating_sub(u64::try_from(report.drift.len()).unwrap_or_default());
    if unlisted > 0 {
        let _ = writeln!(text, "  … and {}: --all-keys lists them all", count(unlisted, "more row"));
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Clean => "clean",
        State::Drift => "drift",
        State::Repaired => "repaired",
        State::Held => "held",
        State::Inconclusive => "inconclusive",
    }
}

/// What was found, and what came of it, in one sentence.
fn summary(report: &Report) -> String {
    let counts = &report.counts;
    if report.state == State::Inconclusive && counts.drifted() == 0 {
        return "whether the two differ could not be found out".to_owned();
    }
    let mut parts = match counts.drifted() {
        0 => vec!["source and target say the same".to_owned()],
        drifted => {
            let kinds = [(counts.missing, "missing"), (counts.stale, "stale"), (counts.orphan, "orphaned")];
            let kinds = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n} {kind}"));
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            let verb = if drifted == 1 { "differs" } else { "differ" };
            vec![format!("{} {verb} ({kinds})", count(drifted, "row"))]
        }
    };
    let rest =
        [(counts.repaired, "repaired"), (counts.held, "held back"), (counts.in_flight, "still changing")];
    parts.extend(rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    parts.join(", ")
}

/// What it took to find out.
fn effort(report: &Report) -> String {
    let Report { rows, bytes, candidates, seconds, .. } = report;
    let kib = (bytes.source + bytes.target).div_ceil(1024);
    let mut text = format!(
        "{} in the source, {} in the target; {}, {kib} KiB received, {seconds:.1} s",
        count(rows.source, "row"),
        count(rows.target, "row"),
        count(*candidates, "candidate"),
    );
    if let Some(buckets) = report.dirty_buckets {
        let _ = write!(text, ", {}", count(buckets, "dirty bucket"));
    }
    text
}

fn tell(text: &mut String, drift: &Drift, paint: Paint) {
    let kind = match drift.kind {
        Kind::Missing => "missing",
        Kind::Stale => "stale",
        Kind::Orphan => "orphan",
    };
    let row = format!("{} #{}", prose::safe(&drift.table), prose::safe(&drift.key));
    let _ = writeln!(text, "  {}  {}", paint.warn(&format!("{kind:<7}")), paint.bold(&row));
    let width = drift.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or_default();
    for column in &drift.columns {
        let (source, target) = prose::change(&column.source, &column.target);
        let _ = writeln!(text, "           {:<width$}  {source} → {target}", prose::safe(&column.name));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reconcile::{Bytes, ChangedColumn, Counts, Rows};

    fn report(state: State, counts: Counts, drift: Vec<Drift>) -> Report {
        Report {
            state,
            counts,
            rows: Rows { source: 1_000_000, target: 999_999 },
            dirty_buckets: Some(2),
            candidates: 3,
            drift,
            reason: None,
            seconds: 1.25,
            bytes: Bytes { source: 470_000, target: 470_000 },
        }
    }

    fn row(key: &str, kind: Kind, columns: Vec<ChangedColumn>) -> Drift {
        Drift { table: "fragrances".to_owned(), key: key.to_owned(), kind, columns }
    }

    #[test]
    fn a_report_shows_both_values_of_what_differs() {
        let columns = vec![
            ChangedColumn { name: "cost".to_owned(), source: json!(12.5), target: json!(null) },
            ChangedColumn { name: "name".to_owned(), source: json!("Iris\u{1b}[2J"), target: json!("Iris") },
        ];
        let drift = vec![row("4254", Kind::Stale, columns), row("7", Kind::Missing, Vec::new())];
        let counts = Counts { stale: 1, missing: 2, in_flight: 1, ..Counts::default() };
        insta::assert_snapshot!(readable(&report(State::Drift, counts, drift), Paint::plain()), @r"
        drift: 3 rows differ (2 missing, 1 stale), 1 still changing
        1,000,000 rows in the source, 999,999 rows in the target; 3 candidates, 918 KiB received, 1.2 s, 2 dirty buckets

        What the source says → what the target says:
          stale    fragrances #4254
                   cost  12.5 → nothing
                   name  “Iris\u{1b}[2J” → “Iris”
          missing  fragrances #7
          … and 1 more row: --all-keys lists them all
        ");
    }

    #[test]
    fn a_clean_report_is_short() {
        insta::assert_snapshot!(readable(&report(State::Clean, Counts::default(), Vec::new()), Paint::plain()), @"
        clean: source and target say the same
        1,000,000 rows in the source, 999,999 rows in the target; 3 candidates, 918 KiB received, 1.2 s, 2 dirty buckets
        ");
    }

    #[test]
    fn what_could_not_be_found_out_says_why() {
        let report = Report {
            reason: Some("the source is a standby".to_owned()),
            ..report(State::Inconclusive, Counts::default(), Vec::new())
        };
        insta::assert_snapshot!(readable(&report, Paint::plain()), @"
        inconclusive: whether the two differ could not be found out
        the source is a standby
        ");
    }
}
