//! What Postgres' catalogue says about a table.

use sqlx::{FromRow, PgConnection};

use super::ImportError;
use crate::contract::ColumnType;

/// A table as it stands in the database.
#[derive(Clone, Debug)]
pub struct TableShape {
    /// Its schema, where the connection would not find it without.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<TableColumn>,
    /// Its check constraints, as Postgres writes them.
    pub checks: Vec<String>,
}

/// A column as it stands in the database.
#[derive(Clone, Debug, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are the catalogue's")]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` writes it.
    pub ty: String,
    /// Null is refused.
    pub not_null: bool,
    /// Its place in the primary key, from 1.
    pub key_position: Option<i32>,
    /// A unique constraint or index stands on it alone.
    pub is_unique: bool,
    /// Its value is computed by the table.
    pub is_generated: bool,
    /// Its value is given by the table, and no other is taken.
    pub is_identity_always: bool,
    /// Its comment.
    pub comment: Option<String>,
}

impl TableColumn {
    /// Its type, when we carry it.
    pub(super) fn column_type(&self) -> Option<ColumnType> {
        if self.is_generated { None } else { self.ty.parse().ok() }
    }
}

#[derive(FromRow)]
struct Found {
    oid: sqlx::postgres::types::Oid,
    schema: String,
    name: String,
    is_visible: bool,
    comment: Option<String>,
}

/// Reads a table; `table` is `name`, found as the connection would find it, or `schema.name`.
pub(super) async fn read(connection: &mut PgConnection, table: &str) -> Result<TableShape, ImportError> {
    let found: Option<Found> = sqlx::query_as(
        "select c.oid, n.nspname::text as schema, c.relname::text as name,
                pg_table_is_visible(c.oid) as is_visible, obj_description(c.oid, 'pg_class') as comment
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'f')
           and (n.nspname || '.' || c.relname = $1 or (c.relname = $1 and pg_table_is_visible(c.oid)))
         order by pg_table_is_visible(c.oid) desc
         limit 1",
    )
    .bind(table)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found else {
        return Err(ImportError::NoSuchTable { table: table.to_owned(), choices: tables(connection).await? });
    };
    Ok(TableShape {
        columns: columns(connection, found.oid).await?,
        checks: checks(connection, found.oid).await?,
        schema: (!found.is_visible).then_some(found.schema),
        name: found.name,
        comment: found.comment,
    })
}

async fn columns(
    connection: &mut PgConnection,
    table: sqlx::postgres::types::Oid,
) -> Result<Vec<TableColumn>, sqlx::Error> {
    sqlx::query_as(
        "select a.attname::text as name,
                format_type(a.atttypid, a.atttypmod) as ty,
                a.attnotnull as not_null,
                array_position(p.indkey::int2[], a.attnum) + 1 as key_position,
                exists (
                    select from pg_index u
                    where u.indrelid = a.attrelid and u.indisunique and u.indnkeyatts = 1
                      and u.indpred is null and u.indkey[0] = a.attnum
                ) as is_unique,
                a.attgenerated <> '' as is_generated,
                a.attidentity = 'a' as is_identity_always,
                col_description(a.attrelid, a.attnum) as comment
         from pg_attribute a
         left join pg_index p on p.indrelid = a.attrelid and p.indisprimary
         where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
         order by a.attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

async fn checks(
    connection: &mut PgConnection,
    table: sqlx::postgres::types::Oid,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = $1 and contype = 'c' order by conname",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// The tables that a person may have meant.
async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select case when pg_table_is_visible(c.oid) then c.relname::text else n.nspname || '.' || c.relname end
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'f') and not c.relispartition
           and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
         order by 1",
    )
    .fetch_all(connection)
    .await
}
