//! All rows of a table, for those who judge them.
//!
//! Promises: one pass, in no order; each column is read once, however many contracts name it. Must not know: what the
//! rows are held against.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryScalar};

use super::text::{join, shown_as, target};
use super::{Row, Sql, decode};
use crate::contract::{Column, ColumnType, Contract, Identifier};
use crate::value::Value;

/// A scan of one contract's table, with the columns that another one names, too.
#[derive(Debug)]
pub struct ScanSql {
    columns: Vec<(Identifier, ColumnType)>,
    sql: Sql,
    target: String,
    /// Where each column of the first contract is, and of the other.
    places: [Vec<usize>; 2],
}

impl ScanSql {
    /// A scan of `contract`'s table that reads what `other` names beside it.
    pub fn new(contract: &Contract, other: Option<&Contract>) -> Self {
        let mut columns: Vec<(Identifier, ColumnType)> = Vec::new();
        let mut places = |contract: &Contract| {
            let place = |column: &Column| {
                let wanted = (column.name.clone(), column.ty);
                columns.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                    columns.push(wanted);
                    columns.len() - 1
                })
            };
            contract.columns.iter().map(place).collect::<Vec<_>>()
        };
        let places = [places(contract), other.map(&mut places).unwrap_or_default()];
        let shown = join(columns.iter().map(|(name, ty)| format!("t.{name}{}", shown_as(*ty))));
        let target = target(contract.schema.as_ref(), &contract.table);
        let sql = Sql::new(format!("select {shown} from {target} t"));
        Self { columns, sql, target, places }
    }

    /// Reads the rows.
    pub fn rows(&self) -> Query<'static, Postgres, PgArguments> {
        self.sql.query()
    }

    /// How many rows there are, as the statistics estimate it; negative where they do not know.
    pub fn estimate(&self) -> QueryScalar<'static, Postgres, i64, PgArguments> {
        sqlx::query_scalar("select reltuples::int8 from pg_class where oid = to_regclass($1)")
            .bind(self.target.clone())
    }

    /// A row as the first contract sees it, and as the other one does.
    pub fn decode(&self, row: &PgRow) -> Result<[Row; 2], sqlx::Error> {
        let values = self.columns.iter().enumerate().map(|(i, (_, ty))| decode(*ty, row, i));
        let values = values.collect::<Result<Vec<Value>, _>>()?;
        let seen = |places: &[usize]| places.iter().map(|&place| values[place].clone()).collect();
        Ok([seen(&self.places[0]), seen(&self.places[1])])
    }
}
