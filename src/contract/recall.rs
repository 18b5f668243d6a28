//! From what the ledger says of a change back to the delta that it was.
//!
//! Promises: the delta reads as a sender would write it, every digit kept. Must not know: the ledger itself.

use serde_json::{Map, Value as Json};

use crate::contract::{ColumnType, Contract, coerce};
use crate::value::{Numeric, Value};

impl Contract {
    /// The delta of a change to the row of this key, whose `changes` are as the ledger holds them:
    /// `{"column": [from, to], "confirmed column": [value]}`.
    ///
    /// A column that the contract does not name goes by its own name. None when the key is none of this contract's.
    pub fn recalled(&self, key: &str, changes: &Map<String, Json>) -> Option<Map<String, Json>> {
        let parts: Vec<String> = match self.key.as_slice() {
            [_] => vec![key.to_owned()],
            _ => serde_json::from_str(key).ok()?,
        };
        if parts.len() != self.key.len() {
            return None;
        }
        let mut delta = Map::new();
        for (part, &index) in parts.into_iter().zip(&self.key) {
            let column = &self.columns[index];
            delta.insert(column.field.clone(), coerce::to_json(column.ty, &part_value(column.ty, part)?));
        }
        for (name, what) in changes {
            let Some(value) = what.as_array().and_then(|values| values.last()) else { continue };
            let column = self.columns.iter().find(|column| column.name.as_str() == name);
            let (field, value) = match column {
                Some(column) => (column.field.clone(), spelled(column.ty, value)),
                None => (name.clone(), value.clone()),
            };
            delta.insert(field, value);
        }
        Some(delta)
    }
}

/// A part of a key, from its spelling within one.
fn part_value(ty: ColumnType, text: String) -> Option<Value> {
    Some(match ty {
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => Value::Int(text.parse().ok()?),
        ColumnType::Numeric(_) => Value::Numeric(Numeric::from_postgres(text)),
        ColumnType::Real | ColumnType::Double => Value::Float(text.parse().ok()?),
        ColumnType::Boolean => Value::Bool(text.parse().ok()?),
        ColumnType::Json | ColumnType::Jsonb => Value::Json(serde_json::from_str(&text).ok()?),
        _ => Value::Text(text),
    })
}

/// The ledger spells moments as Postgres does, and senders as JSON Schema wants them.
fn spelled(ty: ColumnType, value: &Json) -> Json {
    match (ty, value) {
        (ColumnType::Timestamp | ColumnType::TimestampTz, Json::String(text)) => {
            coerce::to_json(ty, &Value::Text(text.clone()))
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::gate::Gate;

    fn contract(keys: &str) -> Contract {
        let text = format!(
            "
apiVersion: v3.1.0
kind: DataContract
id: moments
version: 1.0.0
status: active
schema:
  - name: moment
    properties:
{keys}
      - {{name: seen, physicalName: seen_at, logicalType: timestamp, physicalType: timestamptz}}
      - {{name: price, logicalType: number, physicalType: numeric}}
"
        );
        Contract::parse(&text, "test", None).unwrap()
    }

    fn changes(text: &str) -> Map<String, Json> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_of_the_ledger_becomes_the_delta_that_it_tells_of() {
        let contract = contract(
            "      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}",
        );
        let told = changes(
            r#"{"seen_at": [null, "2024-01-01 10:00:00.5+00"], "price": [1.10], "gone": [1, 2], "odd": 7}"#,
        );
        let delta = contract.recalled("17", &told).unwrap();
        let expected = r#"{"id":17,"seen":"2024-01-01T10:00:00.5Z","price":1.10,"gone":2}"#;
        assert_eq!(Json::Object(delta.clone()), serde_json::from_str::<Json>(expected).unwrap());
        Gate::new(Arc::new(contract)).judge_delta(delta).unwrap();
    }

    #[test]
    fn a_key_of_several_columns_is_taken_apart() {
        let contract = contract(
            "      - {name: region, logicalType: string, physicalType: text, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: no, logicalType: number, physicalType: numeric, primaryKey: true, primaryKeyPosition: 2, required: true}",
        );
        let delta = contract.recalled(r#"["eu","1.5"]"#, &Map::new()).unwrap();
        assert_eq!(Json::Object(delta), serde_json::json!({"region": "eu", "no": 1.5}));
        for alien in ["eu", r#"["eu"]"#, "17"] {
            assert!(contract.recalled(alien, &Map::new()).is_none(), "{alien}");
        }
    }
}
