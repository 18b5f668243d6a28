//! Strict JSON: what two parsers could read differently is refused.
//!
//! Promises: duplicate keys, broken escapes and too deep nesting are errors with a place; numbers keep
//! every digit and are bounded in size. Must not know: contracts.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::value::{NUMERIC_LIMIT, Numeric};

/// A body, cut into records.
pub(super) enum Records<'a> {
    /// One record, not parsed yet.
    One(&'a str),
    /// An array of records, each not parsed yet, so that a bad one does not take its neighbours along.
    Many(Vec<&'a RawValue>),
}

/// Cuts a body into records; the error is the parser's sentence with line and column.
pub(super) fn records(bytes: &[u8]) -> Result<Records<'_>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("the body is not UTF-8: invalid byte at offset {}", e.valid_up_to()))?;
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map(Records::Many).map_err(|e| e.to_string())
    } else {
        Ok(Records::One(text))
    }
}

/// Parses one record strictly.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(|e| e.to_string())
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictValue.deserialize(deserializer).map(Strict)
    }
}

struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The key under which serde_json hands out a number whose digits it kept.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// The key under which serde_json hands out raw JSON: an object that bears it would be read back from its column
/// as something else.
const RAW_KEY: &str = "$serde_json::private::RawValue";

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(StrictValue)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == NUMBER_KEY {
                return number(&map.next_value::<Digits>()?.0);
            }
            if key == RAW_KEY {
                return Err(A::Error::custom(format_args!("an object has the key `{RAW_KEY}`")));
            }
            let value = map.next_value_seed(StrictValue)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` stands twice in one object")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// The digits of a number that serde_json kept, which it hands out as an owned text. A text of the sender's own
/// comes borrowed: an object that poses as a number is refused.
struct Digits(String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DigitsVisitor)
    }
}

struct DigitsVisitor;

impl Visitor<'_> for DigitsVisitor {
    type Value = Digits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no object whose first key is `{NUMBER_KEY}`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digits, E> {
        Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_string<E>(self, digits: String) -> Result<Digits, E> {
        Ok(Digits(digits))
    }
}

/// Bounded before anybody computes with it: `1e999999999` is nine bytes and would be a gigabyte of digits.
fn number<E: serde::de::Error>(text: &str) -> Result<Value, E> {
    if Numeric::parse(text).is_none() {
        return Err(E::custom(format_args!(
            "a number has more than {NUMERIC_LIMIT} digits, or an exponent beyond {NUMERIC_LIMIT}"
        )));
    }
    text.parse::<Number>().map(Value::Number).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let value = parse(r#"{"a":12.500,"b":123456789012345678901234567890}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"a":12.500,"b":123456789012345678901234567890}"#);
    }

    #[test]
    fn ambiguous_or_hostile_json_is_refused_with_a_reason() {
        for (text, reason) in [
            (r#"{"a":1,"a":2}"#, "`a` stands twice"),
            (r#"{"a":{"b":1,"b":1}}"#, "`b` stands twice"),
            (r#"{"a":"\ud800"}"#, "hex escape"),
            (r#"{"a":1e999999999}"#, "exponent"),
            (r#"{"a":1"#, "EOF"),
            (r#"{"a":NaN}"#, "expected value"),
            (r#"{"a":{"$serde_json::private::Number":"5"}}"#, "expected no object"),
            (r#"{"a":{"$serde_json::private::Number":"\u0035"}}"#, "expected no object"),
            (r#"{"a":{"$serde_json::private::Number":5}}"#, "expected no object"),
            (r#"{"a":{"$serde_json::private::RawValue":"{}"}}"#, "RawValue"),
            ("", "EOF"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        assert!(parse(&deep).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn a_bad_record_is_cut_out_of_its_array() {
        let Ok(Records::Many(items)) = records(br#" [{"a":1},{"a":"\ud800"},{"a":1,"a":2}]"#) else {
            panic!("an array");
        };
        let good: Vec<_> = items.iter().map(|i| parse(i.get()).is_ok()).collect();
        assert_eq!(good, [true, false, false]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(records(b"{\"a\":\"\xff\"}").err().unwrap().contains("offset 6"));
    }
}
