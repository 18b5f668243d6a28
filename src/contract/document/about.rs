//! The parts of a document that are about it: who answers for it, what it costs, where its data lives.
//!
//! Promises: their words are checked as strictly as all others. Nothing of Accord's work depends on them.
#![expect(
    dead_code,
    reason = "the standard's whole vocabulary is parsed, so that a misspelled word cannot hide"
)]
#![expect(clippy::struct_field_names, reason = "the words are the standard's")]

use serde::Deserialize;

use super::Any;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Description {
    pub(crate) purpose: Option<String>,
    pub(crate) usage: Option<String>,
    pub(crate) limitations: Option<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// Words for a reader that is a program.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Context {
    Text(String),
    Parts(Box<ContextParts>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ContextParts {
    pub(crate) instructions: Option<String>,
    #[serde(default)]
    pub(crate) constraints: Vec<ContextConstraint>,
    #[serde(default)]
    pub(crate) verified_statements: Vec<VerifiedStatement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ContextConstraint {
    pub(crate) id: Option<String>,
    pub(crate) constraint: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct VerifiedStatement {
    pub(crate) id: Option<String>,
    pub(crate) question: String,
    pub(crate) answer: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Synonym {
    pub(crate) id: Option<String>,
    pub(crate) synonym: String,
    pub(crate) locale: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AuthoritativeDefinition {
    pub(crate) id: Option<String>,
    pub(crate) url: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) description: Option<String>,
}

/// What the standard has no word for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CustomProperty {
    pub(crate) id: Option<String>,
    pub(crate) property: String,
    pub(crate) value: Any,
    pub(crate) description: Option<String>,
    pub(crate) vendor: Option<String>,
}

/// Where the data lives: the words of every kind of server together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Server {
    pub(crate) id: Option<String>,
    pub(crate) server: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) description: Option<String>,
    pub(crate) environment: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<Role>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
    pub(crate) account: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) catalog_url: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) dataset: Option<String>,
    pub(crate) delimiter: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) endpoint_url: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) path: Option<String>,
    /// A number, or since 3.2 also the name of a variable.
    pub(crate) port: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) region_name: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) service_name: Option<String>,
    pub(crate) staging_dir: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) warehouse: Option<String>,
    pub(crate) workgroup: Option<String>,
}

/// A team; 3.0 gave just the list of its members.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Team {
    Named(Box<NamedTeam>),
    Members(Vec<Member>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NamedTeam {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) members: Vec<Member>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) id: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) date_in: Option<String>,
    pub(crate) date_out: Option<String>,
    pub(crate) replaced_by_username: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Role {
    pub(crate) id: Option<String>,
    pub(crate) role: String,
    pub(crate) description: Option<String>,
    pub(crate) access: Option<String>,
    pub(crate) first_level_approvers: Option<String>,
    pub(crate) second_level_approvers: Option<String>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Support {
    pub(crate) id: Option<String>,
    pub(crate) channel: String,
    pub(crate) url: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) invitation_url: Option<String>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Price {
    pub(crate) id: Option<String>,
    pub(crate) price_amount: Option<Any>,
    pub(crate) price_currency: Option<String>,
    pub(crate) price_unit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SlaProperty {
    pub(crate) id: Option<String>,
    pub(crate) property: String,
    pub(crate) value: Any,
    pub(crate) value_ext: Option<Any>,
    pub(crate) unit: Option<String>,
    pub(crate) element: Option<String>,
    pub(crate) driver: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) scheduler: Option<String>,
    pub(crate) schedule: Option<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}
