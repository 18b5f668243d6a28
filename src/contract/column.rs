//! Columns of a contract and the Postgres types that we carry exactly.
//!
//! Promises: a type is either carried without loss or refused by name. Must not know: documents, SQL text.

use std::fmt;
use std::str::FromStr;

/// A name that Postgres takes as an identifier. Display quotes it, so that it can only ever be a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// Takes a name of 1 to 63 bytes without NUL; anything else is no identifier for Postgres.
    pub fn new(name: impl Into<String>) -> Result<Self, IdentifierError> {
        let name = name.into();
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return Err(IdentifierError(name));
        }
        Ok(Self(name))
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name cannot be an identifier.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no Postgres identifier: use 1 to 63 bytes without NUL")]
pub struct IdentifierError(String);

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// One column of the contract.
#[derive(Clone, Debug)]
pub struct Column {
    /// The field's name in a record (the property's `name`).
    pub field: String,
    /// The column's name in the table (`physicalName`, or the same as `field`).
    pub name: Identifier,
    /// Its Postgres type.
    pub ty: ColumnType,
    /// Null is refused.
    pub required: bool,
    /// The document declares it unique on its own.
    pub unique: bool,
    /// The document's `classification`: the column's own, or that of a sensitive part of its values.
    pub classification: Option<String>,
}

/// Classifications that anybody who may ask may see.
const HARMLESS: [&str; 2] = ["public", "internal"];

impl Column {
    /// Whether its values are to be masked.
    pub fn is_sensitive(&self) -> bool {
        self.classification.as_deref().is_some_and(is_sensitive)
    }
}

/// Whether a classification asks for a mask: every word does that is not known to be harmless.
pub(crate) fn is_sensitive(classification: &str) -> bool {
    !HARMLESS.iter().any(|known| known.eq_ignore_ascii_case(classification.trim()))
}

/// The Postgres types that we carry exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// smallint
    SmallInt,
    /// integer
    Integer,
    /// bigint
    BigInt,
    /// boolean
    Boolean,
    /// numeric, numeric(precision, scale)
    Numeric(Option<(u16, u16)>),
    /// real
    Real,
    /// double precision
    Double,
    /// text
    Text,
    /// varchar, varchar(n)
    Varchar(Option<u32>),
    /// char(n)
    Char(u32),
    /// uuid
    Uuid,
    /// date
    Date,
    /// time without time zone
    Time,
    /// timestamp without time zone
    Timestamp,
    /// timestamp with time zone
    TimestampTz,
    /// json
    Json,
    /// jsonb
    Jsonb,
}

impl ColumnType {
    /// Whether its values are whole numbers of a fixed width.
    pub fn is_whole_number(self) -> bool {
        matches!(self, Self::SmallInt | Self::Integer | Self::BigInt)
    }

    /// Whether its values are numbers.
    pub fn is_number(self) -> bool {
        matches!(
            self,
            Self::SmallInt | Self::Integer | Self::BigInt | Self::Numeric(_) | Self::Real | Self::Double
        )
    }

    /// Whether a value may be Postgres' `NaN`, which is no number and greater than all of them.
    pub(crate) fn may_be_nan(self) -> bool {
        matches!(self, Self::Numeric(_) | Self::Real | Self::Double)
    }
}

impl fmt::Display for ColumnType {
    /// The spelling of Postgres' own `format_type`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallInt => f.write_str("smallint"),
            Self::Integer => f.write_str("integer"),
            Self::BigInt => f.write_str("bigint"),
            Self::Boolean => f.write_str("boolean"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Self::Real => f.write_str("real"),
            Self::Double => f.write_str("double precision"),
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("character varying"),
            Self::Varchar(Some(n)) => write!(f, "character varying({n})"),
            Self::Char(n) => write!(f, "character({n})"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time without time zone"),
            Self::Timestamp => f.write_str("timestamp without time zone"),
            Self::TimestampTz => f.write_str("timestamp with time zone"),
            Self::Json => f.write_str("json"),
            Self::Jsonb => f.write_str("jsonb"),
        }
    }
}

