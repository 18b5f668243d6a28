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
        let Ok(answer) = answer else { continue };
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::change::{Answer, Body, Intent, Key, Origin};
    use crate::value::Value;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is told of a change that was applied in this way.
    fn told(intent: Intent, op: &'static str) -> String {
        let body = Body::new("null", Vec::new());
        let change = Change {
            intent,
            origin: Origin::Reconcile,
            event_id: None,
            body,
            pointer: String::new(),
            replays: None,
        };
        let outcome = Outcome::Applied { position: 1, changed: Vec::new() };
        let settled = Settled { answer: Ok(Answer { outcome, duplicate: false }), op: Some(op) };
        let log = Log::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || written.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || tell("items", &[&change], &[settled]));
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn deleted_is_said_of_what_was_deleted_whatever_the_change_wished() {
        let key = Key::new(vec![Value::Int(1)]);
        let follow = Intent::Follow { key: key.clone(), may_delete: true };
        assert!(told(follow.clone(), "delete").contains(" deleted "));
        assert!(told(follow, "update").contains(" applied "));
        // The sender was wrong: the reference still has the row.
        assert!(told(Intent::Delete { key }, "update").contains(" applied "));
    }
}
