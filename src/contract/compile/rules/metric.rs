//! The `quality:` rules: the standard's metrics, and the contract's own SQL.

use serde_json::Value as Json;

use super::Scope;
use crate::contract::Severity;
use crate::contract::coerce::canonical;
use crate::contract::column::ColumnType;
use crate::contract::document::{Quality, QualityKind};
use crate::contract::rule::{Condition, Expectation, FOR_PEOPLE, Measure, NEEDS_METRIC, Rule, Test, Unit};
use crate::value::Numeric;

/// The severities that warn; every other word, and silence, means a failure.
const WARNINGS: [&str; 6] = ["info", "warning", "warn", "low", "minor", "trivial"];

/// What a rule asks for, or why it cannot be had.
type Asked<T> = Result<T, Unmeasured>;

/// Why nothing is measured.
struct Unmeasured {
    reason: String,
    by_design: bool,
}

fn wrong<T>(reason: impl Into<String>) -> Asked<T> {
    Err(Unmeasured { reason: reason.into(), by_design: false })
}

fn not_ours<T>(reason: impl Into<String>) -> Asked<T> {
    Err(Unmeasured { reason: reason.into(), by_design: true })
}

/// Compiles one rule of a table, or of one of its columns.
pub(super) fn rule(quality: &Quality, column: Option<usize>, path: &str, scope: &Scope<'_>) -> Rule {
    let asked = expectation(quality).and_then(|expected| Ok((measure(quality, column, scope)?, expected)));
    let (measure, expected) = asked.unwrap_or_else(|Unmeasured { reason, by_design }| {
        (Measure::Nothing { reason, by_design }, expectation(quality).unwrap_or_default())
    });
    let mut rule = bare(quality, measure, expected, path);
    if let Some(column) = column.filter(|_| quality.id.is_none()) {
        rule.id = format!("{}.{}", scope.columns[column].field, rule.id);
    }
    rule
}

/// A rule on a part of a structured value.
pub(super) fn unmeasured(quality: &Quality, path: &str) -> Rule {
    let reason = "it is about a part of a structured value, and only columns are measured".to_owned();
    let measure = Measure::Nothing { reason, by_design: false };
    bare(quality, measure, expectation(quality).unwrap_or_default(), path)
}

fn bare(quality: &Quality, measure: Measure, expected: Expectation, path: &str) -> Rule {
    let metric = quality.metric.as_deref().or(quality.rule.as_deref());
    let kind = match quality.kind {
        QualityKind::Library => metric.unwrap_or("rule"),
        QualityKind::Text => "text",
        QualityKind::Sql => "sql",
        QualityKind::Custom => "custom",
    };
    let id = quality.id.clone().unwrap_or_else(|| kind.to_owned());
    let told = [&quality.name, &quality.description].into_iter().flatten().next();
    let severity = quality.severity.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    Rule {
        name: told.map_or_else(|| id.clone(), |told| told.trim().to_owned()),
        dimension: quality.dimension.clone().unwrap_or_else(|| dimension(kind).to_owned()),
        severity: if WARNINGS.contains(&severity.as_str()) { Severity::Warning } else { Severity::Error },
        unit: if is_percent(quality) { Unit::Percent } else { Unit::Rows },
        measure,
        expected,
        path: path.to_owned(),
        id,
    }
}

fn dimension(kind: &str) -> &'static str {
    match kind {
        "nullValues" | "missingValues" | "rowCount" => "completeness",
        "duplicateValues" | "duplicateCount" => "uniqueness",
        _ => "conformity",
    }
}

fn is_percent(quality: &Quality) -> bool {
    let unit = quality.unit.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    quality.kind != QualityKind::Sql && ["percent", "percentage", "%"].contains(&unit.as_str())
}

fn measure(quality: &Quality, column: Option<usize>, scope: &Scope<'_>) -> Asked<Measure> {
    match quality.kind {
        QualityKind::Text => not_ours(FOR_PEOPLE),
        QualityKind::Custom => {
            not_ours(format!("it belongs to {}", quality.engine.as_deref().unwrap_or("another tool")))
        }
        QualityKind::Sql => match &quality.query {
            None => wrong("it needs a `query`"),
            Some(text) if column.is_none() && names_a_property(text) => {
                wrong("its query names {property}: write the rule under the property that it means")
            }
            Some(text) => Ok(Measure::Query { text: text.clone(), property: column }),
        },
        QualityKind::Library => library(quality, column, scope),
    }
}

fn names_a_property(query: &str) -> bool {
    ["{property}", "{column}", "{field}"].iter().any(|placeholder| query.contains(placeholder))
}

