//! Before anything is compared: can these two tables be compared at all, and how?
//!
//! Promises: tables that cannot be compared exactly are refused in so many words, with the way out; only the
//! catalogue is read. Must not know: rows.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{PgConnection, Row as _};

use super::inconclusive::{Inconclusive, Side};
use super::key::KeyShape;
use super::side::{Session, answered, table_name};
use super::{Method, Plan};
use crate::contract::{Column, ColumnType, Contract};
use crate::library::statement::compare::{Form, VECTORS};

/// The first version with all that the slowest way of comparing needs.
const OLDEST: i32 = 13;

/// How long a question about the catalogue may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the two sides have in common.
#[derive(Debug)]
pub(super) struct Agreed {
    /// How to compare them.
    pub(super) method: Method,
    /// How each of the contract's columns goes into a hash.
    pub(super) forms: Vec<Form>,
    /// Rows of both sides, as their statistics estimate.
    pub(super) rows_expected: u64,
}

/// Examines both sides.
pub(super) async fn agree(
    plan: &Plan,
    source: &mut Session,
    target: &mut Session,
) -> Result<Agreed, Inconclusive> {
    let (on_source, on_target) = tokio::try_join!(Shape::read(plan, source), Shape::read(plan, target))?;
    if on_source.is_standby {
        return Err(Inconclusive::Standby);
    }
    for (side, shape) in [(Side::Source, &on_source), (Side::Target, &on_target)] {
        if shape.major < OLDEST {
            return Err(Inconclusive::Old { side, major: shape.major });
        }
    }
    let contract = &*plan.contract;
    let mut disagreements = on_source.disagreements(Side::Source, contract);
    disagreements.extend(on_target.disagreements(Side::Target, contract));
    if !disagreements.is_empty() {
        return Err(Inconclusive::Shape(disagreements));
    }
    let key = KeyShape::of(contract);
    let alike = tokio::join!(vectors(source), vectors(target));
    let alike = matches!(alike, (Some(a), Some(b)) if a == b);
    let method = match plan.force {
        Some(Method::Buckets) if !key.is_one_whole_number() => {
            return Err(Inconclusive::NoBuckets("its key is not one whole number"));
        }
        Some(Method::Buckets) if !alike => {
            return Err(Inconclusive::NoBuckets("the two servers hash differently"));
        }
        Some(Method::Stream) | None if !alike => Method::TextStream,
        Some(forced) => forced,
        None if key.is_one_whole_number() => Method::Buckets,
        None => Method::Stream,
    };
    let forms = contract.columns.iter().map(|column| form(column, &on_source, &on_target)).collect();
    Ok(Agreed { method, forms, rows_expected: on_source.rows_estimated + on_target.rows_estimated })
}

/// What the server hashes known values to; `None` where it cannot.
async fn vectors(session: &mut Session) -> Option<Vec<Option<i64>>> {
    let vectors = sqlx::query_scalar(VECTORS).fetch_one(&mut session.connection);
    let vectors = answered(PATIENCE, vectors).await;
    if let Err(error) = &vectors {
        tracing::info!(side = %session.side, %error, "no hashes of records here: rows are compared by spelling");
    }
    vectors.ok()
}

/// What is known of one side's table.
#[derive(Debug)]
struct Shape {
    table: String,
    exists: bool,
    columns: HashMap<String, Found>,
    /// The columns of each unique index that judges all rows.
    unique: Vec<Vec<String>>,
    hides_rows: bool,
    is_standby: bool,
    major: i32,
    rows_estimated: u64,
}

#[derive(Debug)]
struct Found {
    /// Its type without length, precision or scale, which say nothing about equality.
    ty: String,
    not_null: bool,
    is_enum: bool,
}

impl Shape {
    async fn read(plan: &Plan, session: &mut Session) -> Result<Self, Inconclusive> {
        let table = table_name(session.side, plan);
        let read = answered(PATIENCE, read(&mut session.connection, table)).await;
        read.map_err(|source| session.failed(source))
    }

    /// Why this table does not fit the contract, a sentence each.
    fn disagreements(&self, side: Side, contract: &Contract) -> Vec<String> {
        let table = &self.table;
        if !self.exists {
            return vec![format!(
                "the {side} has no table {table}: name the table that it has, or create it"
            )];
        }
        let mut found = Vec::new();
        if self.hides_rows {
            found.push(format!(
                "policies hide rows of {table} on the {side} from this role: use one that sees all of them \
                 (`alter role … bypassrls`)"
            ));
        }
        let keys: Vec<&str> = contract.key.iter().map(|&i| contract.columns[i].name.as_str()).collect();
        for (i, column) in contract.columns.iter().enumerate() {
            found.extend(self.disagreement(side, column, contract.key.contains(&i)));
        }
        let is_key = |index: &Vec<String>| {
            index.len() == keys.len() && index.iter().all(|name| keys.contains(&name.as_str()))
        };
        if found.is_empty() && !self.unique.iter().any(is_key) {
            found.push(format!(
                "nothing makes ({}) a key of {table} on the {side}: give it a primary key or a unique index on \
                 exactly these columns, or correct the contract's primaryKey",
                keys.join(", ")
            ));
        }
        found
    }

