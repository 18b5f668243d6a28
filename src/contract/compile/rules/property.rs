//! What a property promises without a quality rule: that it is there, unique, and within its limits.

use super::Scope;
use crate::contract::Severity;
use crate::contract::document::Property;
use crate::contract::rule::{Equal, Expectation, Measure, Rule, Test, Unit};

pub(super) fn rules(property: &Property, column: usize, path: &str, scope: &Scope<'_>) -> Vec<Rule> {
    let field = &scope.columns[column].field;
    let mut rules = Vec::new();
    if scope.columns[column].required {
        let name = format!("Every row has a value of {field}");
        rules.push(breaking(field, "required", name, column, Test::Null, path));
    }
    if property.unique || scope.key == [column] {
        rules.push(unique(&format!("{field}.unique"), vec![column], scope, path));
    }
    let options = &property.logical_type_options;
    let path = format!("{path}/logicalTypeOptions");
    for (word, what, test) in limits(property) {
        rules.push(breaking(
            field,
            word,
            format!("No {field} {what}"),
            column,
            test,
            &format!("{path}/{word}"),
        ));
    }
    let gate_only = [
        ("format", options.format.is_some()),
        ("minItems", options.min_items.is_some()),
        ("maxItems", options.max_items.is_some()),
        ("uniqueItems", options.unique_items == Some(true)),
        ("minProperties", options.min_properties.is_some()),
        ("maxProperties", options.max_properties.is_some()),
    ];
    for (word, _) in gate_only.into_iter().filter(|(_, is_said)| *is_said) {
        let mut rule = breaking(
            field,
            word,
            format!("{field} keeps its {word}"),
            column,
            Test::Null,
            &format!("{path}/{word}"),
        );
        let reason =
            "the gate judges it for each record that comes in; of what is stored, SQL cannot tell".to_owned();
        rule.measure = Measure::Nothing { reason, by_design: true };
        rules.push(rule);
    }
    rules
}

/// The rule that no two rows share these values.
pub(super) fn unique(id: &str, columns: Vec<usize>, scope: &Scope<'_>, path: &str) -> Rule {
    let fields: Vec<&str> = columns.iter().map(|&column| scope.columns[column].field.as_str()).collect();
    Rule {
        id: id.to_owned(),
        name: format!("No two rows share their {}", fields.join(", ")),
        dimension: "uniqueness".to_owned(),
        severity: Severity::Error,
        unit: Unit::Rows,
        measure: Measure::Duplicates(columns),
        expected: Expectation::none(),
        path: path.to_owned(),
    }
}

fn breaking(field: &str, word: &str, name: String, column: usize, test: Test, path: &str) -> Rule {
    let dimension = if word == "required" { "completeness" } else { "conformity" };
    Rule {
        id: format!("{field}.{word}"),
        name,
        dimension: dimension.to_owned(),
        severity: Severity::Error,
        unit: Unit::Rows,
        measure: Measure::Breaking { column, test },
        expected: Expectation::none(),
        path: path.to_owned(),
    }
}

/// The limits of `logicalTypeOptions` and `enum`: word, what is not to be, and how it is found.
fn limits(property: &Property) -> Vec<(&'static str, String, Test)> {
    let options = &property.logical_type_options;
    let mut limits = Vec::new();
    let mut add = |word, what: String, test| limits.push((word, what, test));
    if let Some(length) = options.min_length {
        add("minLength", format!("is shorter than {length}"), Test::Shorter(length));
    }
    if let Some(length) = options.max_length {
        add("maxLength", format!("is longer than {length}"), Test::Longer(length));
    }
    // An older spelling says `exclusiveMinimum: true` beside the minimum.
    let strict = |word: &Option<String>| {
        if word.as_deref() == Some("true") { Equal::Breaks } else { Equal::Keeps }
    };
    let bound =
        |word: &Option<String>| word.clone().filter(|word| !matches!(word.as_str(), "true" | "false"));
    if let Some(least) = options.minimum.clone() {
        let test = Test::Below(least.clone(), strict(&options.exclusive_minimum));
        add("minimum", format!("is below {least}"), test);
    }
    if let Some(most) = options.maximum.clone() {
        let test = Test::Above(most.clone(), strict(&options.exclusive_maximum));
        add("maximum", format!("is above {most}"), test);
    }
    if let Some(least) = bound(&options.exclusive_minimum) {
        let what = format!("is {least} or below");
        add("exclusiveMinimum", what, Test::Below(least, Equal::Breaks));
    }
    if let Some(most) = bound(&options.exclusive_maximum) {
        let what = format!("is {most} or above");
        add("exclusiveMaximum", what, Test::Above(most, Equal::Breaks));
    }
    if let Some(step) = options.multiple_of.clone() {
        add("multipleOf", format!("is no multiple of {step}"), Test::NoMultiple(step));
    }
    if let Some(pattern) = options.pattern.clone() {
        add("pattern", format!("fails to match {pattern}"), Test::Mismatch(pattern));
    }
    if !property.values.is_empty() {
        let values = property.values.iter().filter_map(|value| super::metric::spelled(&value.value));
        add("enum", "is outside its list".to_owned(), Test::Outside(values.collect()));
    }
    limits
}
