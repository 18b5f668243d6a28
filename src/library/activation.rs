//! `accord.activation`: which contract is in force for a pipeline, and which were before.
//!
//! Promises: the newest row of a pipeline counts, for every process; of two who would change what is in force at
//! once, one succeeds and the other is told. Must not know: what a contract says, or what a change of it means.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, PgExecutor, Row as _};

/// One activation, with the document that it put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Row of `accord.activation`.
    pub id: i64,
    /// Row of `accord.contract`.
    pub contract: i32,
    /// The document's `id`.
    pub name: String,
    /// The document's `version`.
    pub version: String,
    /// SHA-256 of the document's bytes, in hex.
    pub hash: String,
    /// Since when.
    pub activated_at: DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// Although what was stored would be refused by it.
    pub forced: bool,
    /// Why, in that person's words.
    pub reason: Option<String>,
}

/// The contract in force, with its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// How it came to be in force.
    pub activation: Activation,
    /// The document as it was written.
    pub source: String,
}

/// What is written down of a decision to activate.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// By whom.
    pub by: &'a str,
    /// Although what is stored would be refused by it.
    pub forced: bool,
    /// Why, in that person's words.
    pub reason: Option<&'a str>,
    /// What it was known to mean.
    pub preview: Option<&'a Json>,
}

/// What is selected of an activation, in the order of [`Activation::read`].
macro_rules! select {
    ($more:literal, $rest:literal) => {
        concat!(
            "select a.id, a.contract, c.name, c.version, c.hash, a.at, a.activated_by, a.forced, a.reason",
            $more,
            " from accord.activation a
              join accord.pipeline p on p.id = a.pipeline
              join accord.contract c on c.id = a.contract
              where p.name = $1 order by a.id desc ",
            $rest
        )
    };
}

/// The contract in force for a pipeline; none when none ever was.
pub async fn active(executor: impl PgExecutor<'_>, pipeline: &str) -> Result<Option<Active>, sqlx::Error> {
    let row = sqlx::query(select!(", c.source", "limit 1")).bind(pipeline).fetch_optional(executor).await?;
    row.map(|row| Ok(Active { activation: Activation::read(&row)?, source: row.try_get(9)? })).transpose()
}

/// All activations of a pipeline, the newest first: the first one is in force.
pub async fn list(executor: impl PgExecutor<'_>, pipeline: &str) -> Result<Vec<Activation>, sqlx::Error> {
    let rows = sqlx::query(select!("", "")).bind(pipeline).fetch_all(executor).await?;
    rows.iter().map(Activation::read).collect()
}

/// The ids of the contracts in force, by their pipelines' names.
pub async fn in_force(executor: impl PgExecutor<'_>) -> Result<Vec<(String, i32)>, sqlx::Error> {
    sqlx::query_as(
        "select p.name, a.contract from accord.pipeline p cross join lateral
             (select contract from accord.activation where pipeline = p.id order by id desc limit 1) a",
    )
    .fetch_all(executor)
    .await
}

/// Puts a contract in force, unless by now another activation than `expected` is; false then, and nothing is done.
pub async fn activate(
    conn: &mut PgConnection,
    pipeline: i16,
    contract: i32,
    expected: Option<i64>,
    decision: &Decision<'_>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    // In a statement of its own: what is read afterwards is read under the lock.
    sqlx::query("select from accord.pipeline where id = $1 for no key update")
        .bind(pipeline)
        .execute(&mut *transaction)
        .await?;
    let done = sqlx::query(
        "insert into accord.activation (pipeline, contract, activated_by, forced, reason, preview)
         select $1, $2, $4, $5, $6, $7
         where (select max(id) from accord.activation where pipeline = $1) is not distinct from $3",
    )
    .bind(pipeline)
    .bind(contract)
    .bind(expected)
    .bind(decision.by)
    .bind(decision.forced)
    .bind(decision.reason)
    .bind(decision.preview)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.rows_affected() == 1)
}

impl Activation {
    /// The first characters of the hash: enough for a person to tell two documents apart.
    pub fn short_hash(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            contract: row.try_get(1)?,
            name: row.try_get(2)?,
            version: row.try_get(3)?,
            hash: row.try_get(4)?,
            activated_at: row.try_get(5)?,
            by: row.try_get(6)?,
            forced: row.try_get(7)?,
            reason: row.try_get(8)?,
        })
    }
}
