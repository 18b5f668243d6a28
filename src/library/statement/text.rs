//! The texts of the statements, each written as one would by hand.
//!
//! Promises: names are quoted by [`Identifier`]; what else is in a text is a fixed word or a number of ours.
//! Must not know: values.

use std::fmt::Write as _;

use super::ColumnSet;
use crate::contract::{ColumnType, Identifier};

/// A table's quoted name.
pub(super) fn target(schema: Option<&Identifier>, table: &Identifier) -> String {
    match schema {
        Some(schema) => format!("{schema}.{table}"),
        None => table.to_string(),
    }
}

/// How many mask words a set of columns takes.
pub(super) fn words(rest: &[usize]) -> usize {
    rest.last().map_or(0, |last| last / ColumnSet::WORD + 1)
}

/// The texts, each written as one would by hand.
pub(super) struct Text<'a> {
    pub(super) columns: &'a [(Identifier, ColumnType)],
    pub(super) key: &'a [usize],
    pub(super) rest: &'a [usize],
    pub(super) target: &'a str,
}

impl Text<'_> {
    pub(super) fn read(&self) -> String {
        let shown = self.columns.iter().map(|(name, ty)| format!("t.{name}{}", shown_as(*ty)));
        format!(
            "select k.n, {} from unnest({}) with ordinality as k({}, n) join {} t on {}",
            join(shown),
            self.parameters(self.key, 1),
            join((0..self.key.len()).map(|i| format!("k{i}"))),
            self.target,
            self.same_key("k"),
        )
    }

    pub(super) fn page(&self, continues: bool) -> String {
        let shown = self.columns.iter().map(|(name, ty)| format!("t.{name}{}", shown_as(*ty)));
        let key = join(self.key.iter().map(|&i| format!("t.{}", self.columns[i].0)));
        let after = self.key.iter().enumerate().map(|(part, &i)| {
            let cast = match self.columns[i].1 {
                ColumnType::BigInt => "::bigint",
                ColumnType::Boolean => "::boolean",
                ColumnType::Double => "::double precision",
                other => cast(other),
            };
            format!("${}::text{cast}", part + 2)
        });
        let after = if continues { format!(" where ({key}) > ({})", join(after)) } else { String::new() };
        format!("select 1::int8, {} from {} t{after} order by {key} limit $1", join(shown), self.target)
    }

    pub(super) fn update(&self) -> String {
        let masks = words(self.rest);
        let first_mask = 1 + self.key.len() + self.rest.len();
        let set = self.rest.iter().enumerate().map(|(n, &i)| {
            let (name, ty) = &self.columns[i];
            let (word, bit) = (i / ColumnSet::WORD, i % ColumnSet::WORD);
            let cast = cast(*ty);
            format!(
                "{name} = case when v.m{word} & (1::bigint << {bit}) <> 0 then v.c{n}{cast} else t.{name} end"
            )
        });
        let mut parameters = self.parameters(self.key, 1);
        if !self.rest.is_empty() {
            let _ = write!(parameters, ", {}", self.parameters(self.rest, 1 + self.key.len()));
        }
        for word in 0..masks {
            let _ = write!(parameters, ", ${}::int8[]", first_mask + word);
        }
        let names = (0..self.key.len())
            .map(|i| format!("k{i}"))
            .chain((0..self.rest.len()).map(|n| format!("c{n}")))
            .chain((0..masks).map(|word| format!("m{word}")));
        format!(
            "update {} t set {} from unnest({parameters}) as v({}) where {}",
            self.target,
            join(set),
            join(names),
            self.same_key("v"),
        )
    }

    pub(super) fn insert(&self, columns: &[usize]) -> String {
        let names = join(columns.iter().map(|&i| self.columns[i].0.to_string()));
        let values = columns.iter().enumerate().map(|(n, &i)| format!("v.c{n}{}", cast(self.columns[i].1)));
        format!(
            "insert into {} ({names}) select {} from unnest({}) as v({}) on conflict ({}) do nothing",
            self.target,
            join(values),
            self.parameters(columns, 1),
            join((0..columns.len()).map(|n| format!("c{n}"))),
            join(self.key.iter().map(|&i| self.columns[i].0.to_string())),
        )
    }

    pub(super) fn delete(&self) -> String {
        format!(
            "delete from {} t using unnest({}) as v({}) where {}",
            self.target,
            self.parameters(self.key, 1),
            join((0..self.key.len()).map(|i| format!("k{i}"))),
            self.same_key("v"),
        )
    }

    fn parameters(&self, columns: &[usize], first: usize) -> String {
        join(columns.iter().enumerate().map(|(n, &i)| {
            let element = match carrier(self.columns[i].1) {
                Carrier::Int => "int8",
                Carrier::Float => "float8",
                Carrier::Bool => "bool",
                Carrier::Text => "text",
            };
            format!("${}::{element}[]", first + n)
        }))
    }

    fn same_key(&self, from: &str) -> String {
        let parts = self.key.iter().enumerate().map(|(part, &i)| {
            let (name, ty) = &self.columns[i];
            format!("t.{name} = {from}.k{part}{}", cast(*ty))
        });
        parts.collect::<Vec<_>>().join(" and ")
    }
}

pub(super) fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The array type that carries a column's values to Postgres.
#[derive(Clone, Copy)]
pub(super) enum Carrier {
    Int,
    Float,
    Bool,
    Text,
}

pub(super) fn carrier(ty: ColumnType) -> Carrier {
    match ty {
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => Carrier::Int,
        ColumnType::Real | ColumnType::Double => Carrier::Float,
        ColumnType::Boolean => Carrier::Bool,
        _ => Carrier::Text,
    }
}

/// From the carrier to the column's type. Text and lengths are left to the assignment, which refuses what
/// is too long where an explicit cast would cut it.
fn cast(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::SmallInt => "::smallint",
        ColumnType::Integer => "::integer",
        ColumnType::Real => "::real",
        ColumnType::Numeric(_) => "::numeric",
        ColumnType::Uuid => "::uuid",
        ColumnType::Date => "::date",
        ColumnType::Time => "::time",
        ColumnType::Timestamp => "::timestamp",
        ColumnType::TimestampTz => "::timestamptz",
        ColumnType::Json => "::json",
        ColumnType::Jsonb => "::jsonb",
        ColumnType::Char(_) => "::bpchar",
        ColumnType::BigInt
        | ColumnType::Boolean
        | ColumnType::Double
        | ColumnType::Text
        | ColumnType::Varchar(_) => "",
    }
}

/// How a column is read: as its carrier.
pub(super) fn shown_as(ty: ColumnType) -> &'static str {
    match ty {
        // Another table's column may be narrower.
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => "::int8",
        ColumnType::Real => "::float8",
        ColumnType::Boolean | ColumnType::Double => "",
        _ => "::text",
    }
}
