//! Quarantine entries in words.
//!
//! Promises: what came from outside cannot steer the terminal.

use std::fmt::Write as _;

use chrono::{DateTime, Local, Utc};

use crate::change::{Outcome, Violation};
use crate::library::quarantine::read::{Before, Entry, State};
use crate::prose::{self, Paint};
use crate::quarantine::bulk::Progress;
use crate::quarantine::view::{Payload, View};

/// Says where a raw view goes: a log of its own would be read by more people.
pub(super) fn raw() {
    eprintln!("Raw view: what follows may hold what the contract calls sensitive.");
}

pub(super) fn list(entries: &[Entry], next: Option<i64>, paint: Paint) -> String {
    if entries.is_empty() {
        return "Nothing is in quarantine that these filters leave.\n".to_owned();
    }
    let now = Utc::now();
    let mut text = String::new();
    for entry in entries {
        let key = entry.key.as_deref().map_or_else(|| "row unknown".to_owned(), |key| format!("#{key}"));
        let _ = writeln!(
            text,
            "{:<6} {} {}  {}  {}{}",
            entry.id,
            entry.pipeline,
            prose::safe(&key),
            word(entry.state, paint),
            paint.dim(&prose::age(entry.at, now)),
            attempts(entry),
        );
        for violation in &entry.violations {
            let _ = writeln!(text, "       {}", violated(violation));
        }
    }
    if let Some(before) = next {
        let _ = writeln!(text, "{}", paint.dim(&format!("There is more: --before {before}")));
    }
    text
}

pub(super) fn whole(view: &View, paint: Paint) -> String {
    let entry = &view.entry;
    let key = entry.key.as_deref().unwrap_or("row unknown");
    let mut text = format!(
        "{}  {}\n",
        paint.bold(&format!("Entry {}: {} #{}", entry.id, entry.pipeline, prose::safe(key))),
        word(entry.state, paint)
    );
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "  {name:<14} {what}");
    };
    line("kept", format!("{} at position {}", instant(entry.at), entry.position));
    line("from", entry.origin.clone());
    if let Some(event) = &entry.event_id {
        line("event", prose::safe(event));
    }
    line("contract", prose::safe(&entry.contract));
    for violation in &entry.violations {
        line("refused", violated(violation));
    }
    for violation in view.last_violations.iter().flatten() {
        line("refused again", violated(violation));
    }
    if entry.attempts > 0 {
        let last = view.attempted_at.map(|at| format!(", the last one {}", instant(at)));
        line("attempts", format!("{}{}", entry.attempts, last.unwrap_or_default()));
    }
    if let Some(at) = entry.next_attempt_at {
        line("next attempt", instant(at));
    }
    if let Some(Before { state, at: Some(at), by, reason, .. }) = &view.closed.before {
        line(state.as_str(), closed(*at, by.as_deref(), reason.as_deref()));
    }
    if let Some(at) = view.closed.at {
        line("closed", closed(at, view.closed.by.as_deref(), view.closed.reason.as_deref()));
    }
    if !view.left_over.is_empty() {
        line("left over", format!("{} (newer data had settled that)", view.left_over.join(", ")));
    }
    if let Some(row) = &view.row {
        line("row then", prose::safe(&row.to_string()));
    }
    line("payload", view.payload.as_ref().map_or_else(|| "(purged)".to_owned(), payload));
    if let Some(edit) = &view.edit {
        line("edited", payload(&edit.payload));
    }
    let _ = writeln!(text, "  since");
    for event in &view.history {
        let changes = event.changes.as_ref().map(|c| prose::safe(&c.to_string())).unwrap_or_default();
        let about = format!("{} from {}", instant(event.at), event.origin);
        let _ = writeln!(
            text,
            "    {:<7} {:<12} {}  {changes}",
            event.position,
            event.outcome,
            paint.dim(&about)
        );
    }
    if view.masked {
        let _ = writeln!(text, "{}", paint.dim("Sensitive fields are masked; --raw shows them."));
    }
    text
}

pub(super) fn replayed(id: i64, state: State, left_over: &[String], result: &Outcome) -> String {
    let left = if left_over.is_empty() {
        String::new()
    } else {
        format!("; newer data had settled {}", left_over.join(", "))
    };
    match result {
        Outcome::Applied { changed, .. } => {
            format!("entry {id} is {}: set {}{left}\n", state.as_str(), changed.join(", "))
        }
        Outcome::Unchanged { .. } => {
            format!("entry {id} is {}: the library already said so{left}\n", state.as_str())
        }
        Outcome::Stale { .. } => format!("entry {id} is {}: nothing was left to set{left}\n", state.as_str()),
        Outcome::Quarantined { violations, .. } => {
            let mut text = format!("entry {id} is refused again, and stays {}\n", state.as_str());
            for violation in violations {
                let _ = writeln!(text, "  {}", violated(violation));
            }
            text
        }
    }
}

pub(super) fn replayed_many(progress: Progress, reason: Option<String>) -> String {
    let Progress { released, superseded, refused, .. } = progress;
    let reason = reason.map(|reason| format!("{}\n", prose::safe(&reason))).unwrap_or_default();
    format!(
        "{released} released, {superseded} superseded by newer data, {refused} refused again and open\n{reason}"
    )
}

fn violated(violation: &Violation) -> String {
    let place = if violation.pointer.is_empty() { "the record" } else { &violation.pointer };
    let value = violation.value.as_deref().map(|value| format!(" ({})", prose::safe(value)));
    format!(
        "{} {}: {}{}",
        prose::safe(place),
        prose::safe(&violation.rule),
        prose::safe(&violation.message),
        value.unwrap_or_default()
    )
}

fn closed(at: DateTime<Utc>, by: Option<&str>, why: Option<&str>) -> String {
    let by = by.map(|by| format!(" by {}", prose::safe(by))).unwrap_or_default();
    let why = why.map(|why| format!(": {}", prose::safe(why))).unwrap_or_default();
    format!("{}{by}{why}", instant(at))
}

fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Text(text) => prose::safe(text),
        Payload::Base64(text) => format!("(not text, in Base64) {text}"),
    }
}

fn attempts(entry: &Entry) -> String {
    match entry.attempts {
        0 => String::new(),
        1 => ", tried once more".to_owned(),
        n => format!(", tried {n} times more"),
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn word(state: State, paint: Paint) -> String {
    match state {
        State::Open => paint.warn("open"),
        State::Released => paint.good("released"),
        other => paint.dim(other.as_str()),
    }
}
