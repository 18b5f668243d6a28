//! JSON spelled as Python's `json.dumps` spells it: a space after each comma and colon, and nothing but ASCII.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Serializes `value` as `json.dumps(value)` would.
pub(crate) fn dumps<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Python))?;
    Ok(bytes)
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    /// serde_json has already escaped quotes, backslashes and the controls below a space, just as Python does.
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { writer.write_all(b", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spelled(value: &serde_json::Value) -> String {
        String::from_utf8(dumps(value).unwrap()).unwrap()
    }

    /// Each expected text is what Python 3 prints for the same value.
    #[test]
    fn the_spelling_is_pythons() {
        assert_eq!(spelled(&json!({"a": [1, 2.5, null], "b": {}})), r#"{"a": [1, 2.5, null], "b": {}}"#);
        assert_eq!(spelled(&json!("Vétiver – été")), r#""V\u00e9tiver \u2013 \u00e9t\u00e9""#);
        assert_eq!(spelled(&json!("🌹")), r#""\ud83c\udf39""#);
        assert_eq!(spelled(&json!("\u{7f}")), r#""\u007f""#);
        assert_eq!(spelled(&json!("\"\\/\u{8}\u{c}\n\r\t\u{1f}")), r#""\"\\/\b\f\n\r\t\u001f""#);
    }

    #[test]
    fn numbers_keep_every_digit() {
        let exact: serde_json::Value = serde_json::from_str("12345678901234567890.50").unwrap();
        assert_eq!(spelled(&exact), "12345678901234567890.50");
    }
}
