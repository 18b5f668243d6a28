//! From a property to the JSON Schema (2020-12) of its values.
//!
//! Promises: what passes the schema fits the column's Postgres type and keeps every option of the document; an
//! option that is not executed is named. Must not know: records that arrive, SQL text.

mod number;

use serde_json::{Map, Value, json};

use super::column::ColumnType;
use super::document::{LogicalType, Property};
use super::exact;
use super::finding::Findings;

/// String formats of the standard that are also JSON Schema's, and so are executed.
const STRING_FORMATS: [&str; 12] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "json-pointer",
    "regex",
    "time",
    "uri",
    "uuid",
];

/// The schema of a record.
pub(crate) fn of_record(
    title: String,
    description: Option<&str>,
    properties: Map<String, Value>,
    required: &[&str],
    closed: bool,
) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), title.into());
    if let Some(text) = description {
        schema.insert("description".into(), text.trim_end().into());
    }
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    schema.insert("required".into(), json!(required));
    if closed {
        schema.insert("additionalProperties".into(), false.into());
    }
    schema.into()
}

/// Compiles a schema of ours: numbers judged exactly, formats judged, nothing fetched.
pub(crate) fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    exact::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .with_format("date-time-local", |text: &str| text.parse::<chrono::NaiveDateTime>().is_ok())
        .with_format("time-local", |text: &str| text.parse::<chrono::NaiveTime>().is_ok())
        .build(schema)
        .map_err(|error| error.to_string())
}

/// What is known about a property before its schema is written.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) property: &'a Property,
    /// The property's place in the document.
    pub(crate) path: &'a str,
    /// What its values are; `None` means anything that JSON can say.
    pub(crate) logical: Option<LogicalType>,
    /// The column that holds them; `None` within a JSON column.
    pub(crate) column: Option<ColumnType>,
    /// Null is refused.
    pub(crate) required: bool,
    /// Nested objects refuse fields that the document does not name.
    pub(crate) closed: bool,
}

/// The schema of a property's values.
pub(crate) fn of_property(shape: Shape<'_>, findings: &mut Findings<'_>) -> Value {
    let property = shape.property;
    let mut schema = Map::new();
    if let Some(title) = &property.business_name {
        schema.insert("title".into(), title.as_str().into());
    }
    if let Some(text) = &property.description {
        schema.insert("description".into(), text.trim_end().into());
    }
    if property.deprecated == Some(true) {
        schema.insert("deprecated".into(), true.into());
    }
    if !property.examples.is_empty() {
        schema.insert("examples".into(), property.examples.clone().into());
    }
    schema.extend(types(shape.logical, shape.required));
    values(shape, &mut schema);
    misplaced(shape, findings);
    let Some(logical) = shape.logical else { return schema.into() };
    match logical {
        LogicalType::String => string(shape, &mut schema, findings),
        LogicalType::Number | LogicalType::Integer => number::limit(shape, logical, &mut schema, findings),
        LogicalType::Date | LogicalType::Time | LogicalType::Timestamp => {
            temporal(shape, logical, &mut schema, findings);
        }
        LogicalType::Object => object(shape, &mut schema, findings),
        LogicalType::Array => array(shape, &mut schema, findings),
        LogicalType::Map => map(shape, &mut schema, findings),
        LogicalType::Boolean => {}
        LogicalType::Vector => {
            findings.error(
                shape.path,
                "type",
                "logicalType `vector` is not supported: there is no type for it in a plain Postgres",
            );
        }
    }
    schema.into()
}

/// The keyword `type`, with null where null is allowed.
fn types(logical: Option<LogicalType>, required: bool) -> Option<(String, Value)> {
    let name = match logical {
        None if required => {
            return Some(("type".into(), json!(["array", "boolean", "number", "object", "string"])));
        }
        None => return None,
        Some(LogicalType::Object | LogicalType::Map) => "object",
        Some(LogicalType::Date | LogicalType::Time | LogicalType::Timestamp) => "string",
        Some(LogicalType::Vector) => "array",
        Some(other) => other.as_str(),
    };
    let types = if required { json!(name) } else { json!([name, "null"]) };
    Some(("type".into(), types))
}

