//! Hears what is told of each change and of each comparison, by way of the log that nobody sees.
//!
//! Promises: hears all of them, whatever the log's filter. Must not know: how it is told on.

use std::fmt::Debug;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Filtered};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::Registry;

use crate::apply::STORY;

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// By the waist, of one change.
    Change(Change),
    /// By the reconciler, of one run.
    Run(Run),
}

/// What became of one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The row, where it is known.
    pub(super) key: Option<String>,
    /// The word for who handed it in.
    pub(super) origin: String,
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

/// What a comparison of both sides came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// The word for how it ended.
    pub(super) state: String,
    /// Rows of the reference.
    pub(super) rows: u64,
    /// Rows that differed.
    pub(super) drifted: u64,
    /// Rows brought in accord.
    pub(super) repaired: u64,
    /// Why it did not end well.
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
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { is_run, change, run } = fields;
        let heard = if is_run { Heard::Run(run) } else { Heard::Change(change) };
        // Nobody listens any more: the demo is ending.
        let _ = self.heard.send(heard);
    }
}

/// The fields of an event, of whichever kind it turns out to be.
#[derive(Default)]
struct Fields {
    is_run: bool,
    change: Change,
    run: Run,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let Self { change, run, .. } = self;
        match field.name() {
            "key" => change.key = Some(value.to_owned()),
            "origin" => value.clone_into(&mut change.origin),
            "outcome" => value.clone_into(&mut change.outcome),
            "state" => value.clone_into(&mut run.state),
            "why" => {
                value.clone_into(&mut change.why);
                value.clone_into(&mut run.why);
            }
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "run" => self.is_run = true,
            "position" => self.change.position = value,
            "elapsed_us" => self.change.elapsed_us = value,
            "quarantine" => self.change.quarantine = Some(value),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows" => self.run.rows = value,
            "drifted" => self.run.drifted = value,
            "repaired" => self.run.repaired = value,
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
    fn the_story_is_heard_and_nothing_else() {
        let (ear, mut heard) = ear();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ear), || {
            tracing::error!("something else");
            tracing::debug!(target: STORY, key = Some("7"), origin = "webhook", outcome = "quarantined", position = 3_i64,
                elapsed_us = 1500_i64, quarantine = Some(2_i64), why = Some("no JSON"), "quarantined");
            tracing::debug!(target: STORY, run = 4_i64, state = "held", rows = 5_u64, drifted = 2_u64,
                repaired = 1_u64, why = Some("too many"), "compared");
        });
        let change = Change {
            key: Some("7".to_owned()),
            origin: "webhook".to_owned(),
            outcome: "quarantined".to_owned(),
            position: 3,
            elapsed_us: 1500,
            quarantine: Some(2),
            why: "no JSON".to_owned(),
        };
        assert_eq!(heard.try_recv().unwrap(), Heard::Change(change));
        let (state, why) = ("held".to_owned(), "too many".to_owned());
        let run = Run { state, rows: 5, drifted: 2, repaired: 1, why };
        assert_eq!(heard.try_recv().unwrap(), Heard::Run(run));
        assert!(heard.try_recv().is_err());
    }
}
