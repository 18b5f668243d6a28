//! The vocabulary of the waist: what a source hands in (`Change`) and what comes back (`Outcome`).
//!
//! Promises: plain data, no I/O; every value is exact. Must not know: where a change came from beyond the
//! name of its origin, nor how it is stored.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::value::Value;

/// The primary key of one row, in the order of the contract's key columns.
///
/// Equality and hashing go by the canonical text, which is also how the ledger names the row.
#[derive(Clone, Debug)]
pub struct Key {
    values: Vec<Value>,
    text: Arc<str>,
}

impl Key {
    /// A key from its values in contract order.
    pub fn new(values: Vec<Value>) -> Self {
        let text = match values.as_slice() {
            [one] => one.key_text().into(),
            many => {
                let parts: Vec<_> = many.iter().map(Value::key_text).collect();
                serde_json::Value::from(parts).to_string().into()
            }
        };
        Self { values, text }
    }

    /// The key's values, in the order of the contract's key columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// How the ledger and people write this key: `4254`, or `["eu","4254"]` when it is composite.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The fields that a change carries: (column of the contract, value), without the key.
///
/// A column that is not in the list is *absent*, which is not the same as null.
pub type Fields = Vec<(usize, Value)>;

/// Who handed the change in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A sender called the pipeline's webhook.
    Webhook,
    /// An operator replayed a quarantine entry.
    Replay,
    /// The reconciler repaired drift.
    Reconcile,
    /// The first fill of an empty library.
    Backfill,
}

impl Origin {
    /// The word used in the ledger, in logs and as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Replay => "replay",
            Self::Reconcile => "reconcile",
            Self::Backfill => "backfill",
        }
    }
}

/// The bytes as they came, shared by all changes of one body and stored once.
#[derive(Debug)]
pub struct Body {
    /// The original bytes, whatever they are.
    pub bytes: bytes::Bytes,
    /// The sender's headers worth keeping, without secrets.
    pub headers: Vec<(String, String)>,
    /// When the last byte arrived.
    pub received_at: DateTime<Utc>,
}

impl Body {
    /// A body that arrived now.
    pub fn new(bytes: impl Into<bytes::Bytes>, headers: Vec<(String, String)>) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into(), headers, received_at: Utc::now() })
    }

    /// The address of these bytes in the body store.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

/// What a change wants done.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Set the fields it carries; insert the row when it is new.
    Upsert {
        /// Which row.
        key: Key,
        /// What to set.
        fields: Fields,
    },
    /// Remove the row.
    Delete {
        /// Which row.
        key: Key,
    },
    /// Make the row what the reference says, read afresh under the lock. Without an answer nothing is done.
    Follow {
        /// Which row.
        key: Key,
        /// Whether a row that the reference no longer has may be removed.
        may_delete: bool,
    },
    /// The gate refused it: straight to quarantine, with the reasons.
    Refused {
        /// Which row, where that much could be read.
        key: Option<Key>,
        /// Why.
        violations: Vec<Violation>,
    },
}

impl Intent {
    /// The row it speaks of, where that is known.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Upsert { key, .. } | Self::Delete { key } | Self::Follow { key, .. } => Some(key),
            Self::Refused { key, .. } => key.as_ref(),
        }
    }
}

/// One change on its way through the waist.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it wants.
    pub intent: Intent,
    /// Who handed it in.
    pub origin: Origin,
    /// The sender's id for it: the same id is applied once.
    pub event_id: Option<Arc<str>>,
    /// The bytes it was read from.
    pub body: Arc<Body>,
    /// JSON pointer of the record within the body; empty for the whole.
    pub pointer: String,
    /// The quarantine entry that this is another try of. Then it sets only what nothing newer has settled, and
    /// what becomes of it becomes of the entry.
    pub replays: Option<Replay>,
}

/// Another try of a quarantine entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The entry.
    pub entry: i64,
    /// The body is not the entry's own: it is kept beside it.
    pub edited: bool,
}

/// One reason why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Violation {
    /// JSON pointer into the record; empty for the record as a whole.
    pub pointer: String,
    /// The rule that it breaks, a stable word: `type`, `required`, `maxLength`, `check`, …
    pub rule: String,
    /// The offending value, cut to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
    /// The sentence for a person.
    pub message: String,
}

impl Violation {
    /// The longest value shown, in characters.
    pub const VALUE_LIMIT: usize = 200;

    /// A violation about the record as a whole.
    pub fn record(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: String::new(), rule: rule.into(), value: None, message: message.into() }
    }

    /// A violation about one place of the record.
    pub fn at(
        pointer: impl Into<String>,
        rule: impl Into<String>,
        value: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            rule: rule.into(),
            value: Some(Self::cut(value)),
            message: message.into(),
        }
    }

    /// Cuts a value to what we show, and makes it storable: Postgres has no place for NUL in text.
    pub fn cut(value: &str) -> String {
        let mut kept: String = value
            .chars()
            .take(Self::VALUE_LIMIT)
            .map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        if value.chars().nth(Self::VALUE_LIMIT).is_some() {
            kept.pop();
            kept.push('…');
        }
        kept
    }
}

/// What became of a change. It is answered only after the commit that made it so.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The library changed.
    Applied {
        /// Its place in the pipeline's ledger.
        position: i64,
        /// The columns that got another value.
        changed: Vec<String>,
    },
    /// The library already said so.
    Unchanged {
        /// Its place in the pipeline's ledger.
        position: i64,
    },
    /// Something newer is known; nothing was done.
    Stale {
        /// Its place in the pipeline's ledger.
        position: i64,
    },
    /// Kept aside with its original bytes until it can be released.
    Quarantined {
        /// Its place in the pipeline's ledger.
        position: i64,
        /// The quarantine entry.
        id: i64,
        /// Why.
        violations: Vec<Violation>,
    },
}

impl Outcome {
    /// The word used in answers, the ledger and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged { .. } => "unchanged",
            Self::Stale { .. } => "stale",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// Its place in the pipeline's ledger.
    pub fn position(&self) -> i64 {
        match self {
            Self::Applied { position, .. }
            | Self::Unchanged { position }
            | Self::Stale { position }
            | Self::Quarantined { position, .. } => *position,
        }
    }
}

/// An outcome as answered: a repeat of an event id gets the original outcome, marked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What became of the change.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// True when this event id was seen before and nothing was done now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}
