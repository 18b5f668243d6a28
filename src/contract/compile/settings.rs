//! The `accord.*` custom properties: what the standard has no word for.
//!
//! They stand in the document's or the table's `customProperties`; the table's win. An `accord.*` word that we
//! do not know, or at a place where we do not look, is an error: a setting that does nothing is a trap.

use super::columns::Read;
use crate::contract::column::ColumnType;
use crate::contract::document::{CustomProperty, Document, Object};
use crate::contract::finding::Findings;
use crate::contract::positions::Node;
use crate::contract::{InsertPolicy, UnknownFields};

const WORDS: &str = "accord.unknownFields, accord.insert, accord.coerce, accord.version";

/// What the `accord.*` properties say.
pub(super) struct Settings {
    pub(super) unknown_fields: UnknownFields,
    pub(super) insert: InsertPolicy,
    pub(super) coerce: bool,
    /// The property that orders versions, and where that is said.
    version: Option<(String, String)>,
}

impl Settings {
    pub(super) fn read(
        document: &Document,
        object: &Object,
        object_path: &str,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut settings = Self {
            unknown_fields: UnknownFields::Ignore,
            insert: InsertPolicy::Complete,
            coerce: true,
            version: None,
        };
        for (path, properties) in
            [("", &document.custom_properties), (object_path, &object.custom_properties)]
        {
            for (index, property) in properties.iter().enumerate() {
                settings.take(property, &format!("{path}/customProperties/{index}"), findings);
            }
        }
        settings
    }

    fn take(&mut self, property: &CustomProperty, path: &str, findings: &mut Findings<'_>) {
        let Some(word) = property.property.strip_prefix("accord.") else { return };
        let value = &property.value;
        let value_path = format!("{path}/value");
        let mut expect = |words: &str| {
            findings.error(&value_path, "setting", format!("accord.{word} is {words}, not `{value}`"));
        };
        match (word, value.as_str(), value.as_bool()) {
            ("unknownFields", Some("reject"), _) => self.unknown_fields = UnknownFields::Reject,
            ("unknownFields", Some("ignore"), _) => self.unknown_fields = UnknownFields::Ignore,
            ("unknownFields", ..) => expect("`reject` or `ignore`"),
            ("insert", Some("complete"), _) => self.insert = InsertPolicy::Complete,
            ("insert", Some("defaults"), _) => self.insert = InsertPolicy::Defaults,
            ("insert", ..) => expect("`complete` or `defaults`"),
            ("coerce", _, Some(coerce)) => self.coerce = coerce,
            ("coerce", ..) => expect("true or false"),
            ("version", Some(name), _) => self.version = Some((name.to_owned(), value_path)),
            ("version", ..) => expect("the name of a property"),
            _ => {
                let message = format!("`accord.{word}` is unknown: there are {WORDS}");
                findings.error(path, "setting", message);
            }
        }
    }

    /// The column that `accord.version` names.
    pub(super) fn version_column(
        &self,
        columns: &[Read],
        key: &[usize],
        findings: &mut Findings<'_>,
    ) -> Option<usize> {
        let (name, path) = self.version.as_ref()?;
        let Some(index) = columns.iter().position(|read| read.column.field == *name) else {
            findings.error(
                path,
                "setting",
                format!("accord.version names `{name}`, which is no property of the table"),
            );
            return None;
        };
        let ordered = columns.get(index).is_some_and(|read| {
            matches!(
                read.column.ty,
                ColumnType::SmallInt
                    | ColumnType::Integer
                    | ColumnType::BigInt
                    | ColumnType::Numeric(_)
                    | ColumnType::Timestamp
                    | ColumnType::TimestampTz
            )
        });
        if !ordered || key.contains(&index) {
            let message = "accord.version needs an integer, a numeric or a timestamp outside the key";
            findings.error(path, "setting", message);
        }
        Some(index)
    }
}

/// Names every `accord.*` property that stands where nobody looks for it.
pub(super) fn misplaced(tree: &Node, findings: &mut Findings<'_>) {
    tree.walk("", &mut |path, node| {
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let is_property = matches!(steps.as_slice(), [.., "customProperties", _, "property"]);
        let is_read = matches!(steps.as_slice(), [_, _, _] | ["schema", _, "customProperties", _, _]);
        let word = node.text().filter(|text| text.starts_with("accord."));
        if let Some(word) = word.filter(|_| is_property && !is_read) {
            let message = format!(
                "`{word}` is not read here: it belongs to the customProperties of the document or of a table"
            );
            findings.error(path, "setting", message);
        }
    });
}
