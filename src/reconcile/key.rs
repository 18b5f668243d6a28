//! A row's key as a scan gives it: small, and in the order in which both servers sort.
//!
//! Promises: `Ord` is the order of the streams, so that a server that sorts otherwise is noticed. Must not
//! know: hashes, tables.

use super::copy::{Malformed, Tuple};
use crate::change::Key;
use crate::contract::{ColumnType, Contract};
use crate::value::{Numeric, Value};

/// The key of one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum RawKey {
    /// One whole number: nothing on the heap, for there may be millions.
    Int(i64),
    /// Any other.
    Parts(Box<[Part]>),
}

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    /// A whole number, by value.
    Int(i64),
    /// Anything else, by the bytes of its spelling.
    Text(Box<str>),
}

/// The types of a key's columns.
#[derive(Clone, Debug)]
pub(super) struct KeyShape(Vec<ColumnType>);

impl KeyShape {
    pub(super) fn of(contract: &Contract) -> Self {
        Self(contract.key.iter().map(|&i| contract.columns[i].ty).collect())
    }

    /// Whether it is one whole number, as buckets need it.
    pub(super) fn is_one_whole_number(&self) -> bool {
        matches!(self.0.as_slice(), [only] if only.is_whole_number())
    }

    /// Takes a key off the front of a row.
    pub(super) fn take(&self, tuple: &mut Tuple) -> Result<RawKey, Malformed> {
        if self.is_one_whole_number() {
            return tuple.int8().map(RawKey::Int);
        }
        let parts = self.0.iter().map(|ty| {
            if ty.is_whole_number() { tuple.int8().map(Part::Int) } else { tuple.text().map(Part::Text) }
        });
        parts.collect::<Result<_, _>>().map(RawKey::Parts)
    }

    /// The key as the waist knows it.
    pub(super) fn key(&self, raw: &RawKey) -> Key {
        match raw {
            RawKey::Int(number) => Key::new(vec![Value::Int(*number)]),
            RawKey::Parts(parts) => {
                Key::new(parts.iter().zip(&self.0).map(|(part, ty)| part.value(*ty)).collect())
            }
        }
    }
}

impl Part {
    fn value(&self, ty: ColumnType) -> Value {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => match ty {
                ColumnType::Numeric(_) => Value::Numeric(Numeric::from_postgres(text.to_string())),
                ColumnType::Boolean => Value::Bool(&**text == "true"),
                _ => Value::Text(text.to_string()),
            },
        }
    }
}
