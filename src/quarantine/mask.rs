//! What contracts call sensitive, hidden wherever it stands.
//!
//! Promises: a field that any contract concerned classifies as anything but `public` or `internal` is masked wherever
//! it can appear: payload, edit, row, violations, history, key. Where such a contract has such fields, what cannot be
//! told apart is masked too: a field that no contract names, bytes that are no record. Where none has, everything is
//! shown as it came. Must not know: who looks.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::change::{Outcome, Violation};
use crate::contract::{Column, Contract};
use crate::library::history::Event;
use crate::library::quarantine::read::{Entry, State};

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

/// What to hide of what contracts have judged.
#[derive(Clone, Debug)]
pub enum Mask {
    /// Nothing: an operator asked for the raw view.
    Raw,
    /// What any of these contracts calls sensitive.
    By(Vec<Arc<Contract>>),
    /// Everything: nobody here knows the contract.
    All,
}

impl Mask {
    /// Whether anything is hidden at all.
    pub(super) fn hides(&self) -> bool {
        match self {
            Self::Raw => false,
            Self::By(contracts) => {
                contracts.iter().any(|contract| contract.columns.iter().any(Column::is_sensitive))
            }
            Self::All => true,
        }
    }

    /// Whether a field, or a column, is known to be harmless: one contract at least names it, and none calls it
    /// sensitive.
    fn shows(&self, name: &str) -> bool {
        match self {
            Self::Raw => true,
            Self::All => false,
            Self::By(contracts) => {
                let columns = contracts.iter().flat_map(|contract| &contract.columns);
                let mut named = columns.filter(|c| c.field == name || c.name.as_str() == name).peekable();
                named.peek().is_some() && !named.any(Column::is_sensitive)
            }
        }
    }

    fn shows_key(&self) -> bool {
        match self {
            Self::Raw => true,
            Self::All => false,
            Self::By(contracts) => !contracts.iter().any(|contract| contract.has_sensitive_key()),
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

    pub(super) fn violation(&self, violation: Violation) -> Violation {
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
    pub(super) fn object(&self, json: Json) -> Json {
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
}
