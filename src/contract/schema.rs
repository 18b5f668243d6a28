//! From a property to the JSON Schema (2020-12) of its values.
//!
//! Promises: what passes the schema fits the column's Postgres type and keeps every option of the document; an
//! option that is not executed is named. Must not know: records that arrive, SQL text.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::column::ColumnType;
use super::document::{LogicalType, Options, Property};
use super::exact::{self, Rule};
use super::finding::Findings;
use crate::value::Numeric;

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
        LogicalType::Number | LogicalType::Integer => number(shape, logical, &mut schema, findings),
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

fn number(
    shape: Shape<'_>,
    logical: LogicalType,
    schema: &mut Map<String, Value>,
    findings: &mut Findings<'_>,
) {
    let options = &shape.property.logical_type_options;
    let mut limits = Limits::default();
    for (rule, limit) in shape.column.map(column_limits).unwrap_or_default() {
        limits.tighten(rule, &limit);
    }
    if let Some(format) = &options.format {
        match format_limits(logical, format) {
            Some(of_format) => of_format.iter().for_each(|(rule, limit)| limits.tighten(*rule, limit)),
            None => findings.error(
                &format!("{}/logicalTypeOptions/format", shape.path),
                "option",
                format!("`{format}` is no format of logicalType `{}`: use i8 to i64 or u8 to u64 for an integer, f32 or f64 for a number", logical.as_str()),
            ),
        }
    }
    for (rule, text) in written_limits(options) {
        let path = format!("{}/logicalTypeOptions/{}", shape.path, rule.as_str());
        match Numeric::parse(text).filter(|limit| as_number(limit).is_some()) {
            Some(step) if rule == Rule::MultipleOf => limits.step(&step, &path, findings),
            Some(limit) => limits.tighten(rule, &limit),
            None => findings.error(&path, "option", format!("`{text}` is no decimal number")),
        }
    }
    limits.check(shape.path, findings);
    schema
        .extend(limits.0.iter().filter_map(|(rule, limit)| Some((rule.as_str().into(), as_number(limit)?))));
}

/// The limits that an author wrote, the older spelling (`exclusiveMinimum: true`) included.
fn written_limits(options: &Options) -> Vec<(Rule, &str)> {
    let mut limits = Vec::new();
    for (bound, exclusive, [inclusive_rule, exclusive_rule]) in [
        (&options.minimum, &options.exclusive_minimum, [Rule::Minimum, Rule::ExclusiveMinimum]),
        (&options.maximum, &options.exclusive_maximum, [Rule::Maximum, Rule::ExclusiveMaximum]),
    ] {
        match (bound.as_deref(), exclusive.as_deref()) {
            (Some(bound), Some("true")) => limits.push((exclusive_rule, bound)),
            (bound, exclusive) => {
                limits.extend(bound.map(|bound| (inclusive_rule, bound)));
                limits.extend(exclusive.filter(|text| *text != "false").map(|text| (exclusive_rule, text)));
            }
        }
    }
    limits.extend(options.multiple_of.as_deref().map(|step| (Rule::MultipleOf, step)));
    limits
}

/// At most one limit of each kind: the tightest.
#[derive(Default)]
struct Limits(Vec<(Rule, Numeric)>);

impl Limits {
    fn get(&self, rule: Rule) -> Option<&Numeric> {
        self.0.iter().find(|(known, _)| *known == rule).map(|(_, limit)| limit)
    }

    fn tighten(&mut self, rule: Rule, limit: &Numeric) {
        let tighter = match rule {
            Rule::Minimum | Rule::ExclusiveMinimum => Ordering::Greater,
            Rule::Maximum | Rule::ExclusiveMaximum | Rule::MultipleOf => Ordering::Less,
        };
        match self.0.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, known)) if limit.compare(known) == Some(tighter) => *known = limit.clone(),
            Some(_) => {}
            None => self.0.push((rule, limit.clone())),
        }
    }

    /// Takes a `multipleOf` of the document, which has to agree with the column's scale.
    fn step(&mut self, step: &Numeric, path: &str, findings: &mut Findings<'_>) {
        let zero = Numeric::parse("0");
        let positive = zero.is_some_and(|zero| step.compare(&zero) == Some(Ordering::Greater));
        if !positive || step.is_multiple_of(step) != Some(true) {
            return findings.error(
                path,
                "option",
                "multipleOf must be greater than 0 and have at most 36 digits",
            );
        }
        match self.get(Rule::MultipleOf).map(|scale| step.is_multiple_of(scale) == Some(true)) {
            Some(false) => findings.error(
                path,
                "bounds",
                format!("multiples of {} do not fit the column's decimal places", step.as_str()),
            ),
            _ => {
                self.0.retain(|(rule, _)| *rule != Rule::MultipleOf);
                self.0.push((Rule::MultipleOf, step.clone()));
            }
        }
    }

    fn check(&self, path: &str, findings: &mut Findings<'_>) {
        for lower in [Rule::Minimum, Rule::ExclusiveMinimum] {
            for upper in [Rule::Maximum, Rule::ExclusiveMaximum] {
                let (Some(least), Some(most)) = (self.get(lower), self.get(upper)) else { continue };
                let inclusive = lower == Rule::Minimum && upper == Rule::Maximum;
                let order = least.compare(most);
                if order == Some(Ordering::Greater) || (order == Some(Ordering::Equal) && !inclusive) {
                    let (least, most) = (least.as_str(), most.as_str());
                    let message =
                        format!("{} {least} and {} {most} refuse everything", lower.as_str(), upper.as_str());
                    return findings.error(&format!("{path}/logicalTypeOptions"), "bounds", message);
                }
            }
        }
    }
}

