//! From a document to a [`Contract`]: one schema object becomes one table.
//!
//! Promises: either a contract that carries every value without loss, or every reason why not, each with its
//! place. Must not know: files, connections, records.

mod columns;
mod rules;
mod settings;

use std::collections::HashMap;

use super::document::{Document, Object, ObjectType};
use super::finding::{Finding, Findings};
use super::positions::{Node, Position};
use super::schema;
use super::{Column, Contract, Identifier, UnknownFields};
pub(crate) use columns::natural;
use settings::Settings;

/// Why there is no contract.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The file cannot be read.
    #[error("cannot read the contract {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not YAML, or holds a word that the standard does not know.
    #[error("{origin}:{line}:{column}: not a document of the Open Data Contract Standard")]
    Syntax {
        /// Where the text is from.
        origin: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What the parser says.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// The document is of a version that uses other words.
    #[error(
        "{origin}:{line}:{column}: apiVersion `{version}` is not supported: use v3.1.0 (v3.0.x and v3.2.x are read too)"
    )]
    Version {
        /// Where the text is from.
        origin: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What the document says.
        version: String,
    },
    /// The document holds several tables, and none was named.
    #[error("{origin} holds several tables: name one of {}", choices.join(", "))]
    Ambiguous {
        /// Where the text is from.
        origin: String,
        /// The tables that there are.
        choices: Vec<String>,
    },
    /// The document does not hold the table that was named.
    #[error("{origin} holds no table `{table}`: name one of {}", choices.join(", "))]
    NoSuchTable {
        /// Where the text is from.
        origin: String,
        /// The table that was asked for.
        table: String,
        /// The tables that there are.
        choices: Vec<String>,
    },
    /// The document cannot be kept as it is.
    #[error("{}", lines(origin, findings))]
    Invalid {
        /// Where the text is from.
        origin: String,
        /// Every reason, errors only.
        findings: Vec<Finding>,
    },
}

fn lines(origin: &str, findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{origin}:{finding}")).collect::<Vec<_>>().join("\n")
}

/// A document that was read, with its text.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) origin: &'a str,
    pub(crate) source: &'a str,
    pub(crate) tree: Node,
    pub(crate) document: Document,
}