    fn disagreement(&self, side: Side, column: &Column, is_key: bool) -> Option<String> {
        let (table, name, wanted) = (&self.table, &column.name, column.ty);
        let Some(found) = self.columns.get(name.as_str()) else {
            return Some(format!(
                "column {name} does not exist in {table} on the {side}: add it, or take it out of the contract"
            ));
        };
        let place = format!("column {name} of {table} on the {side}");
        if found.carried().map(Family::of) != Some(Family::of(wanted)) {
            return Some(format!(
                "{place} is {}, and {wanted} in the contract: values of the two cannot be compared exactly",
                found.ty
            ));
        }
        if !is_key {
            return None;
        }
        if found.is_enum {
            Some(format!("{place} is part of the key, which an enum cannot be: make it text"))
        } else if found.is_wider_than(wanted) {
            Some(format!(
                "{place} is {}, wider than {wanted} in the contract: make the contract's as wide",
                found.ty
            ))
        } else if !found.not_null {
            Some(format!("{place} is part of the key and may be null: set it `not null`"))
        } else {
            None
        }
    }
}

async fn read(connection: &mut PgConnection, table: String) -> Result<Shape, sqlx::Error> {
    let about = sqlx::query(
        "select to_regclass($1) is not null,
                pg_is_in_recovery(),
                current_setting('server_version_num')::int4 / 10000,
                coalesce(row_security_active(to_regclass($1)::oid), false),
                -- a partitioned table has its rows in its partitions
                coalesce((select sum(greatest(c.reltuples, 0))::int8
                          from pg_class c
                          where c.oid = to_regclass($1) and c.relkind <> 'p'
                             or c.oid in (select relid from pg_partition_tree(to_regclass($1)) where isleaf)), 0)",
    )
    .bind(&table)
    .fetch_one(&mut *connection)
    .await?;
    let columns = sqlx::query(
        "select a.attname::text,
                format_type(case y.typtype when 'd' then y.typbasetype else y.oid end, null),
                a.attnotnull or y.typnotnull,
                y.typtype = 'e'
         from pg_attribute a
         join pg_type y on y.oid = a.atttypid
         where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped",
    )
    .bind(&table)
    .fetch_all(&mut *connection)
    .await?;
    let unique = sqlx::query_scalar(
        "select array_agg(a.attname::text)
         from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, n)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = to_regclass($1) and i.indisunique and i.indisvalid
           and i.indpred is null and i.indexprs is null and k.n <= i.indnkeyatts
         group by i.indexrelid",
    )
    .bind(&table)
    .fetch_all(connection)
    .await?;
    let columns = columns.iter().map(|row| {
        Ok((
            row.try_get(0)?,
            Found { ty: row.try_get(1)?, not_null: row.try_get(2)?, is_enum: row.try_get(3)? },
        ))
    });
    Ok(Shape {
        exists: about.try_get(0)?,
        is_standby: about.try_get(1)?,
        major: about.try_get(2)?,
        hides_rows: about.try_get(3)?,
        rows_estimated: about.try_get::<i64, _>(4)?.unsigned_abs(),
        columns: columns.collect::<Result<_, sqlx::Error>>()?,
        unique,
        table,
    })
}

/// Types whose values are equal, and hash alike, when they say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Whole,
    Text,
    Json,
    /// A family of its own.
    Lone(ColumnType),
}

impl Family {
    fn of(ty: ColumnType) -> Self {
        match ty {
            _ if ty.is_whole_number() => Self::Whole,
            ColumnType::Text | ColumnType::Varchar(_) => Self::Text,
            ColumnType::Json | ColumnType::Jsonb => Self::Json,
            ColumnType::Numeric(_) => Self::Lone(ColumnType::Numeric(None)),
            ColumnType::Char(_) => Self::Lone(ColumnType::Char(1)),
            other => Self::Lone(other),
        }
    }
}

impl Found {
    /// The type that it is read as, where it can be.
    fn carried(&self) -> Option<ColumnType> {
        if self.is_enum { Some(ColumnType::Text) } else { self.ty.parse().ok() }
    }

    /// Whether it holds keys that the contract's type does not.
    fn is_wider_than(&self, wanted: ColumnType) -> bool {
        let bytes = |ty| match ty {
            ColumnType::SmallInt => 2,
            ColumnType::Integer => 4,
            ColumnType::BigInt => 8,
            _ => 0,
        };
        self.carried().is_some_and(|ty| bytes(ty) > bytes(wanted))
    }
}

/// How a column goes into a hash so that both sides mean the same by it.
fn form(column: &Column, source: &Shape, target: &Shape) -> Form {
    let found = [source, target].map(|shape| shape.columns.get(column.name.as_str()));
    let any = |is: fn(&Found) -> bool| found.iter().flatten().any(|column| is(column));
    match Family::of(column.ty) {
        Family::Whole if any(|column| column.ty == "bigint") => Form::Wide,
        Family::Text if any(|column| column.is_enum) => Form::Spelled,
        Family::Text => Form::Text,
        Family::Json if any(|column| column.ty == "jsonb") => Form::Jsonb,
        Family::Json => Form::Spelled,
        Family::Lone(ty) => match ty {
            ColumnType::Char(_) => Form::Text,
            ColumnType::Numeric(_) => Form::Numeric,
            ColumnType::Real | ColumnType::Double => Form::Float,
            ColumnType::Timestamp | ColumnType::TimestampTz => Form::Moment,
            _ => Form::Plain,
        },
        Family::Whole => Form::Plain,
    }
}
