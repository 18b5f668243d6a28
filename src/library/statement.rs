//! The SQL that a contract implies, compiled once per table; the only place that builds SQL from names.
//!
//! Promises: every name is a quoted [`Identifier`]; values travel only as parameters, as typed arrays
//! through `unnest`; columns that the contract does not name are never read or written. Must not know:
//! what a change means.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use crate::change::Key;
use crate::contract::{ColumnType, Contract, Identifier};
use crate::value::{Numeric, Value};

/// A row of the table: the contract's columns, in contract order.
pub type Row = Vec<Value>;

/// The compiled statements of one table.
#[derive(Debug)]
pub struct TableSql {
    columns: Vec<(Identifier, ColumnType)>,
    key: Vec<usize>,
    rest: Vec<usize>,
    read: Arc<str>,
    read_locked: Arc<str>,
    update: Arc<str>,
    delete: Arc<str>,
    target: String,
}

/// A row to update: its key, its new values, and which columns to touch.
#[derive(Debug)]
pub struct Update<'a> {
    /// Which row.
    pub key: &'a Key,
    /// The row as it shall be.
    pub row: &'a Row,
    /// The columns to set; the others stay as they are.
    pub touched: &'a ColumnSet,
}

/// A set of a contract's columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnSet(Vec<u64>);

impl ColumnSet {
    /// Bits a word: a word travels as int8, so the sign is left alone.
    const WORD: usize = 63;

    /// Adds a column.
    pub fn insert(&mut self, column: usize) {
        let word = column / Self::WORD;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (column % Self::WORD);
    }

    /// Adds all of the other set's columns.
    pub fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    /// Whether the column is in the set.
    pub fn contains(&self, column: usize) -> bool {
        self.0.get(column / Self::WORD).is_some_and(|word| word & (1 << (column % Self::WORD)) != 0)
    }

    /// Whether no column is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn word(&self, index: usize) -> i64 {
        self.0.get(index).copied().unwrap_or(0).cast_signed()
    }
}

impl TableSql {
    /// Compiles the statements for the contract's own table.
    pub fn new(contract: &Contract) -> Self {
        Self::for_table(contract, contract.schema.as_ref(), &contract.table)
    }

    /// Compiles them for another table of the same shape, such as the reference's.
    pub fn for_table(contract: &Contract, schema: Option<&Identifier>, table: &Identifier) -> Self {
        let columns: Vec<_> = contract.columns.iter().map(|c| (c.name.clone(), c.ty)).collect();
        let key = contract.key.clone();
        let rest: Vec<usize> = (0..columns.len()).filter(|i| !key.contains(i)).collect();
        let target = match schema {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_string(),
        };
        let text = Text { columns: &columns, key: &key, rest: &rest, target: &target };
        let read = text.read();
        Self {
            read_locked: format!("{read} for no key update of t").into(),
            read: read.into(),
            update: text.update().into(),
            delete: text.delete().into(),
            columns,
            key,
            rest,
            target,
        }
    }

