//! The SQL that a contract implies, compiled once per table; SQL is built from names here and in the
//! files below, and nowhere else.
//!
//! Promises: every name is a quoted [`Identifier`]; values travel only as parameters, as typed arrays
//! through `unnest`; columns that the contract does not name are never read or written. Must not know:
//! what a change means.

pub mod check;
pub mod compare;
mod reads;
mod scan;
mod text;

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use crate::change::Key;
use crate::contract::{ColumnType, Contract, Identifier};
use crate::value::{Numeric, Value};

pub use reads::JsonReads;
pub use scan::ScanSql;
use text::{Carrier, Text, carrier, words};

/// SQL that was built from quoted identifiers and fixed words alone. Only this module can make one.
#[derive(Clone, Debug)]
pub struct Sql(Arc<str>);

impl Sql {
    fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, as a query that still needs its parameters.
    pub fn query<'q>(&self) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(Arc::clone(&self.0)))
    }
}

/// A row of the table: the contract's columns, in contract order.
pub type Row = Vec<Value>;

/// The compiled statements of one table.
#[derive(Debug)]
pub struct TableSql {
    columns: Vec<(Identifier, ColumnType)>,
    key: Vec<usize>,
    rest: Vec<usize>,
    read: Sql,
    read_locked: Sql,
    update: Sql,
    delete: Sql,
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
        let target = text::target(schema, table);
        let text = Text { columns: &columns, key: &key, rest: &rest, target: &target };
        let read = text.read();
        Self {
            read_locked: Sql::new(format!("{read} for no key update of t")),
            read: Sql::new(read),
            update: Sql::new(text.update()),
            delete: Sql::new(text.delete()),
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
        self.bind_keys(text.query(), keys)
    }

    /// Decodes a result row of [`TableSql::read`] into (index of the key, row).
    pub fn decode(&self, row: &PgRow) -> Result<(usize, Row), sqlx::Error> {
        let ordinal: i64 = row.try_get(0)?;
        let values = self.columns.iter().enumerate().map(|(i, (_, ty))| decode(*ty, row, i + 1));
        Ok((usize::try_from(ordinal - 1).unwrap_or_default(), values.collect::<Result<_, _>>()?))
    }

    /// Reads the next rows in order of the key, at most `limit`: from the beginning, or after the key whose parts
    /// are spelled `after`. They are decoded as those of [`TableSql::read`].
    pub fn page(&self, after: Option<&[String]>, limit: i64) -> Query<'static, Postgres, PgArguments> {
        let mut query = Sql::new(self.text().page(after.is_some())).query().bind(limit);
        for part in after.unwrap_or_default() {
            query = query.bind(part.clone());
        }
        query
    }

    /// Counts the rows.
    pub fn count(&self) -> Query<'static, Postgres, PgArguments> {
        Sql::new(format!("select count(*) from {}", self.target)).query()
    }

    /// Says whether there is any row.
    pub fn has_rows(&self) -> Query<'static, Postgres, PgArguments> {
        Sql::new(format!("select exists (select from {})", self.target)).query()
    }

    fn text(&self) -> Text<'_> {
        Text { columns: &self.columns, key: &self.key, rest: &self.rest, target: &self.target }
    }

    /// Sets the touched columns of existing rows, in the order given.
    pub fn update<'q>(&self, updates: &'q [Update<'q>]) -> Query<'q, Postgres, PgArguments> {
        let keys: Vec<&Key> = updates.iter().map(|u| u.key).collect();
        let mut query = self.bind_keys(self.update.query(), &keys);
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
        let mut query = Sql::new(self.text().insert(&columns)).query();
        for i in columns {
            query = bind(query, self.columns[i].1, rows.iter().map(|row| &row[i]));
        }
        query
    }

    /// Deletes the rows of these keys.
    pub fn delete<'q>(&self, keys: &'q [&Key]) -> Query<'q, Postgres, PgArguments> {
        self.bind_keys(self.delete.query(), keys)
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

#[cfg(test)]
mod tests;
