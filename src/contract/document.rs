//! The words of an Open Data Contract Standard document, v3.1, and of 3.0 and 3.2 where they say the same.
//!
//! Promises: every word of the standard is known, every other word is refused with its line and column, and a
//! number of the document keeps all its digits (bounds are kept as they were written). Must not know: what
//! Accord does with any of it.
#![expect(
    dead_code,
    reason = "the standard's whole vocabulary is parsed, so that a misspelled word cannot hide"
)]

pub(crate) mod about;
mod quality;

use serde::Deserialize;

pub(crate) use about::{AuthoritativeDefinition, CustomProperty, Server};
pub(crate) use quality::{Quality, QualityKind};

/// Anything that YAML can hold.
pub(crate) type Any = serde_json::Value;

/// A whole document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) api_version: String,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) status: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) data_product: Option<String>,
    pub(crate) contract_created_ts: Option<String>,
    pub(crate) description: Option<about::Description>,
    pub(crate) context: Option<about::Context>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) schema: Vec<Object>,
    #[serde(default)]
    pub(crate) servers: Vec<Server>,
    pub(crate) team: Option<about::Team>,
    #[serde(default)]
    pub(crate) roles: Vec<about::Role>,
    #[serde(default)]
    pub(crate) support: Vec<about::Support>,
    pub(crate) price: Option<about::Price>,
    pub(crate) sla_default_element: Option<String>,
    #[serde(default)]
    pub(crate) sla_properties: Vec<about::SlaProperty>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// The only kind of document there is.
#[derive(Debug, Deserialize)]
pub(crate) enum Kind {
    DataContract,
}

/// One object of the document's `schema`: for us, a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Object {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) physical_name: Option<String>,
    pub(crate) physical_type: Option<String>,
    pub(crate) logical_type: Option<ObjectType>,
    pub(crate) business_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) data_granularity_description: Option<String>,
    pub(crate) context: Option<about::Context>,
    pub(crate) deprecated: Option<bool>,
    #[serde(default)]
    pub(crate) synonyms: Vec<about::Synonym>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) properties: Vec<Property>,
    #[serde(default)]
    pub(crate) relationships: Vec<Relationship>,
    #[serde(default)]
    pub(crate) quality: Vec<Quality>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// What a schema object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ObjectType {
    Object,
    Blob,
}

/// A property: a column of the table, or a part of a structured one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the flags are the standard's")]
pub(crate) struct Property {
    pub(crate) id: Option<String>,
    /// Absent only where the property describes the items of an array or the parts of a map.
    pub(crate) name: Option<String>,
    pub(crate) physical_name: Option<String>,
    pub(crate) physical_type: Option<String>,
    pub(crate) logical_type: Option<LogicalType>,
    #[serde(default)]
    pub(crate) logical_type_options: Options,
    pub(crate) business_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) deprecated: Option<bool>,
    pub(crate) semantic_type: Option<SemanticType>,
    #[serde(default)]
    pub(crate) synonyms: Vec<about::Synonym>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) unique: bool,
    #[serde(default)]
    pub(crate) primary_key: bool,
    pub(crate) primary_key_position: Option<i64>,
    #[serde(default)]
    pub(crate) partitioned: bool,
    pub(crate) partition_key_position: Option<i64>,
    pub(crate) classification: Option<String>,
    pub(crate) encrypted_name: Option<String>,
    pub(crate) critical_data_element: Option<bool>,
    #[serde(default)]
    pub(crate) transform_source_objects: Vec<String>,
    pub(crate) transform_logic: Option<String>,
    pub(crate) transform_description: Option<String>,
    #[serde(default)]
    pub(crate) examples: Vec<Any>,
    #[serde(default, rename = "enum")]
    pub(crate) values: Vec<EnumValue>,
    pub(crate) items: Option<Box<Property>>,
    #[serde(default)]
    pub(crate) properties: Vec<Property>,
    pub(crate) map: Option<Box<MapParts>>,
    #[serde(default)]
    pub(crate) relationships: Vec<Relationship>,
    #[serde(default)]
    pub(crate) quality: Vec<Quality>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

impl Property {
    /// The parts of a structured value, each with its place in the document.
    pub(crate) fn parts(&self, path: &str) -> Vec<(&Self, String)> {
        let mut parts: Vec<(&Self, String)> = Vec::new();
        for (index, nested) in self.properties.iter().enumerate() {
            parts.push((nested, format!("{path}/properties/{index}")));
        }
        parts.extend(self.items.as_deref().map(|items| (items, format!("{path}/items"))));
        if let Some(map) = &self.map {
            parts.push((&map.key, format!("{path}/map/key")));
            parts.push((&map.value, format!("{path}/map/value")));
        }
        parts
    }
}

/// The standard's types, which know nothing of any database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogicalType {
    String,
    Date,
    Timestamp,
    Time,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
    Map,
    Vector,
}

impl LogicalType {
    /// The standard's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Time => "time",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Map => "map",
            Self::Vector => "vector",
        }
    }

    /// The `logicalTypeOptions` that the standard gives this type.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::String => &["format", "minLength", "maxLength", "pattern"],
            Self::Date => &["format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
            Self::Timestamp | Self::Time => &[
                "format",
                "minimum",
                "maximum",
                "exclusiveMinimum",
                "exclusiveMaximum",
                "timezone",
                "defaultTimezone",
            ],
            Self::Number | Self::Integer => {
                &["format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
            }
            Self::Boolean | Self::Map => &[],
            Self::Object => &["minProperties", "maxProperties", "required"],
            Self::Array => &["minItems", "maxItems", "uniqueItems"],
            Self::Vector => &[
                "dimensions",
                "distanceMetric",
                "elementType",
                "embeddingModel",
                "embeddingModelVersion",
                "normalized",
            ],
        }
    }
}

/// What a property means to an analyst.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SemanticType {
    Column,
    Measure,
    Dimension,
}

/// `logicalTypeOptions`: the words of every logical type together.
///
/// Bounds are text: a number for a number, a date for a date, `true` for the older spelling of an exclusive
/// bound; and no digit is lost on the way through a float.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Options {
    pub(crate) format: Option<String>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<String>,
    pub(crate) minimum: Option<String>,
    pub(crate) maximum: Option<String>,
    pub(crate) exclusive_minimum: Option<String>,
    pub(crate) exclusive_maximum: Option<String>,
    pub(crate) multiple_of: Option<String>,
    pub(crate) timezone: Option<bool>,
    pub(crate) default_timezone: Option<String>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: Option<bool>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    pub(crate) dimensions: Option<u64>,
    pub(crate) distance_metric: Option<String>,
    pub(crate) element_type: Option<String>,
    pub(crate) embedding_model: Option<String>,
    pub(crate) embedding_model_version: Option<String>,
    pub(crate) normalized: Option<bool>,
}

/// One of the values that a property may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EnumValue {
    pub(crate) id: Option<String>,
    pub(crate) value: Any,
    pub(crate) label: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) authoritative_definitions: Vec<AuthoritativeDefinition>,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// What the keys and the values of a map are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapParts {
    pub(crate) key: Property,
    pub(crate) value: Property,
}

/// A reference from one property, or several together, to others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Relationship {
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<RelationshipKind>,
    pub(crate) from: Option<OneOrMany>,
    pub(crate) to: OneOrMany,
    #[serde(default)]
    pub(crate) custom_properties: Vec<CustomProperty>,
}

/// The only kind of relationship there is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RelationshipKind {
    ForeignKey,
}

/// One name or a list of names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}
