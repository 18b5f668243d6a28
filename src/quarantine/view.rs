//! What is shown of an entry: everything, but for what is sensitive.
//!
//! Promises: all that is shown has passed the mask. Must not know: who looks, or what is sensitive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::mask::{MASKED, Mask};
use crate::change::Violation;
use crate::contract::gate::record_at;
use crate::library::history::Event;
use crate::library::quarantine::read::{Closed, Entry, Whole};

impl Mask {
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
