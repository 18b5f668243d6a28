//! One column's value, exact, with Postgres' own idea of equality.
//!
//! Promises: a value read from Postgres or from a sender keeps every digit; `==` agrees with Postgres' `=`
//! for the column's type (1 = 1.00, `{"a":1}` = `{"a": 1.0}`). Must not know: columns, contracts, SQL.

use std::cmp::Ordering;

use serde::{Serialize, Serializer};

/// A value of a contract column.
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL null.
    Null,
    /// boolean
    Bool(bool),
    /// smallint, integer, bigint
    Int(i64),
    /// real, double precision
    Float(f64),
    /// numeric
    Numeric(Numeric),
    /// text, varchar, and what has one canonical spelling: uuid, date, time, timestamps, char(n) trimmed
    Text(String),
    /// json, jsonb: compared as jsonb compares
    Json(serde_json::Value),
}

impl Value {
    /// How this value is spelled inside a key.
    pub(crate) fn key_text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::Float(f) => f.to_string(),
            Self::Numeric(n) => n.normal(),
            Self::Text(t) => t.clone(),
            Self::Json(j) => j.to_string(),
        }
    }

    /// Orders two versions of a row; `None` where they cannot be compared.
    pub fn version_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Numeric(a), Self::Numeric(b)) => a.compare(b),
            // Canonical timestamps sort as text does.
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The value as JSON, every digit kept.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(i) => (*i).into(),
            Self::Float(f) => serde_json::Number::from_f64(*f)
                .map_or_else(|| f.to_string().into(), serde_json::Value::Number),
            Self::Numeric(n) => n
                .as_str()
                .parse::<serde_json::Number>()
                .map_or_else(|_| n.as_str().into(), serde_json::Value::Number),
            Self::Text(t) => t.as_str().into(),
            Self::Json(j) => j.clone(),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            // Postgres holds NaN equal to NaN, and -0 equal to 0.
            (Self::Float(a), Self::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Numeric(a), Self::Numeric(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => json_eq(a, b),
            _ => false,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(i) => serializer.serialize_i64(*i),
            Self::Text(t) => serializer.serialize_str(t),
            Self::Float(_) | Self::Numeric(_) | Self::Json(_) => self.to_json().serialize(serializer),
        }
    }
}

/// jsonb's equality: numbers by value, objects without order.
fn json_eq(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value as J;
    match (a, b) {
        (J::Number(a), J::Number(b)) => {
            match (Numeric::parse(&a.to_string()), Numeric::parse(&b.to_string())) {
                (Some(a), Some(b)) => a == b,
                _ => a == b,
            }
        }
        (J::Array(a), J::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| json_eq(a, b)),
        (J::Object(a), J::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| json_eq(v, w)))
        }
        _ => a == b,
    }
}

/// An exact decimal: the text as written, compared by value, never expanded.
#[derive(Clone, Debug)]
pub struct Numeric(String);

/// The most digits, and the largest exponent, that we take from a sender.
///
/// Far beyond any price and far below what would make arithmetic on it a weapon.
pub const NUMERIC_LIMIT: usize = 1000;

impl Numeric {
    /// Reads a JSON or Postgres number; `None` when it is none, or is larger than [`NUMERIC_LIMIT`].
    pub fn parse(text: &str) -> Option<Self> {
        Parts::read(text).map(|_| Self(text.to_owned()))
    }

    /// Takes Postgres' own output, which may also say `NaN` or `Infinity`.
    pub fn from_postgres(text: String) -> Self {
        Self(text)
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of digits before and after the decimal point that a column must hold; zero is (0, 0).
    pub fn digits(&self) -> Option<(i64, i64)> {
        Parts::read(&self.0).map(|p| {
            let before = i64::try_from(p.digits.len()).unwrap_or(i64::MAX).saturating_add(p.exponent).max(0);
            (if p.digits.is_empty() { 0 } else { before }, (-p.exponent).max(0))
        })
    }

    /// Which of the two is larger; `None` when one of them is `NaN` or infinite.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let (a, b) = (Parts::read(&self.0)?, Parts::read(&other.0)?);
        Some(match (a.sign(), b.sign()) {
            (1, 1) => a.compare_magnitude(&b),
            (-1, -1) => b.compare_magnitude(&a),
            (a, b) => a.cmp(&b),
        })
    }

