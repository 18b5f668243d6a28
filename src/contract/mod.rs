//! From an Open Data Contract Standard document to a contract that can judge a record.
//!
//! `document` (strict structs of the YAML) ► `compile` (a [`Contract`]: columns, types, JSON Schemas) ► `gate`
//! (bytes to changes or violations). Promises: what a document asks for is executed, or named as not
//! executed; never dropped. Must not know: HTTP, connections, the waist.

mod coerce;
pub mod column;
mod compile;
mod document;
mod exact;
mod finding;
pub mod gate;
pub mod import;
mod json;
pub mod lint;
mod positions;
mod recall;
pub mod rule;
mod schema;

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::change::Fields;

pub use column::{Column, ColumnType, Identifier, IdentifierError};
pub use compile::ContractError;
pub use finding::{Finding, Severity};

/// What to do with a field that the contract does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Leave it out, and count it.
    Ignore,
    /// Refuse the record.
    Reject,
}

/// Whether a delta for an unknown key may become a row when it lacks some columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertPolicy {
    /// Only a record with every contract column becomes a row.
    Complete,
    /// The table's own defaults may fill the rest.
    Defaults,
}

/// A table's contract, compiled once at start.
#[derive(Debug)]
pub struct Contract {
    /// The document's `id` (or `name`).
    pub name: String,
    /// The document's `version`.
    pub version: String,
    /// SHA-256 of the document's bytes, in hex.
    pub hash: String,
    /// The document as it was written.
    pub source: String,
    /// Schema of the table; `None` means the connection's search path (usually `public`).
    pub schema: Option<Identifier>,
    /// The table's name.
    pub table: Identifier,
    /// The columns, in the document's order. Columns of the table that are not here are the library's own.
    pub columns: Vec<Column>,
    /// Indices into `columns` that make the primary key, in key order.
    pub key: Vec<usize>,
    /// The column that orders versions of a row, where the sender has one (`accord.version`).
    pub version_column: Option<usize>,
    /// Policy for fields that the contract does not name (`accord.unknownFields`).
    pub unknown_fields: UnknownFields,
    /// Policy for new rows (`accord.insert`).
    pub insert: InsertPolicy,
    /// Whether `"1"` may be read as 1 (`accord.coerce`, on by default).
    pub coerce: bool,
    /// JSON Schema of a full record (as shown by `accord contract schema`).
    pub full_schema: serde_json::Value,
    /// JSON Schema of a delta: the key is required, the rest may be absent.
    pub delta_schema: serde_json::Value,
    /// Judges a full record.
    pub full: jsonschema::Validator,
    /// Judges a delta.
    pub delta: jsonschema::Validator,
    /// What is promised of the table as a whole, in the order of the document.
    pub rules: Vec<rule::Rule>,
    /// Field name in a record to index into `columns`.
    pub by_field: HashMap<String, usize>,
}

impl Contract {
    /// Reads and compiles a document; `table` names one of its tables where it holds several.
    pub fn load(path: impl AsRef<Path>, table: Option<&str>) -> Result<Self, ContractError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let source = std::fs::read_to_string(path)
            .map_err(|source| ContractError::Read { path: origin.clone(), source })?;
        Self::parse(&source, &origin, table)
    }

    /// Compiles the text of a document; `origin` says in errors where it is from.
    pub fn parse(source: &str, origin: &str, table: Option<&str>) -> Result<Self, ContractError> {
        compile::Parsed::read(source, origin)?.compile(table)
    }

    /// The hash that a document of these bytes has.
    pub fn hash_of(bytes: &[u8]) -> String {
        format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(bytes)))
    }

    /// Whether these fields are not all that a row has beside its key.
    pub(crate) fn is_partial(&self, fields: &Fields) -> bool {
        fields.len() + self.key.len() < self.columns.len()
    }

    /// Whether a row's key tells what is sensitive.
    pub fn has_sensitive_key(&self) -> bool {
        self.key.iter().any(|&i| self.columns[i].is_sensitive())
    }
}