/// What a column can hold.
fn column_limits(column: ColumnType) -> Vec<(Rule, Numeric)> {
    let between = |least: String, most: String| vec![(Rule::Minimum, least), (Rule::Maximum, most)];
    let texts = match column {
        ColumnType::SmallInt => between(i16::MIN.to_string(), i16::MAX.to_string()),
        ColumnType::Integer => between(i32::MIN.to_string(), i32::MAX.to_string()),
        ColumnType::BigInt => between(i64::MIN.to_string(), i64::MAX.to_string()),
        ColumnType::Real => between(format!("{:e}", f32::MIN), format!("{:e}", f32::MAX)),
        ColumnType::Double => between(format!("{:e}", f64::MIN), format!("{:e}", f64::MAX)),
        ColumnType::Numeric(Some((precision, scale))) => {
            let bound = power_of_ten(i32::from(precision) - i32::from(scale));
            vec![
                (Rule::ExclusiveMinimum, format!("-{bound}")),
                (Rule::ExclusiveMaximum, bound),
                (Rule::MultipleOf, power_of_ten(-i32::from(scale))),
            ]
        }
        _ => Vec::new(),
    };
    texts.into_iter().filter_map(|(rule, text)| Some((rule, Numeric::parse(&text)?))).collect()
}

/// A power of ten as a person would write it.
fn power_of_ten(exponent: i32) -> String {
    match (usize::try_from(exponent), usize::try_from(-exponent)) {
        (Ok(zeros), _) if zeros <= 20 => format!("1{}", "0".repeat(zeros)),
        (_, Ok(places)) if places <= 20 => format!("0.{}1", "0".repeat(places.saturating_sub(1))),
        _ => format!("1e{exponent}"),
    }
}

/// What the standard's number formats can hold; `None` when it has no such format.
fn format_limits(logical: LogicalType, format: &str) -> Option<[(Rule, Numeric); 2]> {
    let (least, most) = match (logical, format) {
        (LogicalType::Integer, "i8") => (i8::MIN.to_string(), i8::MAX.to_string()),
        (LogicalType::Integer, "i16") => (i16::MIN.to_string(), i16::MAX.to_string()),
        (LogicalType::Integer, "i32") => (i32::MIN.to_string(), i32::MAX.to_string()),
        (LogicalType::Integer, "i64") => (i64::MIN.to_string(), i64::MAX.to_string()),
        (LogicalType::Integer, "i128") => (i128::MIN.to_string(), i128::MAX.to_string()),
        (LogicalType::Integer, "u8") => ("0".to_owned(), u8::MAX.to_string()),
        (LogicalType::Integer, "u16") => ("0".to_owned(), u16::MAX.to_string()),
        (LogicalType::Integer, "u32") => ("0".to_owned(), u32::MAX.to_string()),
        (LogicalType::Integer, "u64") => ("0".to_owned(), u64::MAX.to_string()),
        (LogicalType::Integer, "u128") => ("0".to_owned(), u128::MAX.to_string()),
        (LogicalType::Number, "f32") => (format!("{:e}", f32::MIN), format!("{:e}", f32::MAX)),
        (LogicalType::Number, "f64") => (format!("{:e}", f64::MIN), format!("{:e}", f64::MAX)),
        _ => return None,
    };
    Some([(Rule::Minimum, Numeric::parse(&least)?), (Rule::Maximum, Numeric::parse(&most)?)])
}

/// A number of JSON with the very digits.
fn as_number(numeric: &Numeric) -> Option<Value> {
    numeric.as_str().parse::<serde_json::Number>().ok().map(Value::Number)
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
