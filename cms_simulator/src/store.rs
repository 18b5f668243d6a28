//! The CMS's own table. Every function is one transaction or works inside the caller's.

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use crate::dice::Plan;
use crate::editor;
use crate::event::FieldChange;
use crate::record::{Field, Fields};

/// Why the CMS could not change its table.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No row has this key.
    #[error("no fragrance has the key {key}: it was deleted, or never existed")]
    NoSuchRow {
        /// The key that was asked for.
        key: i32,
    },
    /// There is nothing to edit.
    #[error("table fragrances is empty: seed it with database_config/schema.sql and seed.sql")]
    EmptyTable,
    /// The database refused or did not answer.
    #[error("the CMS's database refused the change or did not answer")]
    Database(#[from] sqlx::Error),
}

/// A committed edit.
pub(crate) struct Edit {
    pub(crate) key: i32,
    /// The fields that were set, as they are sent.
    pub(crate) fields: Fields,
    /// Those of them that really changed.
    pub(crate) changes: Vec<FieldChange>,
}

/// Edits a random row as planned.
pub(crate) async fn edit_any(pool: &PgPool, plan: &Plan) -> Result<Edit, StoreError> {
    let mut transaction = pool.begin().await?;
    let (key, row) = lock_any(&mut transaction, plan.position).await?;
    let edit = set(&mut transaction, key, &row, editor::edit(&row, plan)).await?;
    transaction.commit().await?;
    Ok(edit)
}

/// Sets the given fields of one row.
pub(crate) async fn edit(pool: &PgPool, key: i32, fields: Fields) -> Result<Edit, StoreError> {
    let mut transaction = pool.begin().await?;
    let row = lock(&mut transaction, key).await?;
    let edit = set(&mut transaction, key, &row, fields).await?;
    transaction.commit().await?;
    Ok(edit)
}

/// Adds a row and returns its key. Absent fields get the table's defaults.
pub(crate) async fn insert(pool: &PgPool, fields: &Fields) -> Result<i32, StoreError> {
    let key = sqlx::query_scalar(
        "insert into fragrances (name, description, cost, forbidden)
         select name, description, cost, forbidden
         from jsonb_populate_record(null::fragrances, '{\"forbidden\": false}' || $1)
         returning fragrance_id",
    )
    .bind(Json(fields))
    .fetch_one(pool)
    .await?;
    Ok(key)
}

/// Deletes a random row as planned and returns its key.
pub(crate) async fn delete_any(pool: &PgPool, plan: &Plan) -> Result<i32, StoreError> {
    let mut transaction = pool.begin().await?;
    let (key, _) = lock_any(&mut transaction, plan.position).await?;
    remove(&mut transaction, key).await?;
    transaction.commit().await?;
    Ok(key)
}

/// Deletes one row.
pub(crate) async fn delete(pool: &PgPool, key: i32) -> Result<(), StoreError> {
    remove(&mut *pool.acquire().await?, key).await
}

/// The row at `position` between the first key (0) and the last (1), or the next one where that key is missing.
async fn lock_any(connection: &mut PgConnection, position: f64) -> Result<(i32, Fields), StoreError> {
    let row: Option<(i32, Json<Fields>)> = sqlx::query_as(
        "select fragrance_id,
                jsonb_build_object('name', name, 'description', description, 'forbidden', forbidden, 'cost', cost)
         from fragrances
         where fragrance_id >= (select min(fragrance_id) + floor((max(fragrance_id) - min(fragrance_id) + 1) * $1)
                                from fragrances)
         order by fragrance_id
         limit 1
         for update",
    )
    .bind(position)
    .fetch_optional(connection)
    .await?;
    row.map(|(key, Json(fields))| (key, fields)).ok_or(StoreError::EmptyTable)
}

async fn lock(connection: &mut PgConnection, key: i32) -> Result<Fields, StoreError> {
    let row: Option<Json<Fields>> = sqlx::query_scalar(
        "select jsonb_build_object('name', name, 'description', description, 'forbidden', forbidden, 'cost', cost)
         from fragrances
         where fragrance_id = $1
         for update",
    )
    .bind(key)
    .fetch_optional(connection)
    .await?;
    row.map(|Json(fields)| fields).ok_or(StoreError::NoSuchRow { key })
}

/// Postgres turns the JSON into the columns' own types, so a test may set anything that the table would take.
async fn set(
    connection: &mut PgConnection,
    key: i32,
    row: &Fields,
    fields: Fields,
) -> Result<Edit, StoreError> {
    sqlx::query(
        "update fragrances f
         set (name, description, cost, forbidden) =
             (select n.name, n.description, n.cost, n.forbidden from jsonb_populate_record(f, $2) n)
         where fragrance_id = $1",
    )
    .bind(key)
    .bind(Json(&fields))
    .execute(connection)
    .await?;
    let changes = fields.iter().filter_map(|(&field, to)| change(field, row.get(&field), to)).collect();
    Ok(Edit { key, fields, changes })
}

fn change(field: Field, from: Option<&Value>, to: &Value) -> Option<FieldChange> {
    let from = from.unwrap_or(&Value::Null);
    (from != to).then(|| FieldChange { field, from: from.clone(), to: to.clone() })
}

async fn remove(connection: &mut PgConnection, key: i32) -> Result<(), StoreError> {
    let deleted = sqlx::query("delete from fragrances where fragrance_id = $1")
        .bind(key)
        .execute(connection)
        .await?
        .rows_affected();
    if deleted == 0 { Err(StoreError::NoSuchRow { key }) } else { Ok(()) }
}
