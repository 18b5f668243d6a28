//! The reference: the source's own database, read afresh under the lock.
//!
//! Promises: one batched read with a short timeout; a reference that does not answer is left alone for a
//! while, and never holds up the waist. Must not know: what is done with the rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use crate::apply::{Mode, Shared};
use crate::change::{Key, Violation};
use crate::contract::Identifier;
use crate::contract::gate::Gate;
use crate::library::session;
use crate::library::statement::{Row, TableSql};

/// How long a silent reference is left alone: each try costs everybody its timeout.
const PAUSE: Duration = Duration::from_secs(3);

/// Where the reference is, and how to read it.
#[derive(Clone, Debug)]
pub struct ReferenceSettings {
    /// How to connect.
    pub connect: PgConnectOptions,
    /// Its schema; `None` for the search path.
    pub schema: Option<Identifier>,
    /// Its table.
    pub table: Identifier,
    /// How long one read may take.
    pub timeout: Duration,
}

/// The key's row, its absence, or why the row breaks the contract.
pub(super) type FreshRow = Result<Option<Row>, Vec<Violation>>;

/// What the reference says of some keys; a key that is not in here was not asked for.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    rows: HashMap<Key, FreshRow>,
    overrules: bool,
}

impl Fresh {
    /// What it says, where it was asked and did answer.
    pub(super) fn row(&self, key: &Key) -> Option<&FreshRow> {
        if self.rows.is_empty() { None } else { self.rows.get(key) }
    }

    /// What it says, where that counts for more than what a payload says.
    pub(super) fn row_over_payload(&self, key: &Key) -> Option<&FreshRow> {
        if self.overrules { self.row(key) } else { None }
    }
}

/// A reader of the reference.
pub(super) struct Reference {
    settings: ReferenceSettings,
    sql: TableSql,
    gate: Gate,
    shared: Arc<Shared>,
    connection: Option<PgConnection>,
    silent_since: Option<Instant>,
}

impl Reference {
    pub(super) fn new(settings: ReferenceSettings, gate: Gate, shared: Arc<Shared>) -> Self {
        let sql = TableSql::for_table(gate.contract(), settings.schema.as_ref(), &settings.table);
        Self { settings, sql, gate, shared, connection: None, silent_since: None }
    }

    /// Reads the rows of these keys; `None` when the reference does not answer. In mode `refetch` what it says
    /// overrules payloads.
    pub(super) async fn read(&mut self, keys: &[&Key], mode: Mode) -> Option<Fresh> {
        let rows = self.ask(keys).await;
        if rows.is_none() {
            self.shared.reference_was_silent();
        }
        rows.map(|rows| Fresh { rows, overrules: mode == Mode::Refetch })
    }

    async fn ask(&mut self, keys: &[&Key]) -> Option<HashMap<Key, FreshRow>> {
        if self.silent_since.is_some_and(|since| since.elapsed() < PAUSE) {
            return None;
        }
        let reading = tokio::time::timeout(self.settings.timeout, self.try_read(keys));
        let error: Arc<dyn std::error::Error> = match reading.await {
            Ok(Ok(fresh)) => {
                if self.silent_since.take().is_some() {
                    tracing::info!("the reference answers again");
                }
                return Some(fresh);
            }
            Ok(Err(error)) => Arc::new(error),
            Err(elapsed) => Arc::new(elapsed),
        };
        self.connection = None;
        if self.silent_since.replace(Instant::now()).is_none() {
            tracing::warn!(%error, "the reference does not answer: payloads are applied as they come, and a gap is marked");
        }
        None
    }

    async fn try_read(&mut self, keys: &[&Key]) -> Result<HashMap<Key, FreshRow>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                none.insert(session::connect_reader(&self.settings.connect, self.settings.timeout).await?)
            }
        };
        let rows = self.sql.read(keys, false).fetch_all(connection).await?;
        let mut fresh: HashMap<Key, _> = keys.iter().map(|&key| (key.clone(), Ok(None))).collect();
        for row in &rows {
            let (index, row) = self.sql.decode(row)?;
            let Some(&key) = keys.get(index) else { continue };
            let judged = match self.gate.judge_full(&row) {
                Ok(()) => Ok(Some(row)),
                Err(violations) => Err(violations),
            };
            fresh.insert(key.clone(), judged);
        }
        Ok(fresh)
    }
}
