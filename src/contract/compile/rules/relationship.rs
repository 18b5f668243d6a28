//! References to other tables.

use super::Scope;
use crate::contract::document::{Object, OneOrMany, Property, Relationship};
use crate::contract::rule::{Expectation, Measure, Rule, Target, Unit};
use crate::contract::{Identifier, Severity};

/// The references of one property.
pub(super) fn of_property(property: &Property, column: usize, path: &str, scope: &Scope<'_>) -> Vec<Rule> {
    let rules = property.relationships.iter().enumerate().map(|(index, relationship)| {
        let measure = resolve(vec![column], relationship, scope);
        let from = scope.columns[column].field.as_str();
        rule(from, relationship, measure, format!("{path}/relationships/{index}"))
    });
    rules.collect()
}

/// The references that a table says of several properties together.
pub(super) fn of_object(scope: &Scope<'_>) -> Vec<Rule> {
    let rules = scope.object.relationships.iter().enumerate().map(|(index, relationship)| {
        let from = relationship.from.as_ref().map(names).unwrap_or_default();
        let columns: Option<Vec<usize>> = from.iter().map(|name| scope.column(last(name))).collect();
        let measure = match columns {
            Some(columns) if !columns.is_empty() => resolve(columns, relationship, scope),
            _ => Err("`from` names no properties of this table".to_owned()),
        };
        let from: Vec<&str> = from.iter().map(|name| last(name)).collect();
        rule(&from.join(","), relationship, measure, format!("{}/relationships/{index}", scope.path))
    });
    rules.collect()
}

fn rule(from: &str, relationship: &Relationship, measure: Result<Measure, String>, path: String) -> Rule {
    let to = names(&relationship.to).join(", ");
    Rule {
        id: relationship.id.clone().unwrap_or_else(|| format!("{from}.relationship")),
        name: format!("Every {from} is there in {to}"),
        dimension: "consistency".to_owned(),
        severity: Severity::Error,
        unit: Unit::Rows,
        measure: measure.unwrap_or_else(|reason| Measure::Nothing { reason, by_design: false }),
        expected: Expectation::none(),
        path,
    }
}

fn names(list: &OneOrMany) -> Vec<&str> {
    match list {
        OneOrMany::One(name) => vec![name],
        OneOrMany::Many(names) => names.iter().map(String::as_str).collect(),
    }
}

/// The last part of `table.property`, or of `schema/table/properties/property`.
fn last(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or(name)
}

fn resolve(columns: Vec<usize>, relationship: &Relationship, scope: &Scope<'_>) -> Result<Measure, String> {
    let to = names(&relationship.to);
    if to.len() != columns.len() {
        return Err("`from` and `to` name different numbers of properties".to_owned());
    }
    let parts: Option<Vec<(&str, &str)>> = to.iter().map(|name| split(name)).collect();
    let Some(parts) = parts else {
        return Err(format!("`{}` is no reference such as table.property", to.join(", ")));
    };
    let [(table, _), ..] = parts.as_slice() else { return Err("`to` is empty".to_owned()) };
    if parts.iter().any(|(other, _)| other != table) {
        return Err("`to` names several tables".to_owned());
    }
    let object = scope.document.schema.iter().find(|o| o.name == *table || o.id.as_deref() == Some(table));
    let Some(object) = object else {
        return Err(format!("the document does not describe table `{table}`"));
    };
    let columns_there = parts.iter().map(|(_, property)| physical(object, property));
    let name = object.physical_name.as_deref().unwrap_or(&object.name);
    let identifier = |name: &str| Identifier::new(name).map_err(|error| error.to_string());
    let (schema, table) = match name.split_once('.') {
        Some((schema, table)) => (Some(identifier(schema)?), table),
        None => (None, name),
    };
    let target =
        Target { schema, table: identifier(table)?, columns: columns_there.collect::<Result<_, _>>()? };
    Ok(Measure::Orphans { columns, target })
}

fn split(name: &str) -> Option<(&str, &str)> {
    if let Some((table, property)) = name.split_once("/properties/") {
        return Some((last(table), property));
    }
    name.rsplit_once('.')
}

fn physical(object: &Object, property: &str) -> Result<Identifier, String> {
    let found = object
        .properties
        .iter()
        .find(|p| p.name.as_deref() == Some(property) || p.id.as_deref() == Some(property))
        .ok_or_else(|| format!("table `{}` has no property `{property}`", object.name))?;
    let name = found.physical_name.as_deref().or(found.name.as_deref()).unwrap_or(property);
    Identifier::new(name).map_err(|error| error.to_string())
}
