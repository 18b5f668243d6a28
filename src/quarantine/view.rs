//! What is shown of an entry: everything, but for what the contract calls sensitive.
//!
//! Promises: a field that is classified as anything but `public` or `internal` is masked wherever it can appear:
//! payload, edit, row, violations, history, key. Where a contract has such fields, what cannot be told apart is
//! masked too. Must not know: who looks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::change::{Outcome, Violation};
use crate::contract::gate::record_at;
use crate::contract::{Column, Contract};
use crate::library::history::Event;
use crate::library::quarantine::read::{Closed, Entry, State, Whole};

/// What stands in place of a sensitive value.
pub const MASKED: &str = "(masked)";

/// What stands in place of a message that may hold a sensitive value.
const MASKED_MESSAGE: &str = "(masked: the raw view shows it)";

/// Rules of the database whose messages name constraints and columns, and no values.
const WITHOUT_VALUES: [&str; 10] = [
    "foreignKey",
    "unique",
    "check",
    "notNull",
    "exclusion",
    "timeout",
    "suppressed",
    "required",
    "maxItems",
    "paused",
];

/// What to hide of a pipeline's entries.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Nothing: an operator asked for the raw view.
    Raw,
    /// What this contract calls sensitive.
    By(&'a Contract),
    /// Everything: nobody here knows the contract.
    All,
}