    /// Whether this is a whole multiple of `step`; `None` when that cannot be told: `step` is zero or has
    /// more than 36 digits, or one of the two is no finite number.
    pub fn is_multiple_of(&self, step: &Self) -> Option<bool> {
        let (value, step) = (Parts::read(&self.0)?, Parts::read(&step.0)?);
        if step.digits.is_empty() || step.digits.len() > 36 {
            return None;
        }
        let divisor: u128 = step.digits.parse().ok()?;
        // `digits` has no trailing zero, so a value with more decimal places than the step is no multiple.
        let Ok(zeros) = usize::try_from(value.exponent - step.exponent) else {
            return Some(value.digits.is_empty());
        };
        let digits = value.digits.bytes().map(|digit| u128::from(digit - b'0'));
        let remainder = digits
            .chain(std::iter::repeat_n(0, zeros))
            .fold(0, |remainder, digit| (remainder * 10 + digit) % divisor);
        Some(remainder == 0)
    }

    /// The value as an integer, when it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        let parts = Parts::read(&self.0)?;
        if parts.digits.is_empty() {
            return Some(0);
        }
        if parts.exponent < 0 || parts.exponent > 19 {
            return None;
        }
        let zeros = "0".repeat(usize::try_from(parts.exponent).ok()?);
        let sign = if parts.negative { "-" } else { "" };
        format!("{sign}{}{zeros}", parts.digits).parse().ok()
    }

    /// Whether the text is a JSON number as it stands.
    pub(crate) fn is_json(&self) -> bool {
        Parts::read(&self.0).is_some()
    }

    /// One spelling for each value: `1.50` and `15e-1` are both `1.5`.
    fn normal(&self) -> String {
        let Some(parts) = Parts::read(&self.0) else { return self.0.clone() };
        if parts.digits.is_empty() {
            return "0".to_owned();
        }
        let sign = if parts.negative { "-" } else { "" };
        let count = i64::try_from(parts.digits.len()).unwrap_or(i64::MAX);
        let point = count + parts.exponent;
        let body = if parts.exponent >= 0 {
            let zeros = usize::try_from(parts.exponent).unwrap_or(0);
            format!("{}{}", parts.digits, "0".repeat(zeros))
        } else if point > 0 {
            let (whole, fraction) = parts.digits.split_at(usize::try_from(point).unwrap_or(0));
            format!("{whole}.{fraction}")
        } else {
            let zeros = usize::try_from(-point).unwrap_or(0);
            format!("0.{}{}", "0".repeat(zeros), parts.digits)
        };
        format!("{sign}{body}")
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == other.0 {
            return true;
        }
        match (Parts::read(&self.0), Parts::read(&other.0)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        }
    }
}

/// A decimal taken apart: `digits × 10^exponent`, without leading or trailing zeros; zero has no digits.
#[derive(PartialEq, Eq)]
struct Parts {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Parts {
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Compares without regard to sign; neither may be zero.
    fn compare_magnitude(&self, other: &Self) -> Ordering {
        let point = |parts: &Self| parts.digits.len() as i128 + i128::from(parts.exponent);
        point(self).cmp(&point(other)).then_with(|| self.digits.cmp(&other.digits))
    }

