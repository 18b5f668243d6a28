//! The waist: everything that changes the library passes [`Applier::apply`].
//!
//! Promises: see the seven in ARCHITECTURE.md; an answer is given only after the commit that made it true.
//! Must not know: axum, rdkafka, reqwest, or who is asking.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::change::{Answer, Change};

/// Why a change was not taken. Nothing was written for it; the sender may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests are held as we are willing to hold.
    #[error("too many changes are waiting for the library")]
    Busy,
    /// The library did not take it within the time that a request is held.
    #[error("the library did not take the change in time")]
    TimedOut,
    /// We are shutting down.
    #[error("shutting down")]
    Stopping,
}

/// Why changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gap {
    /// The process started: what came before was not heard.
    Start,
    /// A change was refused (503, 413, an unreadable request).
    Refused,
    /// The library's database was away.
    Outage,
    /// The reference did not answer, so a payload was applied unverified.
    Reference,
    /// The sender was unreachable and came back.
    SenderBack,
    /// We had to register with the sender anew.
    Registration,
}

impl Gap {
    /// The word kept in `accord.pipeline.gap_reason` and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Refused => "refused",
            Self::Outage => "outage",
            Self::Reference => "reference",
            Self::SenderBack => "sender_back",
            Self::Registration => "registration",
        }
    }
}

/// Whether a change can commit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Ready,
    /// Not before the first contact with the database.
    Starting,
    /// The database is away since then.
    Away {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, fit for an operator.
        reason: String,
    },
    /// Every change fails alike, or a statement of ours is refused: an operator has to look.
    Halted {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, fit for an operator.
        reason: String,
    },
}

/// A handle on the waist of one pipeline; cheap to clone.
#[derive(Clone, Debug)]
pub struct Applier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {}

impl Applier {
    /// Hands changes in, in their order, and waits for what became of each.
    pub async fn apply(&self, _changes: Vec<Change>) -> Result<Vec<Answer>, Refused> {
        std::future::pending().await
    }

    /// Remembers that changes may have been missed; written with the next commit.
    pub fn mark_gap(&self, _gap: Gap) {
        let _ = &self.shared;
    }

    /// Whether a change can commit now.
    pub fn health(&self) -> Health {
        Health::Starting
    }

    /// How many requests are waiting.
    pub fn held(&self) -> usize {
        0
    }
}
