//! The comparison: reads both tables whole.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::report::{Bytes, ChangedColumn, Drift, Kind, Rows};
use super::{Endpoint, Plan, Progress, Stage};
use crate::change::Key;
use crate::contract::Contract;
use crate::library::session;
use crate::library::statement::{Row, TableSql};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Rows read.
    pub rows: Rows,
    /// Bytes read.
    pub bytes: Bytes,
    /// Buckets that differ.
    pub dirty_buckets: Option<u64>,
    /// Candidates.
    pub candidates: u64,
    /// Changed while we looked.
    pub in_flight: u64,
    /// Confirmed.
    pub found: Vec<Found>,
}

/// A row that differs.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub key: Key,
    /// How.
    pub kind: Kind,
    /// The reference's row.
    pub source: Option<Row>,
    /// The library's row.
    pub target: Option<Row>,
}

impl Found {
    /// For the report.
    pub fn drift(&self, contract: &Contract, table: &str) -> Drift {
        let columns = match (&self.source, &self.target) {
            (Some(source), Some(target)) => contract
                .columns
                .iter()
                .zip(source.iter().zip(target))
                .filter(|(_, (a, b))| a != b)
                .map(|(column, (a, b))| ChangedColumn {
                    name: column.name.as_str().to_owned(),
                    source: a.to_json(),
                    target: b.to_json(),
                })
                .collect(),
            _ => Vec::new(),
        };
        Drift { table: table.to_owned(), key: self.key.text().to_string(), kind: self.kind, columns }
    }
}

/// It could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Inconclusive {
    /// A side does not answer.
    #[error("a database cannot be read")]
    Sql(#[from] sqlx::Error),
}

/// Compares.
pub async fn diff(plan: &Plan, progress: &Progress) -> Result<Findings, Inconclusive> {
    progress.enter(Stage::Scan);
    let first = once(plan).await?;
    tokio::time::sleep(plan.grace).await;
    let second = once(plan).await?;
    progress.enter(Stage::Confirm);
    let mut findings = Findings { rows: second.0, candidates: first.1.len() as u64, ..Findings::default() };
    for (key, found) in first.1 {
        match second.1.get(&key) {
            Some(again) if again.source == found.source && again.target == found.target => {
                findings.found.push(found)
            }
            Some(_) => findings.in_flight += 1,
            None => {}
        }
    }
    Ok(findings)
}

async fn once(plan: &Plan) -> Result<(Rows, HashMap<Key, Found>), sqlx::Error> {
    let (mut source, mut target) = tokio::try_join!(all(plan, &plan.source), all(plan, &plan.target))?;
    let rows = Rows { source: source.len() as u64, target: target.len() as u64 };
    let mut found = HashMap::new();
    for (key, row) in source.drain() {
        let there = target.remove(&key);
        if there.as_ref() != Some(&row) {
            let kind = if there.is_some() { Kind::Stale } else { Kind::Missing };
            found.insert(key.clone(), Found { key, kind, source: Some(row), target: there });
        }
    }
    for (key, row) in target {
        found.insert(key.clone(), Found { key, kind: Kind::Orphan, source: None, target: Some(row) });
    }
    Ok((rows, found))
}

async fn all(plan: &Plan, endpoint: &Endpoint) -> Result<HashMap<Key, Row>, sqlx::Error> {
    let mut conn = session::connect_reader(&endpoint.connect, plan.statement_timeout).await?;
    let sql = TableSql::for_table(&plan.contract, endpoint.schema.as_ref(), &endpoint.table);
    let columns: Vec<String> =
        plan.contract.key.iter().map(|&i| plan.contract.columns[i].name.to_string()).collect();
    let text = format!("select {}::text from {}", columns[0], sql.target());
    let keys: Vec<String> = sqlx::query(sqlx::AssertSqlSafe(text))
        .fetch(&mut conn)
        .map_ok(|row| row.get::<String, _>(0))
        .try_collect()
        .await?;
    let keys: Vec<Key> = keys
        .iter()
        .map(|k| Key::new(vec![crate::value::Value::Int(k.parse().unwrap_or_default())]))
        .collect();
    let keys: Vec<&Key> = keys.iter().collect();
    let mut rows = HashMap::new();
    for row in sql.read(&keys, false).fetch_all(&mut conn).await? {
        let (index, row) = sql.decode(&row)?;
        rows.insert(keys[index].clone(), row);
    }
    Ok(rows)
}
