//! Tells a person what became of each change, one log line each.
//!
//! Promises: costs nothing unless somebody listens (`accord::story` at debug level). Must not know: outcomes
//! beyond what the answer says.

use chrono::Utc;

use crate::apply::batch::Settled;
use crate::change::{Change, Outcome};

/// The log target of the story.
pub const STORY: &str = "accord::story";

/// Logs a line for each change of a committed batch.
pub(super) fn tell(pipeline: &str, batch: &[&Change], settled: &[Settled]) {
    if !tracing::enabled!(target: STORY, tracing::Level::DEBUG) {
        return;
    }
    let now = Utc::now();
    for (change, Settled { answer, op }) in batch.iter().zip(settled) {
        let again = if answer.duplicate { " (a repeat)" } else { "" };
        let sentence = match &answer.outcome {
            Outcome::Applied { .. } if *op == Some("delete") => "deleted",
            Outcome::Applied { .. } => "applied",
            Outcome::Unchanged { .. } => "unchanged: the library already said so",
            Outcome::Stale { .. } => "stale: something newer is known",
            Outcome::Quarantined { .. } => "quarantined",
        };
        let (mut changed, mut quarantine, mut why) = (None, None, None);
        match &answer.outcome {
            Outcome::Applied { changed: columns, .. } => changed = Some(columns.join(", ")),
            Outcome::Quarantined { id, violations, .. } => {
                quarantine = Some(*id);
                why = violations.first().map(|violation| violation.message.as_str());
            }
            Outcome::Unchanged { .. } | Outcome::Stale { .. } => {}
        }
        tracing::debug!(
            target: STORY,
            pipeline,
            key = change.intent.key().map(|key| &**key.text()),
            origin = change.origin.as_str(),
            outcome = answer.outcome.as_str(),
            position = answer.outcome.position(),
            // From its last byte to its commit.
            elapsed_us = (now - change.body.received_at).num_microseconds().unwrap_or_default().max(0),
            changed,
            quarantine,
            why,
            "{sentence}{again}"
        );
    }
}