impl Mask<'_> {
    /// Whether anything is hidden at all.
    fn hides(&self) -> bool {
        match self {
            Self::Raw => false,
            Self::By(contract) => contract.columns.iter().any(Column::is_sensitive),
            Self::All => true,
        }
    }

    /// Whether a field, or a column, is known to be harmless.
    fn shows(&self, name: &str) -> bool {
        match self {
            Self::Raw => true,
            Self::All => false,
            Self::By(contract) => {
                let mut named =
                    contract.columns.iter().filter(|c| c.field == name || c.name.as_str() == name);
                named.clone().next().is_some() && !named.any(Column::is_sensitive)
            }
        }
    }

    fn shows_key(&self) -> bool {
        match self {
            Self::Raw => true,
            Self::All => false,
            Self::By(contract) => !contract.has_sensitive_key(),
        }
    }

    /// The entry as it may be listed.
    pub fn entry(&self, entry: Entry) -> Entry {
        if !self.hides() {
            return entry;
        }
        let key = if self.shows_key() { entry.key } else { entry.key.map(|_| MASKED.to_owned()) };
        // What purging left of violations holds no values.
        let violations = match entry.state {
            State::Purged => entry.violations,
            _ => entry.violations.into_iter().map(|v| self.violation(v)).collect(),
        };
        Entry { key, violations, ..entry }
    }

    fn violation(&self, violation: Violation) -> Violation {
        let field = violation.pointer.strip_prefix('/').map(|rest| rest.split('/').next().unwrap_or(rest));
        let is_harmless = match field {
            Some(field) => self.shows(&field.replace("~1", "/").replace("~0", "~")),
            None if violation.rule == "incomplete" => self.shows_key(),
            None => WITHOUT_VALUES.contains(&violation.rule.as_str()),
        };
        if is_harmless {
            return violation;
        }
        let value = violation.value.map(|_| MASKED.to_owned());
        Violation { value, message: MASKED_MESSAGE.to_owned(), ..violation }
    }

    /// An object, its sensitive values masked; anything else is masked as a whole.
    fn object(&self, json: Json) -> Json {
        if !self.hides() {
            return json;
        }
        match json {
            Json::Object(object) => {
                let masked = object.into_iter().map(|(name, value)| {
                    let value = if self.shows(&name) { value } else { MASKED.into() };
                    (name, value)
                });
                Json::Object(masked.collect())
            }
            _ => MASKED.into(),
        }
    }

    fn payload(&self, bytes: &[u8], pointer: &str) -> Payload {
        let record = record_at(bytes, pointer);
        if !self.hides() {
            // The record alone: its neighbours in the body are other entries' business.
            let bytes = record.map_or(bytes, str::as_bytes);
            return match std::str::from_utf8(bytes) {
                Ok(text) => Payload::Text(text.to_owned()),
                Err(_) => Payload::Base64(STANDARD.encode(bytes)),
            };
        }
        let parsed = record.and_then(|text| serde_json::from_str(text).ok());
        match parsed.map(|json| self.object(json)) {
            Some(Json::String(text)) => Payload::Text(text),
            Some(json) => Payload::Text(json.to_string()),
            None => Payload::Text(MASKED.to_owned()),
        }
    }

    /// The events, with sensitive values masked.
    pub fn events(&self, events: Vec<Event>) -> Vec<Event> {
        let masked = events
            .into_iter()
            .map(|event| Event { changes: event.changes.map(|changes| self.changes(changes)), ..event });
        masked.collect()
    }

    /// The ledger's `changes`: each value of a sensitive column is masked, and how many there are is kept.
    fn changes(&self, changes: Json) -> Json {
        let Json::Object(columns) = changes else { return changes };
        let masked = columns.into_iter().map(|(name, what)| {
            let what = match what {
                Json::Array(values) if !self.shows(&name) && self.hides() => {
                    values.into_iter().map(|_| Json::from(MASKED)).collect()
                }
                other => other,
            };
            (name, what)
        });
        Json::Object(masked.collect())
    }

    /// What came of a try, as it may be shown.
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Quarantined { position, id, violations } if self.hides() => {
                let violations = violations.into_iter().map(|v| self.violation(v)).collect();
                Outcome::Quarantined { position, id, violations }
            }
            other => other,
        }
    }

    /// All that is shown of one entry.
    pub fn whole(&self, whole: Whole, history: Vec<Event>) -> View {
        let payload = whole.bytes.as_deref().map(|bytes| self.payload(bytes, &whole.pointer));
        let edit = whole.edit.map(|(bytes, hash)| Edit {
            sha256: format!("{:x}", Bytes::from(hash)),
            payload: self.payload(&bytes, ""),
        });
        let last = whole.last_violations;
        View {
            entry: self.entry(whole.entry),
            masked: self.hides(),
            payload,
            pointer: whole.pointer,
            headers: whole.headers,
            edit,
            row: whole.row.map(|row| self.object(row)),
            last_violations: last.map(|all| all.into_iter().map(|v| self.violation(v)).collect()),
            attempted_at: whole.attempted_at,
            left_over: whole.left_over,
            closed: whole.closed,
            history: self.events(history),
        }
    }
}

/// An entry as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The entry as listed.
    #[serde(flatten)]
    pub entry: Entry,
    /// Sensitive fields are masked.
    pub masked: bool,
    /// The record as it came; none once it is purged.
    pub payload: Option<Payload>,
    /// The record's place in the body.
    pub pointer: String,
    /// The sender's headers that were kept.
    pub headers: Vec<(String, String)>,
    /// The payload that an operator put beside it.
    pub edit: Option<Edit>,
    /// The row as it was; none when there was no row.
    pub row: Option<Json>,
    /// Why the newest attempt was refused.
    pub last_violations: Option<Vec<Violation>>,
    /// When it was tried last.
    pub attempted_at: Option<DateTime<Utc>>,
    /// Columns that newer data had settled when it was released.
    pub left_over: Vec<String>,
    /// How it was closed.
    #[serde(flatten)]
    pub closed: Closed,
    /// What the ledger tells of the row since.
    pub history: Vec<Event>,
}

/// A record's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// As text, where they are text.
    Text(String),
    /// As Base64, where they are not.
    Base64(String),
}

/// A payload that an operator put beside the original one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The hash of its bytes, in hex.
    pub sha256: String,
    /// The bytes.
    pub payload: Payload,
}
