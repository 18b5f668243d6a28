//! The rule of replay: a field is set only if nothing newer has named it, and its value still is what it was.
//!
//! Promises: what is older than a quarantine entry never counts against it, what is newer always does. The age
//! of a replay is that of the entry it replays, so that entries of one row may be replayed in any order; each
//! expects the row as it was kept with it, with what older entries have put in since. All of it is read under
//! the pipeline's lock, in the transaction that writes. Must not know: who replays, or why.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};
use sqlx::PgConnection;

use crate::apply::fold::{Line, Verdict};
use crate::change::{Change, Key, Violation};
use crate::contract::Contract;
use crate::library::quarantine::standing::{self, Asked, Open};
use crate::library::statement::Row;
use crate::value::Value;

/// The guards of a batch's replays, by entry; only of those whose entries are open.
#[derive(Debug, Default)]
pub(super) struct Guards {
    by_entry: HashMap<i64, Guard>,
    by_key: HashMap<String, Vec<i64>>,
}

/// What stands between one entry and its row.
#[derive(Debug)]
pub(super) struct Guard {
    entry: Open,
    expected: Expected,
    /// Columns that something newer has named.
    settled: HashSet<String>,
    /// Something newer has made the row anew, or removed it: that names all columns.
    remade: bool,
}

/// What the row should be if only older entries were replayed since.
#[derive(Debug)]
enum Expected {
    /// Nobody knew which row it was when the entry was kept.
    Unknown,
    /// The row, by column; or that there is none.
    Row(Option<Map<String, Json>>),
}

impl Guards {
    /// Reads what stands between the replays of a batch and their rows.
    pub(super) async fn read(
        conn: &mut PgConnection,
        pipeline: i16,
        changes: &[&Change],
    ) -> Result<Self, sqlx::Error> {
        let mut guards = Self::default();
        let asked: Vec<Asked<'_>> = changes
            .iter()
            .filter_map(|change| {
                let key = change.intent.key().map(|key| &**key.text());
                Some(Asked { entry: change.replays?.entry, key })
            })
            .collect();
        if asked.is_empty() {
            return Ok(guards);
        }
        for (open, asked) in standing::lock_open(conn, pipeline, &asked).await? {
            if let Some(key) = asked.key {
                guards.by_key.entry(key.to_owned()).or_default().push(open.id);
            }
            guards.by_entry.insert(open.id, Guard::new(open));
        }
        for since in standing::since(conn, pipeline, &asked).await? {
            let Some(guard) = guards.by_entry.get_mut(&since.entry) else { continue };
            if since.is_older {
                guard.amend(since.op.as_deref(), since.changes.as_ref());
            } else {
                guard.settle(since.remade, since.names);
            }
        }
        Ok(guards)
    }

    /// The guard of an entry; none when the entry is not open, or not this pipeline's.
    pub(super) fn of(&self, entry: i64) -> Option<&Guard> {
        self.by_entry.get(&entry)
    }

    /// Takes note of what a change of this same batch did, for the replays after it.
    pub(super) fn note(&mut self, change: &Change, line: &Line) {
        if self.by_entry.is_empty() || matches!(line.verdict, Verdict::Quarantined { .. }) {
            return;
        }
        let age = change.replays.and_then(|replay| self.by_entry.remove(&replay.entry)).map(|g| g.age());
        if matches!(line.verdict, Verdict::Stale) {
            return;
        }
        let entries = change.intent.key().and_then(|key| self.by_key.get(&**key.text()));
        let changes: Option<Json> = line.changes.as_deref().and_then(|text| serde_json::from_str(text).ok());
        for entry in entries.into_iter().flatten() {
            let Some(guard) = self.by_entry.get_mut(entry) else { continue };
            if age.is_some_and(|age| age < guard.age()) {
                guard.amend(line.op, changes.as_ref());
            } else {
                let names = changes.as_ref().and_then(Json::as_object).map(|o| o.keys().cloned().collect());
                guard.settle(standing::is_remaking(line.op), names.unwrap_or_default());
            }
        }
    }
}

impl Guard {
    fn new(mut entry: Open) -> Self {
        let row = entry.row.take();
        let expected = if entry.key.is_some() { Expected::Row(row) } else { Expected::Unknown };
        Self { entry, expected, settled: HashSet::new(), remade: false }
    }

    fn age(&self) -> impl Ord + Copy + use<> {
        (self.entry.at, self.entry.position)
    }

    /// Something newer named these columns.
    fn settle(&mut self, remade: bool, names: Vec<String>) {
        self.remade |= remade;
        self.settled.extend(names);
    }

    /// An older entry was replayed: the row is now expected with what that put in.
    fn amend(&mut self, op: Option<&str>, changes: Option<&Json>) {
        let Expected::Row(row) = &mut self.expected else { return };
        if op == Some("delete") {
            *row = None;
            return;
        }
        if op == Some("insert") {
            *row = Some(Map::new());
        }
        let (Some(row), Some(changes)) = (row, changes.and_then(Json::as_object)) else { return };
        for (column, what) in changes {
            if let Some([_, to]) = what.as_array().map(Vec::as_slice) {
                row.insert(column.clone(), to.clone());
            }
        }
    }

    /// Why a payload for this row is no other try of the entry.
    pub(super) fn another_row(&self, key: &Key) -> Option<Violation> {
        let own = self.entry.key.as_deref().filter(|own| *own != &**key.text())?;
        let message = format!("the entry is about row {own}: a payload for another row is no replay of it");
        Some(Violation::at("", "key", key.text(), message))
    }

    /// Whether newer data has left this column to the entry.
    pub(super) fn leaves(&self, contract: &Contract, column: usize, now: Option<&Row>) -> bool {
        let name = contract.columns[column].name.as_str();
        if self.remade || self.settled.contains(name) {
            return false;
        }
        match (&self.expected, now) {
            (Expected::Unknown, Some(_)) => true,
            // A row that went since was removed behind our back, unless nobody has ever told of it.
            (Expected::Unknown | Expected::Row(None), None) => self.settled.is_empty(),
            (Expected::Row(Some(expected)), Some(now)) => {
                expected.get(name).is_some_and(|value| same(value, &now[column]))
            }
            (Expected::Row(None), Some(_)) | (Expected::Row(Some(_)), None) => false,
        }
    }

    /// Whether newer data has left the whole row to the entry.
    pub(super) fn leaves_row(&self, contract: &Contract, now: Option<&Row>) -> bool {
        let mut rest = (0..contract.columns.len()).filter(|i| !contract.key.contains(i));
        self.settled.is_empty() && !self.remade && rest.all(|i| self.leaves(contract, i, now))
    }
}

/// Whether a value that was kept as jsonb is this one: jsonb keeps every digit.
fn same(kept: &Json, now: &Value) -> bool {
    Value::Json(kept.clone()) == Value::Json(now.to_json())
}