impl<'a> Parsed<'a> {
    /// Reads a text strictly.
    pub(crate) fn read(source: &'a str, origin: &'a str) -> Result<Self, ContractError> {
        let syntax = |error: serde_saphyr::Error| {
            let place = error.location();
            ContractError::Syntax {
                origin: origin.to_owned(),
                line: place.map_or(1, |place| place.line().max(1)),
                column: place.map_or(1, |place| place.column().max(1)),
                source: Box::new(error),
            }
        };
        let tree = Node::parse(source).map_err(syntax)?;
        // Other versions use other words: say so rather than stumble over the first of them.
        if let Some(version) = tree.at("/apiVersion").and_then(Node::text)
            && !["v3.0.", "v3.1.", "v3.2."].iter().any(|known| version.starts_with(known))
        {
            let Position { line, column } = tree.position("/apiVersion");
            let (origin, version) = (origin.to_owned(), version.to_owned());
            return Err(ContractError::Version { origin, line, column, version });
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let document = serde_saphyr::from_str_with_options(source, options).map_err(syntax)?;
        Ok(Self { origin, source, tree, document })
    }

    /// The place of a table in the document's `schema`; without a name, of the only one.
    pub(crate) fn table(&self, table: Option<&str>) -> Result<usize, ContractError> {
        let objects = &self.document.schema;
        let origin = self.origin.to_owned();
        let choices = || objects.iter().map(|object| object.name.clone()).collect();
        match (table, objects.len()) {
            (None, 1) => Ok(0),
            (None, 0) => Err(ContractError::Invalid {
                findings: {
                    let mut findings = Findings::on(&self.tree);
                    no_table(&mut findings);
                    findings.into_sorted()
                },
                origin,
            }),
            (None, _) => Err(ContractError::Ambiguous { origin, choices: choices() }),
            (Some(name), _) => objects
                .iter()
                .position(|object| object.name == name || object.physical_name.as_deref() == Some(name))
                .ok_or_else(|| ContractError::NoSuchTable {
                    origin,
                    table: name.to_owned(),
                    choices: choices(),
                }),
        }
    }

    /// Compiles one table.
    pub(crate) fn compile(&self, table: Option<&str>) -> Result<Contract, ContractError> {
        let index = self.table(table)?;
        let mut findings = Findings::on(&self.tree);
        match compile(self, index, &mut findings) {
            Some(contract) if !findings.has_errors() => Ok(contract),
            _ => {
                let mut findings = findings.into_sorted();
                findings.retain(|finding| finding.severity == super::Severity::Error);
                Err(ContractError::Invalid { origin: self.origin.to_owned(), findings })
            }
        }
    }
}

/// A document without tables has nothing for us.
pub(crate) fn no_table(findings: &mut Findings<'_>) {
    findings.error(
        "/schema",
        "schema",
        "the document describes no table: give `schema` an object with properties",
    );
}

/// Compiles the table at `schema[index]`. Without errors among the findings there is a contract.
pub(crate) fn compile(parsed: &Parsed<'_>, index: usize, findings: &mut Findings<'_>) -> Option<Contract> {
    let document = &parsed.document;
    let object = document.schema.get(index)?;
    let path = format!("/schema/{index}");
    if object.logical_type == Some(ObjectType::Blob) {
        findings.error(
            &format!("{path}/logicalType"),
            "type",
            "a `blob` is no table: only `object` is supported",
        );
    }
    settings::misplaced(&parsed.tree, findings);
    let settings = Settings::read(document, object, &path, findings);
    let location = table_name(object, &path, findings);
    let columns = columns::read(object, &path, settings.unknown_fields, findings);
    let key = columns::key(object, &columns, &path, findings);
    let version_column = settings.version_column(&columns, &key, findings);
    if findings.has_errors() {
        return None;
    }
    let (schema, table) = location?;
    let closed = settings.unknown_fields == UnknownFields::Reject;
    let record = |kind: &str, required: Vec<&str>| {
        let properties =
            columns.iter().map(|read| (read.column.field.clone(), read.schema.clone())).collect();
        let title = format!("{}, {kind}", object.name);
        schema::of_record(title, object.description.as_deref(), properties, &required, closed)
    };
    let field = |read: &columns::Read| read.column.field.clone();
    let all: Vec<String> = columns.iter().map(field).collect();
    let keys: Vec<String> = key.iter().filter_map(|&index| columns.get(index)).map(field).collect();
    let full_schema = record("a full record", all.iter().map(String::as_str).collect());
    let delta_schema = record("a delta", keys.iter().map(String::as_str).collect());
    let mut validator = |schema| match schema::compile(schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            findings.error(&path, "schema", format!("its JSON Schema cannot be used: {error}"));
            None
        }
    };
    let (full, delta) = (validator(&full_schema)?, validator(&delta_schema)?);
    let by_field: HashMap<String, usize> = all.into_iter().zip(0..).collect();
    let columns: Vec<Column> = columns.into_iter().map(|read| read.column).collect();
    let scope = rules::Scope { document, object, path: &path, columns: &columns, key: &key };
    let rules = rules::read(&scope);
    Some(Contract {
        name: document.id.clone(),
        version: document.version.clone(),
        hash: Contract::hash_of(parsed.source.as_bytes()),
        source: parsed.source.to_owned(),
        schema,
        table,
        columns,
        key,
        version_column,
        unknown_fields: settings.unknown_fields,
        insert: settings.insert,
        coerce: settings.coerce,
        full_schema,
        delta_schema,
        full,
        delta,
        rules,
        by_field,
    })
}

/// The table's name, and its schema where `physicalName` says `schema.table`.
fn table_name(
    object: &Object,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<(Option<Identifier>, Identifier)> {
    let (word, name) = match &object.physical_name {
        Some(name) => ("physicalName", name),
        None => ("name", &object.name),
    };
    let names = match name.split_once('.') {
        Some((schema, table)) if word == "physicalName" => {
            Identifier::new(schema).and_then(|schema| Ok((Some(schema), Identifier::new(table)?)))
        }
        _ => Identifier::new(name).map(|table| (None, table)),
    };
    names.map_err(|error| findings.error(&format!("{path}/{word}"), "name", error.to_string())).ok()
}

#[cfg(test)]
mod tests;
