//! `accord history PIPELINE KEY`: what happened to one row.
//!
//! Promises: tells what the ledger holds, in its order. Must not know: how it got there.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::ensure;
use chrono::Local;
use clap::Args;
use clap::value_parser;
use serde::Serialize;
use serde_json::Value;

use super::output::{pretty, print};
use super::reach;
use crate::config::Config;
use crate::library::history::{self, Event};
use crate::prose::{self, Paint};
use crate::quarantine::{Mask, Masks};
use crate::serve::parts::Judge;

/// The flags of `accord history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The pipeline's name, as `accord status` shows it.
    pipeline: String,
    /// The row's key, such as 4254; a JSON array of them where the key has several columns.
    key: String,
    /// Show this many of the latest events.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = value_parser!(i64).range(1..=100_000))]
    limit: i64,
    /// Show what the contract calls sensitive, too.
    #[arg(long)]
    raw: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct History<'a> {
    pipeline: &'a str,
    key: &'a str,
    events: &'a [Event],
}

/// Prints the row's latest events, oldest first.
pub async fn run(args: &HistoryArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let HistoryArgs { pipeline, key, limit, raw } = args;
    let mut conn = reach::prepared_library(config).await?;
    let names: Vec<String> =
        sqlx::query_scalar("select name from accord.pipeline order by name").fetch_all(&mut conn).await?;
    ensure!(
        names.contains(pipeline),
        "no pipeline `{pipeline}` ever ran against this library; {}",
        if names.is_empty() { "none did".to_owned() } else { format!("there is: {}", names.join(", ")) }
    );
    let events = history::of_key(&mut conn, pipeline, key, *limit).await?;
    let configured = config.pipeline.get(pipeline);
    let contract = match configured {
        Some(configured) => Some(Arc::new(Judge::of(&mut conn, pipeline, configured).await?.contract)),
        None => None,
    };
    let judged_by = events.iter().map(|event| event.judged_by);
    let mask =
        if *raw { Mask::Raw } else { Masks::default().of(&mut conn, contract.as_ref(), judged_by).await? };
    let events = mask.events(events);
    let history = History { pipeline, key, events: &events };
    print(&if json { pretty(&history)? } else { history.readable(Paint::stdout()) })?;
    Ok(ExitCode::SUCCESS)
}

impl History<'_> {
    fn readable(&self, paint: Paint) -> String {
        let row = format!("{} #{}", self.pipeline, prose::safe(self.key));
        if self.events.is_empty() {
            return format!("Nothing is known of {row}: the ledger names no change of it.\n");
        }
        let mut text = format!("{}\n", paint.bold(&row));
        for event in self.events {
            tell(&mut text, event, paint);
        }
        text
    }
}

fn tell(text: &mut String, event: &Event, paint: Paint) {
    let outcome = match event.outcome.as_str() {
        "applied" => paint.good(&event.outcome),
        "quarantined" => paint.warn(&event.outcome),
        other => other.to_owned(),
    };
    let op = event.op.as_deref().map(|op| format!(" {op}")).unwrap_or_default();
    let at = event.at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S");
    let mut about = format!("from {}, contract {}", event.origin, prose::safe(&event.contract));
    if let Some(id) = &event.event_id {
        let _ = write!(about, ", event {}", prose::safe(id));
    }
    if let Some(entry) = event.quarantine {
        let _ = write!(about, ", quarantine entry {entry}");
    }
    let _ = writeln!(text, "\n#{}  {at}  {outcome}{op}  {}", event.position, paint.dim(&about));
    let Some(Value::Object(columns)) = &event.changes else { return };
    let width = columns.keys().map(|column| column.chars().count()).max().unwrap_or_default();
    for (column, what) in columns {
        let column = format!("{:<width$}", prose::safe(column));
        let line = match what.as_array().map(Vec::as_slice) {
            Some([from, to]) => {
                let (from, to) = prose::change(from, to);
                format!("{column}  {from} → {to}")
            }
            Some([value]) => paint.dim(&format!("{column}  {} (confirmed)", prose::value(value))),
            _ => continue,
        };
        let _ = writeln!(text, "    {line}");
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;

    use super::*;

    fn event(outcome: &str, op: Option<&str>, changes: Option<Value>) -> Event {
        Event {
            position: 17,
            at: Utc::now(),
            outcome: outcome.to_owned(),
            origin: "webhook".to_owned(),
            op: op.map(str::to_owned),
            changes,
            contract: "1.0.0".to_owned(),
            judged_by: 1,
            event_id: None,
            quarantine: None,
        }
    }

    #[test]
    fn an_event_tells_what_was_set_and_what_was_confirmed() {
        let changes = json!({"name": ["Iris", "IrisHOOO"], "cost": [12.50], "forbidden": [false, true]});
        let applied = event("applied", Some("update"), Some(changes));
        let refused = Event {
            event_id: Some("e-1".to_owned()),
            quarantine: Some(3),
            ..event("quarantined", None, None)
        };
        let time = applied.at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string();
        let events = [applied, refused];
        let history = History { pipeline: "fragrances", key: "4254", events: &events };
        let text = history.readable(Paint::plain()).replace(&time, "TIME");
        insta::assert_snapshot!(text, @"
        fragrances #4254

        #17  TIME  applied update  from webhook, contract 1.0.0
            cost       12.5 (confirmed)
            forbidden  no → yes
            name       “Iris” → “IrisHOOO”

        #17  TIME  quarantined  from webhook, contract 1.0.0, event e-1, quarantine entry 3
        ");
    }
}