/// The standard's metrics; those of 3.0 that only had another name are read too.
fn library(quality: &Quality, column: Option<usize>, scope: &Scope<'_>) -> Asked<Measure> {
    let Some(metric) = quality.metric.as_deref().or(quality.rule.as_deref()) else {
        return wrong(NEEDS_METRIC);
    };
    let breaking = |test: Asked<Test>| match column {
        Some(column) => Ok(Measure::Breaking { column, test: test? }),
        None => wrong(format!("{metric} is about one property: write it under the property that it means")),
    };
    let of_column = |test: &dyn Fn(ColumnType) -> Asked<Test>| {
        breaking(column.map_or_else(|| Ok(Test::Null), |column| test(scope.columns[column].ty)))
    };
    match metric {
        "nullValues" | "nullCheck" => breaking(Ok(Test::Null)),
        "missingValues" => {
            of_column(&|ty| Ok(Test::Missing(values(quality, "missingValues", ty).unwrap_or_default())))
        }
        "invalidValues" | "validValues" => of_column(&|ty| invalid(quality, ty)),
        "duplicateValues" | "duplicateCount" => duplicates(quality, column, scope).map(Measure::Duplicates),
        "rowCount" if column.is_some() => wrong("rowCount is about the table: write it under the table"),
        "rowCount" if is_percent(quality) => wrong("a number of rows is no percentage: leave out `unit`"),
        "rowCount" => Ok(Measure::Rows),
        other => wrong(format!(
            "metric `{other}` is none of the standard's: use nullValues, missingValues, invalidValues, duplicateValues or rowCount"
        )),
    }
}

fn invalid(quality: &Quality, ty: ColumnType) -> Asked<Test> {
    let outside = values(quality, "validValues", ty).map(Test::Outside);
    let pattern = argument(quality, "pattern").and_then(Json::as_str);
    let mut tests: Vec<Test> =
        outside.into_iter().chain(pattern.map(|pattern| Test::Mismatch(pattern.to_owned()))).collect();
    match (tests.pop(), tests.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            tests.push(last);
            Ok(Test::Either(tests))
        }
        (None, _) => wrong("invalidValues needs the argument `validValues` or `pattern`"),
    }
}

fn duplicates(quality: &Quality, column: Option<usize>, scope: &Scope<'_>) -> Asked<Vec<usize>> {
    if let Some(column) = column {
        return Ok(vec![column]);
    }
    let Some(names) = argument(quality, "properties").and_then(Json::as_array).filter(|n| !n.is_empty())
    else {
        return wrong("duplicateValues of a table needs the argument `properties`");
    };
    names
        .iter()
        .map(|name| {
            let place = name.as_str().and_then(|name| scope.column(name));
            place.map_or_else(|| wrong(format!("the table has no property {name}")), Ok)
        })
        .collect()
}

fn argument<'a>(quality: &'a Quality, name: &str) -> Option<&'a Json> {
    quality.arguments.as_ref()?.get(name)
}

/// A list argument, as far as a column of this type can hold its values, and spelled as Postgres prints them.
fn values(quality: &Quality, name: &str, ty: ColumnType) -> Option<Vec<String>> {
    let list = argument(quality, name)?.as_array()?;
    let is_number = ty.is_number();
    let fits = |text: &String| !is_number || Numeric::parse(text).is_some();
    let printed = |text: String| canonical(ty, &mut text.clone()).unwrap_or(text);
    Some(list.iter().filter_map(spelled).filter(fits).map(printed).collect())
}

/// A value as text; null has none.
pub(super) fn spelled(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn expectation(quality: &Quality) -> Asked<Expectation> {
    if matches!(quality.kind, QualityKind::Text | QualityKind::Custom) {
        return Ok(Expectation::default());
    }
    let mut conditions = Vec::new();
    conditions.extend(quality.must_be.clone().map(Condition::Is));
    conditions.extend(quality.must_not_be.clone().map(Condition::IsNot));
    let bounds = [
        (&quality.must_be_greater_than, Condition::Greater as fn(Numeric) -> Condition),
        (&quality.must_be_greater_or_equal_to, Condition::AtLeast),
        (&quality.must_be_less_than, Condition::Less),
        (&quality.must_be_less_or_equal_to, Condition::AtMost),
    ];
    for (bound, condition) in bounds {
        if let Some(bound) = bound {
            conditions.push(condition(number(bound)?));
        }
    }
    let ranges = [
        (&quality.must_be_between, Condition::Between as fn(Numeric, Numeric) -> Condition),
        (&quality.must_not_be_between, Condition::NotBetween),
    ];
    for (range, condition) in ranges {
        if let Some([least, most]) = range {
            conditions.push(condition(number(least)?, number(most)?));
        }
    }
    if conditions.is_empty() {
        return wrong("it says nothing about the value: add an operator such as mustBe: 0");
    }
    Ok(Expectation::new(conditions))
}

fn number(text: &str) -> Asked<Numeric> {
    Numeric::parse(text).map_or_else(|| wrong(format!("`{text}` is no number")), Ok)
}
