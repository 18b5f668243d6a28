//! From properties to columns, their types and the key.

use std::collections::HashSet;

use crate::contract::UnknownFields;
use crate::contract::column::{Column, ColumnType, Identifier, is_sensitive};
use crate::contract::document::{LogicalType, Object, Property};
use crate::contract::finding::Findings;
use crate::contract::schema::{self, Shape};

/// A column, and what else its property says.
pub(super) struct Read {
    pub(super) column: Column,
    /// JSON Schema of its values.
    pub(super) schema: serde_json::Value,
    /// Index of its property in the document.
    pub(super) index: usize,
}

/// Reads every property of a table; those with errors are left out, after naming them.
pub(super) fn read(
    object: &Object,
    path: &str,
    unknown_fields: UnknownFields,
    findings: &mut Findings<'_>,
) -> Vec<Read> {
    if object.properties.is_empty() {
        findings.error(path, "schema", "the table has no properties: name the columns that Accord may write");
    }
    let mut columns: Vec<Read> = Vec::new();
    let (mut fields, mut names) = (HashSet::new(), HashSet::new());
    for (index, property) in object.properties.iter().enumerate() {
        let path = format!("{path}/properties/{index}");
        let Some((column, logical)) = column(property, &path, findings) else { continue };
        if !fields.insert(column.field.clone()) {
            findings.error(&path, "name", format!("another property is named `{}`", column.field));
        } else if !names.insert(column.name.as_str().to_owned()) {
            let name = column.name.as_str();
            findings.error(&path, "name", format!("another property is kept in column `{name}`"));
        }
        let shape = Shape {
            property,
            path: &path,
            logical,
            column: Some(column.ty),
            required: column.required,
            closed: unknown_fields == UnknownFields::Reject,
        };
        let schema = schema::of_property(shape, findings);
        columns.push(Read { column, schema, index });
    }
    columns
}

