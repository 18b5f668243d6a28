//! What the database says about a table: its columns, and what in it can refuse a write.
//!
//! Promises: reads the catalog only. Must not know: contracts beyond their column types and names.

use sqlx::{PgConnection, Row as _};

use crate::contract::{ColumnType, Contract};

/// How a table's own rules restrict the way a batch may be written, from the freest to the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strictness {
    /// Nothing but the primary key, and what the gate proves, can refuse a write: fold at will.
    Free,
    /// A row may be refused for what it or other rows say: each key once a statement, in order of arrival.
    Ordered,
    /// Checks that wait for the end of a statement, or triggers: one change at a time.
    Single,
}

/// One column of a real table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` spells it.
    pub ty: String,
    /// Null is refused.
    pub not_null: bool,
    /// The table fills it by itself when an insert leaves it out.
    pub has_default: bool,
    /// Its value is computed; nobody can write it.
    pub generated: bool,
}

/// The columns of a table; none when there is no such table.
///
/// `table` is a quoted name, as [`crate::library::statement::TableSql::target`] gives it.
pub async fn columns(conn: &mut PgConnection, table: &str) -> Result<Vec<TableColumn>, sqlx::Error> {
    let rows = sqlx::query(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull,
                atthasdef or attidentity <> '', attgenerated <> ''
         from pg_attribute
         where attrelid = to_regclass($1) and attnum > 0 and not attisdropped
         order by attnum",
    )
    .bind(table)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TableColumn {
                name: row.try_get(0)?,
                ty: row.try_get(1)?,
                not_null: row.try_get(2)?,
                has_default: row.try_get(3)?,
                generated: row.try_get(4)?,
            })
        })
        .collect()
}

/// The columns of the table's primary key, in key order.
pub async fn primary_key(conn: &mut PgConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select a.attname::text
         from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, n)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = to_regclass($1) and i.indisprimary
         order by k.n",
    )
    .bind(table)
    .fetch_all(conn)
    .await
}

/// The columns of each unique index that covers every row, by index.
pub async fn unique_columns(conn: &mut PgConnection, table: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
    sqlx::query_scalar(
        "select array(select a.attname::text
                      from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k
                      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k)
         from pg_index i
         where i.indrelid = to_regclass($1) and i.indisunique and i.indisvalid and i.indisready
           and i.indpred is null and i.indexprs is null",
    )
    .bind(table)
    .fetch_all(conn)
    .await
}

/// Where a table and its contract disagree, a sentence each; empty when they agree.
pub async fn disagreements(
    conn: &mut PgConnection,
    table: &str,
    contract: &Contract,
) -> Result<Vec<String>, sqlx::Error> {
    let actual = columns(conn, table).await?;
    if actual.is_empty() {
        return Ok(vec![format!(
            "table {table} does not exist; create it, or correct the contract's table name"
        )]);
    }
    let mut found = Vec::new();
    for column in &contract.columns {
        match actual.iter().find(|a| a.name == column.name.as_str()) {
            None => found.push(format!("column {} does not exist in {table}", column.name)),
            Some(a) if a.generated => {
                found.push(format!(
                    "column {} of {table} is generated: take it out of the contract",
                    column.name
                ));
            }
            Some(a) if a.ty.parse::<ColumnType>().ok() != Some(column.ty) => {
                found.push(format!(
                    "column {} is {} in {table} but {} in the contract",
                    column.name, a.ty, column.ty
                ));
            }
            Some(_) => {}
        }
    }
    let key: Vec<_> = contract.key.iter().map(|&i| contract.columns[i].name.as_str()).collect();
    let actual_key = primary_key(conn, table).await?;
    if key != actual_key {
        let (key, actual_key) = (key.join(", "), actual_key.join(", "));
        found.push(format!("the primary key is ({actual_key}) in {table} but ({key}) in the contract"));
    }
    Ok(found)
}

/// Finds how freely batches for this table may be folded.
pub async fn strictness(
    conn: &mut PgConnection,
    table: &str,
    contract: &Contract,
) -> Result<Strictness, sqlx::Error> {
    let row = sqlx::query(
        "with t as (select to_regclass($1)::oid as id)
         select
             -- whatever runs code, or judges only when the statement or the transaction ends
             exists (select from pg_trigger, t where tgrelid = t.id and not tgisinternal)
             or exists (select from pg_rewrite, t where ev_class = t.id)
             or exists (select from pg_constraint, t where conrelid = t.id and condeferrable)
             or exists (select from pg_constraint, t where conrelid = t.id and contype = 'f' and confrelid = t.id)
             or exists (select from pg_constraint, t where conrelid = t.id and contype = 'x'),
             -- whatever judges a row by itself, or against other rows
             exists (select from pg_constraint, t where conrelid = t.id and contype in ('c', 'f'))
             or exists (select from pg_constraint, t where confrelid = t.id and contype = 'f')
             or exists (select from pg_index, t where indrelid = t.id and indisunique and not indisprimary)
             or exists (select from pg_index, t where indrelid = t.id and indexprs is not null)
             or exists (select from pg_attribute a join pg_type y on y.oid = a.atttypid, t
                        where a.attrelid = t.id and a.attnum > 0 and y.typtype = 'd')
             or exists (select from pg_class c, t where c.oid = t.id and (c.relrowsecurity or c.relkind <> 'r'))
             or exists (select from pg_attribute, t where attrelid = t.id and attgenerated <> '')",
    )
    .bind(table)
    .fetch_one(&mut *conn)
    .await?;
    if row.try_get(0)? {
        return Ok(Strictness::Single);
    }
    let unproven = columns(conn, table).await?.iter().any(|actual| {
        match contract.columns.iter().find(|c| c.name.as_str() == actual.name) {
            // The gate proves lengths, ranges and nulls only where contract and table agree.
            Some(column) => {
                actual.ty.parse::<ColumnType>().ok() != Some(column.ty)
                    || (actual.not_null && !column.required)
            }
            None => actual.not_null && !actual.has_default,
        }
    });
    Ok(if row.try_get(1)? || unproven { Strictness::Ordered } else { Strictness::Free })
}
