//! Hears what the waist tells of each change, by way of the log that nobody sees.
//!
//! Promises: hears every change, whatever the log's filter. Must not know: how it is told on.

use std::fmt::Debug;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Filtered};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::Registry;

use crate::apply::STORY;

/// What the waist told of one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The row, where it is known.
    pub(super) key: Option<String>,
    /// The outcome's word.
    pub(super) outcome: String,
    /// Its place in the ledger.
    pub(super) position: i64,
    /// From its last byte to its commit.
    pub(super) elapsed_us: i64,
    /// The quarantine entry.
    pub(super) quarantine: Option<i64>,
    /// Why it is in quarantine.
    pub(super) why: String,
}

/// The listener to put beside the log.
pub(super) struct Ear {
    // The rate is that of the demo's own CMS, and each piece is small.
    heard: UnboundedSender<Heard>,
}

type StoryOnly = FilterFn<fn(&Metadata<'_>) -> bool>;

/// An ear, and what it hears.
pub(super) fn ear() -> (Filtered<Ear, StoryOnly, Registry>, UnboundedReceiver<Heard>) {
    let (heard, receiver) = unbounded_channel();
    let of_story: fn(&Metadata<'_>) -> bool =
        |metadata| metadata.target() == STORY && *metadata.level() <= Level::DEBUG;
    (Ear { heard }.with_filter(FilterFn::new(of_story)), receiver)
}

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut heard = Heard::default();
        event.record(&mut heard);
        // Nobody listens any more: the demo is ending.
        let _ = self.heard.send(heard);
    }
}

impl Visit for Heard {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "key" => self.key = Some(value.to_owned()),
            "outcome" => value.clone_into(&mut self.outcome),
            "why" => value.clone_into(&mut self.why),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "position" => self.position = value,
            "elapsed_us" => self.elapsed_us = value,
            "quarantine" => self.quarantine = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_waists_story_is_heard_and_nothing_else() {
        let (ear, mut heard) = ear();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ear), || {
            tracing::error!("something else");
            tracing::debug!(target: STORY, key = Some("7"), outcome = "quarantined", position = 3_i64,
                elapsed_us = 1500_i64, quarantine = Some(2_i64), why = Some("no JSON"), "quarantined");
        });
        let expected = Heard {
            key: Some("7".to_owned()),
            outcome: "quarantined".to_owned(),
            position: 3,
            elapsed_us: 1500,
            quarantine: Some(2),
            why: "no JSON".to_owned(),
        };
        assert_eq!(heard.try_recv().unwrap(), expected);
        assert!(heard.try_recv().is_err());
    }
}
