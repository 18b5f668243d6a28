//! What a number may be: the column's own limits, its format's and the document's, the tightest of each.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::Shape;
use crate::contract::column::ColumnType;
use crate::contract::document::{LogicalType, Options};
use crate::contract::exact::Rule;
use crate::contract::finding::Findings;
use crate::value::Numeric;

/// Writes the tightest limits that column and document set.
pub(super) fn limit(
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
        let of_column = self.get(Rule::MultipleOf);
        if of_column.is_some_and(|of_column| step.is_multiple_of(of_column) != Some(true)) {
            let step = step.as_str();
            let message = format!("multiples of {step} do not fit the column's decimal places");
            return findings.error(path, "bounds", message);
        }
        self.0.retain(|(rule, _)| *rule != Rule::MultipleOf);
        self.0.push((Rule::MultipleOf, step.clone()));
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
