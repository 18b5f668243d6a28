//! Between JSON and a column's type, without loss.
//!
//! Promises: `"1"` may become 1 and `1.0` may become 1, but nothing is rounded, trimmed or guessed (only
//! binary floating point columns round, as their type does). Must not know: records, policies.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use serde_json::Value as Json;

use crate::contract::ColumnType;
use crate::value::{Numeric, Value};

/// Rewrites a value into the spelling of its column's type where that loses nothing; leaves it alone otherwise.
pub(super) fn coerce(ty: ColumnType, value: &mut Json) {
    let rewritten = match (ty, &*value) {
        (ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt, _) => integer(value),
        (ColumnType::Numeric(_) | ColumnType::Real | ColumnType::Double, Json::String(text)) => {
            Numeric::parse(text).and_then(|n| n.as_str().parse().ok()).map(Json::Number)
        }
        (ColumnType::Boolean, Json::String(text)) => match text.as_str() {
            "true" => Some(Json::Bool(true)),
            "false" => Some(Json::Bool(false)),
            _ => None,
        },
        _ => None,
    };
    if let Some(rewritten) = rewritten {
        *value = rewritten;
    }
}

fn integer(value: &Json) -> Option<Json> {
    match value {
        Json::Number(number) if number.is_i64() => None,
        Json::Number(number) => Numeric::parse(number.as_str())?.to_i64().map(Json::from),
        Json::String(text) => Numeric::parse(text)?.to_i64().map(Json::from),
        _ => None,
    }
}

/// Why a value cannot be a value of its column: the rule's name and a sentence.
pub(super) type Mismatch = (&'static str, String);

/// Reads a JSON value as a column's value; on success what it holds is moved out, not copied.
pub(super) fn to_value(ty: ColumnType, json: &mut Json) -> Result<Value, Mismatch> {
    let value = match (ty, &mut *json) {
        (_, Json::Null) => Value::Null,
        (ColumnType::Json | ColumnType::Jsonb, json) => {
            refuse_nul_in(json)?;
            Value::Json(std::mem::take(json))
        }
        (ColumnType::Boolean, Json::Bool(b)) => Value::Bool(*b),
        (ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt, Json::Number(n)) => {
            Value::Int(n.as_i64().filter(|n| fits(ty, *n)).ok_or_else(|| mismatch(ty))?)
        }
        (ColumnType::Numeric(_), Json::Number(n)) => {
            Value::Numeric(Numeric::parse(n.as_str()).ok_or_else(|| mismatch(ty))?)
        }
        (ColumnType::Double, Json::Number(n)) => Value::Float(double(n).ok_or_else(|| mismatch(ty))?),
        (ColumnType::Real, Json::Number(n)) => Value::Float(single(n).ok_or_else(|| mismatch(ty))?),
        (_, Json::String(text)) => {
            refuse_nul(text)?;
            Value::Text(canonical(ty, text).ok_or_else(|| mismatch(ty))?)
        }
        _ => return Err(mismatch(ty)),
    };
    Ok(value)
}

/// The spelling that a JSON Schema expects of a value as Postgres printed it.
pub(super) fn to_json(ty: ColumnType, value: &Value) -> Json {
    match (ty, value) {
        (ColumnType::Timestamp, Value::Text(text)) => text.replacen(' ', "T", 1).into(),
        (ColumnType::TimestampTz, Value::Text(text)) => text.replacen(' ', "T", 1).replace("+00", "Z").into(),
        _ => value.to_json(),
    }
}

fn fits(ty: ColumnType, n: i64) -> bool {
    match ty {
        ColumnType::SmallInt => i16::try_from(n).is_ok(),
        ColumnType::Integer => i32::try_from(n).is_ok(),
        _ => true,
    }
}

fn mismatch(ty: ColumnType) -> Mismatch {
    ("type", format!("this is no value of type {ty} that can be stored without loss"))
}

fn refuse_nul(text: &str) -> Result<(), Mismatch> {
    if text.contains('\0') {
        return Err(("nul", "Postgres cannot store the character U+0000 in text".to_owned()));
    }
    Ok(())
}

fn refuse_nul_in(json: &Json) -> Result<(), Mismatch> {
    match json {
        Json::String(text) => refuse_nul(text),
        Json::Array(items) => items.iter().try_for_each(refuse_nul_in),
        Json::Object(map) => map.iter().try_for_each(|(key, value)| {
            refuse_nul(key)?;
            refuse_nul_in(value)
        }),
        _ => Ok(()),
    }
}

/// As Postgres does: digits may be rounded away, but not all of them, and not to infinity.
fn double(number: &serde_json::Number) -> Option<f64> {
    number.as_f64().filter(|f| f.is_finite() && (*f != 0.0 || is_zero(number)))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a real column rounds to single precision, as Postgres does"
)]
fn single(number: &serde_json::Number) -> Option<f64> {
    let rounded = f64::from(number.as_f64()? as f32);
    (rounded.is_finite() && (rounded != 0.0 || is_zero(number))).then_some(rounded)
}

fn is_zero(number: &serde_json::Number) -> bool {
    let mantissa = number.as_str().split(['e', 'E']).next().unwrap_or_default();
    !mantissa.contains(|c: char| ('1'..='9').contains(&c))
}