/// The values that the document lists, where it does.
fn values(shape: Shape<'_>, schema: &mut Map<String, Value>) {
    if shape.property.values.is_empty() {
        return;
    }
    let mut values: Vec<Value> = shape.property.values.iter().map(|v| v.value.clone()).collect();
    if !shape.required && !values.contains(&Value::Null) {
        values.push(Value::Null);
    }
    schema.insert("enum".into(), values.into());
}

/// Names the options and the parts that the standard does not give this logical type.
fn misplaced(shape: Shape<'_>, findings: &mut Findings<'_>) {
    let parts = [
        ("properties", !shape.property.properties.is_empty(), LogicalType::Object),
        ("items", shape.property.items.is_some(), LogicalType::Array),
        ("map", shape.property.map.is_some(), LogicalType::Map),
    ];
    for (word, is_said, logical) in parts {
        if is_said && shape.logical != Some(logical) {
            let message = format!("`{word}` needs logicalType `{}`", logical.as_str());
            findings.error(&format!("{}/{word}", shape.path), "type", message);
        }
    }
    let path = format!("{}/logicalTypeOptions", shape.path);
    let Some(options) = findings.tree().at(&path) else { return };
    let allowed = shape.logical.map_or(&[][..], LogicalType::options);
    for option in options.keys().filter(|option| !allowed.contains(option)) {
        let message = match shape.logical {
            Some(logical) => {
                format!("`{option}` says nothing about logicalType `{}`: remove it", logical.as_str())
            }
            None => format!("`{option}` needs a logicalType that it can speak about"),
        };
        findings.error(&format!("{path}/{option}"), "option", message);
    }
}

fn string(shape: Shape<'_>, schema: &mut Map<String, Value>, findings: &mut Findings<'_>) {
    let options = &shape.property.logical_type_options;
    let column = match shape.column {
        Some(ColumnType::Varchar(n)) => n,
        Some(ColumnType::Char(n)) => Some(n),
        _ => None,
    };
    let longest = [column.map(u64::from), options.max_length].into_iter().flatten().min();
    range(shape, schema, findings, ["minLength", "maxLength"], [options.min_length, longest]);
    if let Some(pattern) = &options.pattern {
        schema.insert("pattern".into(), pattern.as_str().into());
        if compile(&json!({ "pattern": pattern })).is_err() {
            let path = format!("{}/logicalTypeOptions/pattern", shape.path);
            findings.error(&path, "pattern", format!("`{pattern}` is no regular expression"));
        }
    }
    match options.format.as_deref() {
        Some("uuid") => insert_format(schema, "uuid"),
        _ if shape.column == Some(ColumnType::Uuid) => insert_format(schema, "uuid"),
        Some(format) if STRING_FORMATS.contains(&format) => insert_format(schema, format),
        Some(format) => findings.warning(
            &format!("{}/logicalTypeOptions/format", shape.path),
            "not_executed",
            format!(
                "format `{format}` is not checked: use one of {}, or a pattern",
                STRING_FORMATS.join(", ")
            ),
        ),
        None => {}
    }
}

fn insert_format(schema: &mut Map<String, Value>, format: &str) {
    schema.insert("format".into(), format.into());
}

/// Writes a pair of counts, unless nothing can keep both.
fn range(
    shape: Shape<'_>,
    schema: &mut Map<String, Value>,
    findings: &mut Findings<'_>,
    names: [&'static str; 2],
    [least, most]: [Option<u64>; 2],
) {
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        let path = format!("{}/logicalTypeOptions/{}", shape.path, names[0]);
        findings.error(
            &path,
            "bounds",
            format!("{} {least} and {} {most} refuse everything", names[0], names[1]),
        );
    }
    for (name, count) in names.into_iter().zip([least, most]) {
        if let Some(count) = count {
            schema.insert(name.into(), count.into());
        }
    }
}

