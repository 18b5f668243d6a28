//! Quality rules: what the data as a whole promises.
#![expect(
    dead_code,
    reason = "the standard's whole vocabulary is parsed, so that a misspelled word cannot hide"
)]

use serde::Deserialize;

use super::{Any, AuthoritativeDefinition, CustomProperty};

/// One quality rule: the words of every type of rule together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Quality {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default, rename = "type")]
    pub(crate) kind: QualityKind,
    pub(crate) metric: Option<String>,
    /// The word of 3.0 for a library metric.
    pub(crate) rule: Option<String>,
    pub(crate) arguments: Option<Any>,
    pub(crate) query: Option<String>,
    pub(crate) engine: Option<String>,
    pub(crate) implementation: Option<Any>,
    pub(crate) must_be: Option<Any>,
    pub(crate) must_not_be: Option<Any>,
    pub(crate) must_be_greater_than: Option<String>,
    pub(crate) must_be_greater_or_equal_to: Option<String>,
    pub(crate) must_be_less_than: Option<String>,
    pub(crate) must_be_less_or_equal_to: Option<String>,
    pub(crate) must_be_between: Option<Bounds>,
    pub(crate) must_not_be_between: Option<Bounds>,
    pub(crate) unit: Option<String>,
    pub(crate) dimension: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) business_impact: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) scheduler: Option<String>,
    pub(crate) schedule: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// Two numbers, as they were written.
pub(crate) type Bounds = [String; 2];

/// Who can evaluate a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QualityKind {
    /// Anybody: the metric is one of the standard's.
    #[default]
    Library,
    /// A person.
    Text,
    /// The database.
    Sql,
    /// Another tool.
    Custom,
}