/// The one spelling that Postgres itself would print (session pinned to UTC and ISO), of a type that JSON has as text.
pub(super) fn canonical(ty: ColumnType, text: &mut String) -> Option<String> {
    match ty {
        ColumnType::Text | ColumnType::Varchar(_) => Some(std::mem::take(text)),
        ColumnType::Char(_) => Some(text.trim_end_matches(' ').to_owned()),
        ColumnType::Uuid => uuid::Uuid::try_parse(text).ok().map(|u| u.to_string()),
        ColumnType::Date => date(text),
        ColumnType::Time => time(text.parse().ok()?),
        ColumnType::Timestamp => timestamp(local(text)?),
        ColumnType::TimestampTz => {
            let instant = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
            timestamp(instant.naive_utc()).map(|t| t + "+00")
        }
        _ => None,
    }
}

fn date(text: &str) -> Option<String> {
    let date: NaiveDate = text.parse().ok()?;
    in_range(date).then(|| date.format("%Y-%m-%d").to_string())
}

fn local(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

fn timestamp(at: NaiveDateTime) -> Option<String> {
    let time = time(at.time())?;
    in_range(at.date()).then(|| format!("{} {time}", at.format("%Y-%m-%d")))
}

/// Postgres keeps microseconds and no leap second: finer would be a loss.
fn time(at: NaiveTime) -> Option<String> {
    let nanos = at.nanosecond();
    if nanos >= 1_000_000_000 || !nanos.is_multiple_of(1000) {
        return None;
    }
    let whole = at.format("%H:%M:%S").to_string();
    if nanos == 0 {
        return Some(whole);
    }
    let fraction = format!("{:06}", nanos / 1000);
    Some(format!("{whole}.{}", fraction.trim_end_matches('0')))
}

/// Years of four digits: what ISO 8601 writes without a sign.
fn in_range(date: NaiveDate) -> bool {
    use chrono::Datelike;
    (1..=9999).contains(&date.year())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(ty: ColumnType, mut value: Json) -> Result<Value, Mismatch> {
        coerce(ty, &mut value);
        to_value(ty, &mut value)
    }

    #[test]
    fn lossless_coercions_are_taken() {
        for (ty, value, expected) in [
            (ColumnType::Integer, json!("1"), Value::Int(1)),
            (ColumnType::Integer, json!(1.0), Value::Int(1)),
            (ColumnType::BigInt, json!("9223372036854775807"), Value::Int(i64::MAX)),
            (ColumnType::Boolean, json!("true"), Value::Bool(true)),
            (ColumnType::Double, json!("12.5"), Value::Float(12.5)),
            (ColumnType::Double, json!("0.00e-400"), Value::Float(0.0)),
            (
                ColumnType::Timestamp,
                json!("2024-02-29T10:00:00.500"),
                Value::Text("2024-02-29 10:00:00.5".into()),
            ),
            (
                ColumnType::TimestampTz,
                json!("2024-01-01T01:00:00+02:00"),
                Value::Text("2023-12-31 23:00:00+00".into()),
            ),
            (
                ColumnType::Uuid,
                json!("6BA7B8109DAD11D180B400C04FD430C8"),
                Value::Text("6ba7b810-9dad-11d1-80b4-00c04fd430c8".into()),
            ),
        ] {
            assert_eq!(read(ty, value.clone()).unwrap(), expected, "{ty} {value}");
        }
        let Ok(Value::Numeric(numeric)) = read(ColumnType::Numeric(None), json!("12.50")) else {
            panic!("a numeric");
        };
        assert_eq!(numeric.as_str(), "12.50");
    }

    #[test]
    fn lossy_or_foreign_values_are_refused() {
        for (ty, value) in [
            (ColumnType::Integer, json!(1.5)),
            (ColumnType::Integer, json!("")),
            (ColumnType::Integer, json!(" 1")),
            (ColumnType::SmallInt, json!(32768)),
            (ColumnType::Integer, json!(-2_147_483_649_i64)),
            (ColumnType::BigInt, json!("9223372036854775808")),
            (ColumnType::Boolean, json!("yes")),
            (ColumnType::Boolean, json!(1)),
            (ColumnType::Text, json!(12)),
            (ColumnType::Real, json!("1e39")),
            (ColumnType::Real, json!("1e-50")),
            (ColumnType::Double, json!("-1e-400")),
            (ColumnType::TimestampTz, json!("2024-01-01T00:00:00")),
            (ColumnType::TimestampTz, json!("2024-01-01T00:00:00.123456789Z")),
            (ColumnType::Date, json!("2023-02-29")),
            (ColumnType::Uuid, json!("nope")),
        ] {
            assert!(read(ty, value.clone()).is_err(), "{ty} {value}");
        }
    }

    #[test]
    fn the_nul_character_has_no_place_in_postgres() {
        assert_eq!(read(ColumnType::Text, json!("a\u{0}b")).unwrap_err().0, "nul");
        assert_eq!(read(ColumnType::Jsonb, json!({"a": ["\u{0}"]})).unwrap_err().0, "nul");
        assert_eq!(read(ColumnType::Json, json!({"\u{0}": 1})).unwrap_err().0, "nul");
    }
}