fn temporal(
    shape: Shape<'_>,
    logical: LogicalType,
    schema: &mut Map<String, Value>,
    findings: &mut Findings<'_>,
) {
    let options = &shape.property.logical_type_options;
    let zoned = match shape.column {
        Some(ColumnType::TimestampTz) => true,
        Some(_) => false,
        None => options.timezone.unwrap_or(logical == LogicalType::Timestamp),
    };
    insert_format(
        schema,
        match (logical, zoned) {
            (LogicalType::Date, _) => "date",
            (LogicalType::Time, true) => "time",
            (LogicalType::Time, false) => "time-local",
            (_, true) => "date-time",
            (_, false) => "date-time-local",
        },
    );
    let said = [
        ("format", options.format.as_deref().filter(|format| *format != "yyyy-MM-dd")),
        ("minimum", options.minimum.as_deref()),
        ("maximum", options.maximum.as_deref()),
        ("exclusiveMinimum", options.exclusive_minimum.as_deref()),
        ("exclusiveMaximum", options.exclusive_maximum.as_deref()),
        ("defaultTimezone", options.default_timezone.as_deref()),
    ];
    for (option, value) in said {
        if let Some(value) = value {
            findings.warning(
                &format!("{}/logicalTypeOptions/{option}", shape.path),
                "not_executed",
                format!("{option} `{value}` of logicalType `{}` is not executed: values are read as RFC 3339 and not compared", logical.as_str()),
            );
        }
    }
}

fn object(shape: Shape<'_>, schema: &mut Map<String, Value>, findings: &mut Findings<'_>) {
    let options = &shape.property.logical_type_options;
    let mut required: Vec<&str> = options.required.iter().map(String::as_str).collect();
    let mut properties = Map::new();
    for (index, nested) in shape.property.properties.iter().enumerate() {
        let path = format!("{}/properties/{index}", shape.path);
        let Some(name) = nested.name.as_deref() else {
            findings.error(&path, "name", "a property needs a name");
            continue;
        };
        if nested.required && !required.contains(&name) {
            required.push(name);
        }
        let is_required = required.contains(&name);
        properties.insert(name.into(), of_nested(shape, nested, &path, is_required, findings));
    }
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    if !properties.is_empty() {
        schema.insert("properties".into(), properties.into());
        if shape.closed {
            schema.insert("additionalProperties".into(), false.into());
        }
    }
    let counts = [options.min_properties, options.max_properties];
    range(shape, schema, findings, ["minProperties", "maxProperties"], counts);
}

fn array(shape: Shape<'_>, schema: &mut Map<String, Value>, findings: &mut Findings<'_>) {
    let options = &shape.property.logical_type_options;
    if let Some(items) = &shape.property.items {
        let path = format!("{}/items", shape.path);
        schema.insert("items".into(), of_nested(shape, items, &path, items.required, findings));
    }
    if options.unique_items == Some(true) {
        schema.insert("uniqueItems".into(), true.into());
    }
    range(shape, schema, findings, ["minItems", "maxItems"], [options.min_items, options.max_items]);
}

fn map(shape: Shape<'_>, schema: &mut Map<String, Value>, findings: &mut Findings<'_>) {
    let Some(parts) = &shape.property.map else {
        return findings.error(shape.path, "type", "logicalType `map` needs `map` with `key` and `value`");
    };
    let key = of_nested(shape, &parts.key, &format!("{}/map/key", shape.path), true, findings);
    if parts.key.logical_type == Some(LogicalType::String) {
        schema.insert("propertyNames".into(), key);
    } else {
        let path = format!("{}/map/key", shape.path);
        findings.error(&path, "type", "the keys of a map are strings in JSON: use logicalType `string`");
    }
    let path = format!("{}/map/value", shape.path);
    let value = of_nested(shape, &parts.value, &path, parts.value.required, findings);
    schema.insert("additionalProperties".into(), value);
}

/// The schema of a part of a structured value.
fn of_nested(
    parent: Shape<'_>,
    property: &Property,
    path: &str,
    required: bool,
    findings: &mut Findings<'_>,
) -> Value {
    if property.primary_key || property.unique {
        findings.warning(path, "not_executed", "`primaryKey` and `unique` are executed on columns only");
    }
    let logical = property.logical_type;
    of_property(Shape { property, path, logical, column: None, required, closed: parent.closed }, findings)
}

#[cfg(test)]
mod tests;