    /// The table's quoted name.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Reads the rows of these keys; `lock` keeps other writers off them until the transaction ends.
    ///
    /// Each result row is (index of the key + 1, contract columns…): see [`TableSql::decode`].
    pub fn read<'q>(&self, keys: &'q [&Key], lock: bool) -> Query<'q, Postgres, PgArguments> {
        let text = if lock { &self.read_locked } else { &self.read };
        self.bind_keys(sqlx::query(AssertSqlSafe(Arc::clone(text))), keys)
    }

    /// Decodes a result row of [`TableSql::read`] into (index of the key, row).
    pub fn decode(&self, row: &PgRow) -> Result<(usize, Row), sqlx::Error> {
        let ordinal: i64 = row.try_get(0)?;
        let values = self.columns.iter().enumerate().map(|(i, (_, ty))| decode(*ty, row, i + 1));
        Ok((usize::try_from(ordinal - 1).unwrap_or_default(), values.collect::<Result<_, _>>()?))
    }

    /// Sets the touched columns of existing rows, in the order given.
    pub fn update<'q>(&self, updates: &'q [Update<'q>]) -> Query<'q, Postgres, PgArguments> {
        let keys: Vec<&Key> = updates.iter().map(|u| u.key).collect();
        let mut query = self.bind_keys(sqlx::query(AssertSqlSafe(Arc::clone(&self.update))), &keys);
        for &i in &self.rest {
            let values = updates.iter().map(|u| if u.touched.contains(i) { &u.row[i] } else { &Value::Null });
            query = bind(query, self.columns[i].1, values);
        }
        for word in 0..words(&self.rest) {
            query = query.bind(updates.iter().map(|u| u.touched.word(word)).collect::<Vec<_>>());
        }
        query
    }

    /// Inserts rows, in the order given, with a value for each column of `present`; the table's defaults
    /// fill the rest. A row that exists already is left alone and not counted.
    pub fn insert<'q>(&self, rows: &[&'q Row], present: &ColumnSet) -> Query<'q, Postgres, PgArguments> {
        let columns: Vec<usize> = (0..self.columns.len()).filter(|&i| present.contains(i)).collect();
        let text = Text { columns: &self.columns, key: &self.key, rest: &self.rest, target: &self.target };
        let mut query = sqlx::query(AssertSqlSafe(text.insert(&columns)));
        for i in columns {
            query = bind(query, self.columns[i].1, rows.iter().map(|row| &row[i]));
        }
        query
    }

    /// Deletes the rows of these keys.
    pub fn delete<'q>(&self, keys: &'q [&Key]) -> Query<'q, Postgres, PgArguments> {
        self.bind_keys(sqlx::query(AssertSqlSafe(Arc::clone(&self.delete))), keys)
    }

    fn bind_keys<'q>(
        &self,
        mut query: Query<'q, Postgres, PgArguments>,
        keys: &[&'q Key],
    ) -> Query<'q, Postgres, PgArguments> {
        for (part, &column) in self.key.iter().enumerate() {
            query = bind(query, self.columns[column].1, keys.iter().map(|key| &key.values()[part]));
        }
        query
    }
}

/// How many mask words a set of columns takes.
fn words(rest: &[usize]) -> usize {
    rest.last().map_or(0, |last| last / ColumnSet::WORD + 1)
}

/// The texts, each written as one would by hand.
struct Text<'a> {
    columns: &'a [(Identifier, ColumnType)],
    key: &'a [usize],
    rest: &'a [usize],
    target: &'a str,
}

impl Text<'_> {
    fn read(&self) -> String {
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

    fn update(&self) -> String {
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

    fn insert(&self, columns: &[usize]) -> String {
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

    fn delete(&self) -> String {
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

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The array type that carries a column's values to Postgres.
enum Carrier {
    Int,
    Float,
    Bool,
    Text,
}

fn carrier(ty: ColumnType) -> Carrier {
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
fn shown_as(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::SmallInt | ColumnType::Integer => "::int8",
        ColumnType::Real => "::float8",
        ColumnType::BigInt | ColumnType::Boolean | ColumnType::Double => "",
        _ => "::text",
    }
}

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    ty: ColumnType,
    values: impl Iterator<Item = &'q Value>,
) -> Query<'q, Postgres, PgArguments> {
    match carrier(ty) {
        Carrier::Int => query
            .bind(values.map(|v| if let Value::Int(i) = v { Some(*i) } else { None }).collect::<Vec<_>>()),
        Carrier::Float => query
            .bind(values.map(|v| if let Value::Float(f) = v { Some(*f) } else { None }).collect::<Vec<_>>()),
        Carrier::Bool => query
            .bind(values.map(|v| if let Value::Bool(b) = v { Some(*b) } else { None }).collect::<Vec<_>>()),
        Carrier::Text => query.bind(values.map(spelled).collect::<Vec<_>>()),
    }
}

fn spelled(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Numeric(numeric) => Some(Cow::Borrowed(numeric.as_str())),
        Value::Json(json) => Some(Cow::Owned(json.to_string())),
        _ => None,
    }
}

fn decode(ty: ColumnType, row: &PgRow, i: usize) -> Result<Value, sqlx::Error> {
    let value = match carrier(ty) {
        Carrier::Int => row.try_get::<Option<i64>, _>(i)?.map(Value::Int),
        Carrier::Float => row.try_get::<Option<f64>, _>(i)?.map(Value::Float),
        Carrier::Bool => row.try_get::<Option<bool>, _>(i)?.map(Value::Bool),
        Carrier::Text => row.try_get::<Option<String>, _>(i)?.map(|text| match ty {
            ColumnType::Numeric(_) => Value::Numeric(Numeric::from_postgres(text)),
            ColumnType::Json | ColumnType::Jsonb => {
                Value::Json(serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
            }
            _ => Value::Text(text),
        }),
    };
    Ok(value.unwrap_or(Value::Null))
}