fn column(
    property: &Property,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<(Column, Option<LogicalType>)> {
    let Some(field) = property.name.clone() else {
        findings.error(path, "name", "a property needs a name");
        return None;
    };
    let (word, name) = match &property.physical_name {
        Some(name) => ("physicalName", name),
        None => ("name", &field),
    };
    let name = Identifier::new(name.as_str())
        .map_err(|error| findings.error(&format!("{path}/{word}"), "name", error.to_string()))
        .ok()?;
    let (ty, logical) = types(property, &field, path, findings)?;
    let column = Column {
        name,
        ty,
        // A key is never null, whether or not the document says so twice.
        required: property.required || property.primary_key,
        unique: property.unique,
        classification: classification(property).map(str::to_owned),
        field,
    };
    Some((column, logical))
}

/// How the property is classified. A structured value with a sensitive part is sensitive as a whole: it is shown, or
/// masked, as one.
fn classification(property: &Property) -> Option<&str> {
    let own = property.classification.as_deref();
    if own.is_some_and(is_sensitive) {
        return own;
    }
    let parts = property.parts("");
    parts.into_iter().find_map(|(part, _)| classification(part).filter(|word| is_sensitive(word))).or(own)
}

/// The column's type and what its values are; one may be told by the other.
fn types(
    property: &Property,
    field: &str,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<(ColumnType, Option<LogicalType>)> {
    let physical_path = format!("{path}/physicalType");
    let physical = match property.physical_type.as_deref().map(str::parse::<ColumnType>).transpose() {
        Ok(physical) => physical,
        Err(error) => {
            findings.error(&physical_path, "type", error.to_string());
            return None;
        }
    };
    let zone = property.logical_type_options.timezone;
    match (physical, property.logical_type) {
        (None, None) => {
            findings.error(path, "type", format!("`{field}` needs a logicalType, a physicalType or both"));
            None
        }
        (Some(physical), None) => Some((physical, natural(physical))),
        (None, Some(logical)) => {
            let column = by_default(logical, zone);
            if column.is_none() {
                let message = format!(
                    "logicalType `{}` is not supported: no Postgres type of ours holds it",
                    logical.as_str()
                );
                findings.error(&format!("{path}/logicalType"), "type", message);
            }
            Some((column?, Some(logical)))
        }
        (Some(physical), Some(logical)) => match contradiction(physical, logical, zone) {
            None => Some((physical, Some(logical))),
            Some(why) => {
                let message = format!(
                    "physicalType `{physical}` contradicts logicalType `{}`: {why}",
                    logical.as_str()
                );
                findings.error(&physical_path, "type", message);
                None
            }
        },
    }
}

/// The column type of a property that does not name one.
fn by_default(logical: LogicalType, zone: Option<bool>) -> Option<ColumnType> {
    Some(match logical {
        LogicalType::String => ColumnType::Text,
        LogicalType::Date => ColumnType::Date,
        LogicalType::Timestamp if zone == Some(false) => ColumnType::Timestamp,
        LogicalType::Timestamp => ColumnType::TimestampTz,
        LogicalType::Time if zone == Some(true) => return None,
        LogicalType::Time => ColumnType::Time,
        LogicalType::Number => ColumnType::Numeric(None),
        LogicalType::Integer => ColumnType::BigInt,
        LogicalType::Boolean => ColumnType::Boolean,
        LogicalType::Object | LogicalType::Array | LogicalType::Map => ColumnType::Jsonb,
        LogicalType::Vector => return None,
    })
}

/// What the values of a column are, where the document only names the column's type.
pub(crate) fn natural(physical: ColumnType) -> Option<LogicalType> {
    match physical {
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => Some(LogicalType::Integer),
        ColumnType::Boolean => Some(LogicalType::Boolean),
        ColumnType::Numeric(_) | ColumnType::Real | ColumnType::Double => Some(LogicalType::Number),
        ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Char(_) | ColumnType::Uuid => {
            Some(LogicalType::String)
        }
        ColumnType::Date => Some(LogicalType::Date),
        ColumnType::Time => Some(LogicalType::Time),
        ColumnType::Timestamp | ColumnType::TimestampTz => Some(LogicalType::Timestamp),
        ColumnType::Json | ColumnType::Jsonb => None,
    }
}

/// Why a column of this type cannot hold these values; `None` when it can.
fn contradiction(physical: ColumnType, logical: LogicalType, zone: Option<bool>) -> Option<&'static str> {
    use ColumnType as C;
    use LogicalType as L;
    match (logical, physical) {
        (L::Timestamp, C::Timestamp) if zone == Some(true) => Some("it keeps no time zone; use timestamptz"),
        (L::Timestamp, C::TimestampTz) if zone == Some(false) => Some("it keeps a time zone; use timestamp"),
        (L::Time, C::Time) if zone == Some(true) => Some("it keeps no time zone"),
        (L::Number, C::SmallInt | C::Integer | C::BigInt) => Some("it keeps no fraction; use numeric"),
        (L::Vector, _) => Some("vectors are not supported"),
        // JSON holds any value that JSON can say, and whole numbers in a numeric column stay whole.
        (_, C::Json | C::Jsonb) | (L::Integer, C::Numeric(_)) => None,
        _ if natural(physical) == Some(logical) => None,
        _ => Some("no value fits both"),
    }
}

/// The primary key: indices into `columns`, in key order.
pub(super) fn key(object: &Object, columns: &[Read], path: &str, findings: &mut Findings<'_>) -> Vec<usize> {
    let mut key: Vec<(i64, usize)> = Vec::new();
    for (place, read) in columns.iter().enumerate() {
        let path = format!("{path}/properties/{}", read.index);
        let Some(property) = object.properties.get(read.index) else { continue };
        // The standard's own default says "no position" with -1.
        let position = property.primary_key_position.filter(|position| *position >= 0);
        if !property.primary_key {
            if position.is_some() {
                let message = "primaryKeyPosition says nothing without `primaryKey: true`";
                findings.warning(&format!("{path}/primaryKeyPosition"), "key", message);
            }
            continue;
        }
        if let ty @ (ColumnType::Real | ColumnType::Double | ColumnType::Json | ColumnType::Jsonb) =
            read.column.ty
        {
            let message = format!("a {ty} cannot be a key: its values have no one spelling");
            findings.error(&format!("{path}/primaryKey"), "key", message);
        }
        if position.is_some_and(|position| key.iter().any(|(taken, _)| *taken == position)) {
            findings.error(&format!("{path}/primaryKeyPosition"), "key", "another column has this position");
        }
        key.push((position.unwrap_or(i64::MAX), place));
    }
    if key.is_empty() && !columns.is_empty() {
        findings.error(path, "key", "the table has no primary key, and keyless tables are not supported yet: mark the key with `primaryKey: true`");
    }
    key.sort_by_key(|(position, _)| *position);
    key.into_iter().map(|(_, place)| place).collect()
}