    fn read(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || mantissa.ends_with('.') {
            return None;
        }
        if mantissa.len() > NUMERIC_LIMIT || exponent.unsigned_abs() > NUMERIC_LIMIT as u64 {
            return None;
        }
        let exponent = exponent - i64::try_from(fraction.len()).ok()?;
        let joined = format!("{whole}{fraction}");
        let significant = joined.trim_end_matches('0');
        let dropped = i64::try_from(joined.len() - significant.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent: exponent + dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(text: &str) -> Numeric {
        Numeric::parse(text).unwrap()
    }

    #[test]
    fn numerics_are_equal_by_value() {
        for (a, b) in [("1", "1.00"), ("0", "-0.0"), ("12.50", "1.25e1"), ("1e3", "1000"), ("0.01", "1E-2")] {
            assert_eq!(numeric(a), numeric(b));
            assert_eq!(numeric(a).normal(), numeric(b).normal());
        }
        assert_ne!(numeric("0.01"), numeric("0.011"));
        assert_ne!(numeric("-1"), numeric("1"));
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        for bad in ["", "-", "1.", ".5", "0x1", "1e", "NaN", "1e1001", "1e-99999999999999999999", " 1"] {
            assert!(Numeric::parse(bad).is_none(), "{bad}");
        }
        assert!(Numeric::parse(&"9".repeat(NUMERIC_LIMIT + 1)).is_none());
    }

    #[test]
    fn integers_come_out_of_any_spelling() {
        for (text, expected) in
            [("1.0", Some(1)), ("1e2", Some(100)), ("-0", Some(0)), ("1.5", None), ("1e30", None)]
        {
            assert_eq!(numeric(text).to_i64(), expected, "{text}");
        }
        assert_eq!(numeric("9223372036854775808").to_i64(), None);
        assert_eq!(numeric("-9223372036854775808").to_i64(), Some(i64::MIN));
    }

    #[test]
    fn digits_tell_what_a_column_must_hold() {
        assert_eq!(numeric("123.450").digits(), Some((3, 2)));
        assert_eq!(numeric("0.001").digits(), Some((0, 3)));
        assert_eq!(numeric("12e3").digits(), Some((5, 0)));
        assert_eq!(numeric("0.0").digits(), Some((0, 0)));
    }

    #[test]
    fn numerics_are_ordered_by_value() {
        let ascending =
            ["-1e30", "-12.5", "-12.49", "-0.001", "0", "1e-400", "0.1", "0.15", "0.2", "1", "1e20"];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(numeric(a).compare(&numeric(b)), Some(i.cmp(&j)), "{a} {b}");
            }
        }
        assert_eq!(numeric("0.30").compare(&numeric("3e-1")), Some(Ordering::Equal));
        assert_eq!(Numeric::from_postgres("NaN".to_owned()).compare(&numeric("1")), None);
    }

    #[test]
    fn timestamps_are_ordered_as_text() {
        let at = |s: &str| Value::Text(s.to_owned());
        let (whole, half) = (at("2024-01-01 10:00:00+00"), at("2024-01-01 10:00:00.5+00"));
        assert_eq!(whole.version_cmp(&half), Some(Ordering::Less));
    }

    #[test]
    fn multiples_are_exact() {
        for (value, step, expected) in [
            ("999999999999999999999999999999.99", "0.01", Some(true)),
            ("999999999999999999999999999999.995", "0.01", Some(false)),
            ("0.3", "0.1", Some(true)),
            ("-7.5", "2.5", Some(true)),
            ("1e400", "7", Some(false)),
            ("0", "0.25", Some(true)),
            ("1", "0", None),
        ] {
            assert_eq!(numeric(value).is_multiple_of(&numeric(step)), expected, "{value} {step}");
        }
    }

    #[test]
    fn json_compares_as_jsonb_does() {
        let json = |s: &str| Value::Json(serde_json::from_str(s).unwrap());
        assert_eq!(json(r#"{"a":1,"b":[1.0]}"#), json(r#"{"b":[1],"a":1.00}"#));
        assert_ne!(json(r#"{"a":1}"#), json(r#"{"a":"1"}"#));
    }
}
