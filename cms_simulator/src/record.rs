//! What the CMS knows of a fragrance, and how it spells a message about one.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::python_json;

/// A field of a fragrance that can be edited, in the order in which the CMS sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// `varchar(150)`.
    Name,
    /// `varchar(1024)`.
    Description,
    /// `boolean`.
    Forbidden,
    /// `numeric`.
    Cost,
}

impl Field {
    /// The column's name, which is also the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Forbidden => "forbidden",
            Self::Cost => "cost",
        }
    }
}

/// Some fields of a fragrance. A field that is absent is left as it is; one that is null is set to null.
pub type Fields = BTreeMap<Field, Value>;

/// The body of a webhook call, spelled as the CMS spells it.
pub(crate) enum Message<'a> {
    /// A partial delta: the key and the fields that were set. The only one the real CMS sends.
    Set { key: i32, fields: &'a Fields },
    /// A row that is gone.
    Deleted { key: i32 },
}

impl Message<'_> {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        python_json::dumps(self)
    }
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Set { key, fields } => {
                map.serialize_entry("fragrance_id", key)?;
                for (field, value) in *fields {
                    map.serialize_entry(field, value)?;
                }
            }
            Self::Deleted { key } => {
                map.serialize_entry("fragrance_id", key)?;
                map.serialize_entry("operation", "delete")?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spelled(message: &Message<'_>) -> String {
        String::from_utf8(message.to_bytes().unwrap()).unwrap()
    }

    /// Bodies captured from the real CMS.
    #[test]
    fn deltas_are_spelled_byte_for_byte_as_the_real_cms_spells_them() {
        let fields = [
            (Field::Cost, json!(102)),
            (Field::Forbidden, json!(true)),
            (Field::Description, json!("Fine silk fabric  blabla...")),
            (Field::Name, json!("CamacaHOOOOOOOOOOLAAA")),
        ];
        assert_eq!(
            spelled(&Message::Set { key: 1136, fields: &fields.into() }),
            r#"{"fragrance_id": 1136, "name": "CamacaHOOOOOOOOOOLAAA", "description": "Fine silk fabric  blabla...", "forbidden": true, "cost": 102}"#
        );
        let fields = [
            (Field::Description, json!("Guide for fixing a pottery mould for plates  blabla...")),
            (Field::Forbidden, json!(true)),
            (Field::Cost, json!(38)),
        ];
        assert_eq!(
            spelled(&Message::Set { key: 1999, fields: &fields.into() }),
            r#"{"fragrance_id": 1999, "description": "Guide for fixing a pottery mould for plates  blabla...", "forbidden": true, "cost": 38}"#
        );
    }

    #[test]
    fn a_deletion_names_the_key_and_the_operation() {
        assert_eq!(spelled(&Message::Deleted { key: 7 }), r#"{"fragrance_id": 7, "operation": "delete"}"#);
    }

    #[test]
    fn a_field_is_named_as_it_is_serialized() {
        for field in [Field::Name, Field::Description, Field::Forbidden, Field::Cost] {
            assert_eq!(serde_json::to_value(field).unwrap(), json!(field.name()));
        }
    }
}
