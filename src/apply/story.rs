//! Tells a person what became of each change, one log line each.
//!
//! Promises: costs nothing unless somebody listens (`accord::story` at debug level). Must not know: outcomes
//! beyond what the answer says.

use crate::change::{Answer, Change, Intent, Outcome};

/// The log target of the story.
pub const STORY: &str = "accord::story";

/// Logs a line for each change of a committed batch.
pub(super) fn tell(pipeline: &str, batch: &[&Change], answers: &[Answer]) {
    if !tracing::enabled!(target: STORY, tracing::Level::DEBUG) {
        return;
    }
    for (change, answer) in batch.iter().zip(answers) {
        let key = change.intent.key().map_or("?", |key| &**key.text());
        let origin = change.origin.as_str();
        let again = if answer.duplicate { " (a repeat)" } else { "" };
        match &answer.outcome {
            Outcome::Applied { position, changed } => {
                let what = if matches!(change.intent, Intent::Delete { .. }) { "deleted" } else { "applied" };
                tracing::debug!(target: STORY, pipeline, key, origin, position, changed = changed.join(", "), "{what}{again}");
            }
            Outcome::Unchanged { position } => {
                tracing::debug!(target: STORY, pipeline, key, origin, position, "unchanged: the library already said so{again}");
            }
            Outcome::Stale { position } => {
                tracing::debug!(target: STORY, pipeline, key, origin, position, "stale: something newer is known{again}");
            }
            Outcome::Quarantined { position, id, violations } => {
                let why = violations.first().map_or("", |v| v.message.as_str());
                tracing::debug!(target: STORY, pipeline, key, origin, position, quarantine = id, why, "quarantined{again}");
            }
        }
    }
}
