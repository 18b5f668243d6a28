//! Service levels: how fresh the data is. What else is promised of the service is named as not measured.

use serde_json::Value as Json;

use super::Scope;
use crate::contract::Severity;
use crate::contract::column::ColumnType;
use crate::contract::document::about::SlaProperty;
use crate::contract::rule::{Condition, Expectation, Measure, Rule, Unit};
use crate::value::Numeric;

pub(super) fn rules(scope: &Scope<'_>) -> Vec<Rule> {
    let levels = scope.document.sla_properties.iter().enumerate();
    levels.filter_map(|(index, level)| rule(level, index, scope)).collect()
}

/// The rule of one service level; none where it is about another table.
fn rule(level: &SlaProperty, index: usize, scope: &Scope<'_>) -> Option<Rule> {
    let element = level.element.as_deref().or(scope.document.sla_default_element.as_deref());
    let (table, property) = match element.map(|element| element.rsplit_once('.').unwrap_or(("", element))) {
        Some((table, property)) => (table, Some(property)),
        None => ("", None),
    };
    let object = scope.object;
    if !table.is_empty() && table != object.name && Some(table) != object.physical_name.as_deref() {
        return None;
    }
    let (measure, expected, unit) = match freshness(level, property, scope) {
        Ok((column, most, unit)) => {
            (Measure::Age(column), Expectation::new(vec![Condition::Less(most)]), unit)
        }
        Err(reason) => (Measure::Nothing { reason, by_design: false }, Expectation::default(), Unit::Rows),
    };
    Some(Rule {
        id: level.id.clone().unwrap_or_else(|| format!("sla.{}", level.property)),
        name: level.description.clone().unwrap_or_else(|| format!("Service level: {}", level.property)),
        dimension: "timeliness".to_owned(),
        severity: Severity::Error,
        unit,
        measure,
        expected,
        path: format!("/slaProperties/{index}"),
    })
}

fn freshness(
    level: &SlaProperty,
    property: Option<&str>,
    scope: &Scope<'_>,
) -> Result<(usize, Numeric, Unit), String> {
    if !["freshness", "latency"].contains(&level.property.to_ascii_lowercase().as_str()) {
        return Err(format!(
            "the service level `{}` is not measured: freshness and latency are",
            level.property
        ));
    }
    let property = property.ok_or("it needs an `element` such as table.property: a date or a timestamp")?;
    let column = scope.column(property).ok_or_else(|| format!("the table has no property `{property}`"))?;
    if !matches!(scope.columns[column].ty, ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz)
    {
        return Err(format!("property `{property}` is neither a date nor a timestamp"));
    }
    let value = match &level.value {
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let most = Numeric::parse(&value).ok_or_else(|| format!("its value `{value}` is no number"))?;
    let word = level.unit.as_deref().unwrap_or("d");
    let seconds = seconds(word).ok_or_else(|| format!("its unit `{word}` is none of s, m, h, d, w, y"))?;
    Ok((column, most, Unit::Time(word.to_owned(), seconds)))
}

fn seconds(unit: &str) -> Option<u32> {
    Some(match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hr" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        "y" | "yr" | "year" | "years" => 365 * 86_400,
        _ => return None,
    })
}