/// A type that we do not carry.
#[derive(Debug, thiserror::Error)]
#[error(
    "type `{0}` is not supported: use smallint, integer, bigint, boolean, numeric, real, double precision, text, varchar, char, uuid, date, time, timestamp, timestamptz, json or jsonb"
)]
pub struct UnsupportedType(pub String);

impl FromStr for ColumnType {
    type Err = UnsupportedType;

    /// Reads what people write (`varchar(150)`, `int4`, `serial`) and what `format_type` prints.
    fn from_str(text: &str) -> Result<Self, UnsupportedType> {
        let unsupported = || UnsupportedType(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let (base, arguments) = match lower.split_once('(') {
            Some((base, rest)) => {
                let (inside, after) = rest.split_once(')').ok_or_else(unsupported)?;
                (format!("{}{after}", base.trim_end()), Some(inside.to_owned()))
            }
            None => (lower, None),
        };
        let numbers = arguments
            .as_deref()
            .map(|a| a.split(',').map(|n| n.trim().parse::<u32>()).collect::<Result<Vec<_>, _>>())
            .transpose()
            .map_err(|_| unsupported())?;
        let base = base.split_whitespace().collect::<Vec<_>>().join(" ");
        let length = || match numbers.as_deref() {
            None => Ok(None),
            Some([n]) if *n > 0 => Ok(Some(*n)),
            Some(_) => Err(unsupported()),
        };
        let plain = |ty| if numbers.is_none() { Ok(ty) } else { Err(unsupported()) };
        match base.as_str() {
            "smallint" | "int2" | "smallserial" | "serial2" => plain(Self::SmallInt),
            "integer" | "int" | "int4" | "serial" | "serial4" => plain(Self::Integer),
            "bigint" | "int8" | "bigserial" | "serial8" => plain(Self::BigInt),
            "boolean" | "bool" => plain(Self::Boolean),
            "real" | "float4" => plain(Self::Real),
            "double precision" | "float8" | "float" => plain(Self::Double),
            "text" => plain(Self::Text),
            "uuid" => plain(Self::Uuid),
            "date" => plain(Self::Date),
            "time" | "time without time zone" => plain(Self::Time),
            "timestamp" | "timestamp without time zone" => plain(Self::Timestamp),
            "timestamptz" | "timestamp with time zone" => plain(Self::TimestampTz),
            "json" => plain(Self::Json),
            "jsonb" => plain(Self::Jsonb),
            "varchar" | "character varying" => length().map(Self::Varchar),
            "char" | "character" | "bpchar" => length().map(|n| Self::Char(n.unwrap_or(1))),
            "numeric" | "decimal" => match numbers.as_deref() {
                None => Ok(Self::Numeric(None)),
                Some(&[precision]) => numeric(precision, 0).ok_or_else(unsupported),
                Some(&[precision, scale]) => numeric(precision, scale).ok_or_else(unsupported),
                Some(_) => Err(unsupported()),
            },
            _ => Err(unsupported()),
        }
    }
}

fn numeric(precision: u32, scale: u32) -> Option<ColumnType> {
    let in_range = (1..=1000).contains(&precision) && scale <= precision;
    in_range
        .then_some(ColumnType::Numeric(Some((u16::try_from(precision).ok()?, u16::try_from(scale).ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_from_its_own_spelling() {
        for text in [
            "smallint",
            "integer",
            "bigint",
            "boolean",
            "numeric",
            "numeric(10,2)",
            "real",
            "double precision",
            "text",
            "character varying",
            "character varying(150)",
            "character(3)",
            "uuid",
            "date",
            "time without time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "json",
            "jsonb",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_types_are_refused_by_name() {
        for text in ["money", "varchar(0)", "text(3)", "numeric(2,5)", "timestamp(3)", "int[]", "varchar(150"]
        {
            assert!(text.parse::<ColumnType>().unwrap_err().to_string().contains(text), "{text}");
        }
    }

    #[test]
    fn an_identifier_can_only_be_a_name() {
        assert_eq!(
            Identifier::new(r#"a"; drop table x; --"#).unwrap().to_string(),
            r#""a""; drop table x; --""#
        );
        assert!(Identifier::new("").is_err() && Identifier::new("a\0b").is_err());
    }
}
