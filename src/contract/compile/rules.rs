//! From a document to the rules that its table is measured by.
//!
//! A rule that cannot be executed stays in the list, with the reason; an id that two rules would share is
//! told apart by a number.

mod metric;
mod property;
mod relationship;
mod service;

use std::collections::HashMap;

use crate::contract::document::{Document, Object, Property, Quality};
use crate::contract::rule::{Expectation, Measure, Rule, Unit};
use crate::contract::{Column, Severity};

/// What the readers of rules look at.
pub(super) struct Scope<'a> {
    pub(super) document: &'a Document,
    pub(super) object: &'a Object,
    /// Place of the object in the document.
    pub(super) path: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) key: &'a [usize],
}

impl Scope<'_> {
    fn column(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.field == field)
    }
}

/// Every rule of a table, in the order of the document.
pub(super) fn read(scope: &Scope<'_>) -> Vec<Rule> {
    let mut rules = vec![Rule {
        id: "schema".to_owned(),
        name: "The table has the contract's columns, types and key".to_owned(),
        dimension: "conformity".to_owned(),
        severity: Severity::Error,
        unit: Unit::Rows,
        measure: Measure::Drift,
        expected: Expectation::none(),
        path: scope.path.to_owned(),
    }];
    if scope.key.len() > 1 {
        rules.push(property::unique("primary_key.unique", scope.key.to_vec(), scope, scope.path));
    }
    for (index, column) in scope.object.properties.iter().enumerate() {
        let path = format!("{}/properties/{index}", scope.path);
        let Some(place) = column.name.as_deref().and_then(|name| scope.column(name)) else { continue };
        rules.extend(property::rules(column, place, &path, scope));
        rules.extend(relationship::of_property(column, place, &path, scope));
        rules.extend(quality(&column.quality, Some(place), &path, scope));
        within(column, &path, &mut rules);
    }
    rules.extend(relationship::of_object(scope));
    rules.extend(quality(&scope.object.quality, None, scope.path, scope));
    rules.extend(service::rules(scope));
    distinct(&mut rules);
    rules
}

fn quality(
    list: &[Quality],
    column: Option<usize>,
    path: &str,
    scope: &Scope<'_>,
) -> impl Iterator<Item = Rule> {
    list.iter()
        .enumerate()
        .map(move |(index, quality)| metric::rule(quality, column, &format!("{path}/quality/{index}"), scope))
}

/// The rules of the parts of a structured value, which no column holds.
fn within(property: &Property, path: &str, rules: &mut Vec<Rule>) {
    for (part, path) in property.parts(path) {
        for (index, quality) in part.quality.iter().enumerate() {
            let mut rule = metric::unmeasured(quality, &format!("{path}/quality/{index}"));
            rule.id = format!("{}.{}", part.name.as_deref().unwrap_or("part"), rule.id);
            rules.push(rule);
        }
        within(part, &path, rules);
    }
}

fn distinct(rules: &mut [Rule]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for rule in rules {
        let count = seen.entry(rule.id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            rule.id = format!("{}#{count}", rule.id);
        }
    }
}
