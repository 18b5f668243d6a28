//! Folding: from rows as they are and changes as they came to what each change does.
//!
//! Promises: pure; takes the changes in order of arrival; one line of ledger a change; absent is not null.
//! Must not know: SQL, connections, who waits for the outcome.

use std::collections::HashMap;

use crate::apply::guard::{Guard, Guards};
use crate::apply::reference::{Fresh, FreshRow};
use crate::change::{Change, Fields, Intent, Key, Violation};
use crate::contract::{Contract, InsertPolicy};
use crate::library::statement::{ColumnSet, Row};
use crate::value::Value;

/// What a change does, before it has a place in the ledger.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    pub(super) op: Option<&'static str>,
    /// The ledger's `changes`, as JSON text.
    pub(super) changes: Option<String>,
    /// Of another try of an open quarantine entry: the columns that newer data has settled.
    pub(super) left_over: Option<Vec<String>>,
}

impl Line {
    fn new(verdict: Verdict, op: Option<&'static str>, changes: Option<String>) -> Self {
        Self { verdict, op, changes, left_over: None }
    }
}

/// The outcome, before it has a place in the ledger.
#[derive(Debug)]
pub(super) enum Verdict {
    Applied { changed: Vec<String> },
    Unchanged,
    Stale,
    Quarantined { violations: Vec<Violation>, row: Option<String> },
}

/// One key's row, before and after the changes folded so far.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) before: Option<Row>,
    pub(super) now: Option<Row>,
    /// Columns to write when the row stays.
    pub(super) touched: ColumnSet,
    /// The row was deleted and made anew: it must not keep what the library itself had put into it.
    pub(super) reborn: bool,
    /// Columns that a new row has a value for; the table's defaults fill the rest.
    pub(super) present: ColumnSet,
    /// A change was folded in.
    folded: bool,
}

impl Slot {
    fn new(row: Option<Row>) -> Self {
        Self {
            now: row.clone(),
            before: row,
            touched: ColumnSet::default(),
            reborn: false,
            present: ColumnSet::default(),
            folded: false,
        }
    }
}

/// Folds changes over the rows that they touch.
pub(super) struct Fold<'a> {
    contract: &'a Contract,
    fresh: &'a Fresh,
    guards: &'a Guards,
    slots: Vec<Slot>,
    keys: Vec<&'a Key>,
    by_key: HashMap<&'a Key, usize>,
}

impl<'a> Fold<'a> {
    /// A fold over these keys, whose rows are still to be put in with [`Fold::set_row`].
    pub(super) fn new(
        contract: &'a Contract,
        fresh: &'a Fresh,
        guards: &'a Guards,
        changes: &[&'a Change],
    ) -> Self {
        let mut fold = Self {
            contract,
            fresh,
            guards,
            slots: Vec::with_capacity(changes.len()),
            keys: Vec::with_capacity(changes.len()),
            by_key: HashMap::with_capacity(changes.len()),
        };
        for key in changes.iter().filter_map(|change| change.intent.key()) {
            if !fold.by_key.contains_key(key) {
                fold.by_key.insert(key, fold.keys.len());
                fold.keys.push(key);
                fold.slots.push(Slot::new(None));
            }
        }
        fold
    }

    /// The distinct keys, in order of first arrival.
    pub(super) fn keys(&self) -> &[&'a Key] {
        &self.keys
    }

    /// Puts in the row of the key with this index.
    pub(super) fn set_row(&mut self, index: usize, row: Row) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::new(Some(row));
        }
    }

    /// What the folded rows have become, with their keys, in order of first arrival.
    pub(super) fn outcome(&self) -> impl Iterator<Item = (&'a Key, &Slot)> + Clone {
        self.keys.iter().copied().zip(&self.slots)
    }

    /// Folds in one change. `None` when the change must wait until what is folded so far is written and
    /// read back: because the table's own defaults have a say in its row, or because a replay has to know what
    /// became of the changes before it.
    pub(super) fn push(&mut self, change: &Change) -> Option<Line> {
        let contract = self.contract;
        if let Some(key) = change.intent.key() {
            let slot = self.slot_mut(key);
            let is_first = !std::mem::replace(&mut slot.folded, true);
            if slot.is_partial(contract) || change.replays.is_some() && !is_first {
                return None;
            }
        }
        Some(match change.replays {
            None => self.fold(&change.intent),
            Some(replay) => match self.guards.of(replay.entry) {
                Some(guard) => self.replay(guard, &change.intent),
                // Somebody else has closed it.
                None => unconfirmed(),
            },
        })
    }

    fn fold(&mut self, intent: &Intent) -> Line {
        match intent {
            Intent::Refused { key, violations } => {
                let row = key.as_ref().and_then(|key| self.row_json(key));
                quarantined(violations.clone(), row)
            }
            Intent::Upsert { key, fields } => match self.fresh_for(key, fields) {
                Some(fresh) => self.follow(key, fresh, |row| {
                    row.is_none_or(|row| fields.iter().any(|(i, value)| row[*i] != *value))
                }),
                None => self.upsert(key, fields),
            },
            Intent::Delete { key } => match self.fresh.row_over_payload(key) {
                Some(fresh) => self.follow(key, fresh, |row| row.is_some()),
                None => self.delete(key),
            },
            Intent::Follow { key, may_delete } => match self.fresh.row(key) {
                Some(Ok(None)) if !may_delete => unconfirmed(),
                Some(fresh) => self.follow(key, fresh, |_| false),
                None => unconfirmed(),
            },
        }
    }

    /// Folds in another try of a quarantine entry. Where the reference has the say there is nothing to guard: it
    /// is newer than anything.
    fn replay(&mut self, guard: &Guard, intent: &Intent) -> Line {
        let another = intent.key().and_then(|key| guard.another_row(key));
        let (line, left_over) = match intent {
            _ if another.is_some() => (quarantined(another.into_iter().collect(), None), Vec::new()),
            Intent::Upsert { key, fields } if self.fresh_for(key, fields).is_none() => {
                self.upsert_unsettled(guard, key, fields)
            }
            Intent::Delete { key } if self.fresh.row_over_payload(key).is_none() => {
                let now = self.slot(key).and_then(|slot| slot.now.as_ref());
                let is_ours = guard.leaves_row(self.contract, now);
                (if is_ours { self.delete(key) } else { unconfirmed() }, Vec::new())
            }
            intent => (self.fold(intent), Vec::new()),
        };
        Line { left_over: Some(left_over), ..line }
    }

    /// Sets the fields that nothing newer has settled; gives the names of the others.
    fn upsert_unsettled(&mut self, guard: &Guard, key: &Key, fields: &Fields) -> (Line, Vec<String>) {
        let now = self.slot(key).and_then(|slot| slot.now.as_ref());
        let (ours, settled): (Fields, Fields) =
            fields.iter().cloned().partition(|(i, _)| guard.leaves(self.contract, *i, now));
        let left_over = settled.iter().map(|(i, _)| self.contract.columns[*i].name.as_str().to_owned());
        let left_over = left_over.collect();
        let is_stale = now.is_some_and(|row| is_stale(self.contract, row, fields));
        if is_stale || ours.is_empty() && !settled.is_empty() {
            return (Line::new(Verdict::Stale, Some("update"), None), left_over);
        }
        (self.set(key, &ours), left_over)
    }

    /// The reference's row, where it decides instead of this payload: always in mode `refetch`, else where the
    /// payload alone can make no row. What else its batch holds is no reason.
    fn fresh_for(&self, key: &Key, fields: &Fields) -> Option<&'a FreshRow> {
        let has_row = self.slot(key).is_some_and(|slot| slot.now.is_some());
        if !has_row && self.contract.is_partial(fields) {
            self.fresh.row(key)
        } else {
            self.fresh.row_over_payload(key)
        }
    }

    fn slot(&self, key: &Key) -> Option<&Slot> {
        self.by_key.get(key).map(|&i| &self.slots[i])
    }

    fn slot_mut(&mut self, key: &Key) -> &mut Slot {
        let index = self.by_key[key];
        &mut self.slots[index]
    }

    /// Makes the row what the reference says. A payload that told of something that the reference no longer,
    /// or never, says was stale; without one there is nothing to be stale.
    fn follow(
        &mut self,
        key: &Key,
        fresh: &FreshRow,
        claims_otherwise: impl FnOnce(Option<&Row>) -> bool,
    ) -> Line {
        let mut line = match fresh {
            Err(violations) => return quarantined(violations.clone(), self.row_json(key)),
            Ok(Some(row)) => {
                let is_key = |i: &usize| self.contract.key.contains(i);
                let fields: Fields =
                    (0..row.len()).filter(|i| !is_key(i)).map(|i| (i, row[i].clone())).collect();
                self.set(key, &fields)
            }
            Ok(None) => self.delete(key),
        };
        let row = fresh.as_ref().ok().and_then(Option::as_ref);
        if matches!(line.verdict, Verdict::Unchanged) && claims_otherwise(row) {
            line.verdict = Verdict::Stale;
        }
        line
    }

    fn upsert(&mut self, key: &Key, fields: &Fields) -> Line {
        let row = self.slot(key).and_then(|slot| slot.now.as_ref());
        if row.is_some_and(|row| is_stale(self.contract, row, fields)) {
            return Line::new(Verdict::Stale, Some("update"), None);
        }
        self.set(key, fields)
    }

    fn set(&mut self, key: &Key, fields: &Fields) -> Line {
        let contract = self.contract;
        let slot = self.slot_mut(key);
        let Some(row) = &mut slot.now else { return insert(contract, slot, key, fields) };
        let mut changed = Vec::new();
        let mut account = Changes::new();
        for (i, value) in fields {
            let name = contract.columns[*i].name.as_str();
            if row[*i] == *value {
                account.confirmed(name, value);
            } else {
                account.set(name, &row[*i], value);
                changed.push(name.to_owned());
                slot.touched.insert(*i);
                row[*i] = value.clone();
            }
        }
        let verdict = if changed.is_empty() { Verdict::Unchanged } else { Verdict::Applied { changed } };
        Line::new(verdict, Some("update"), account.finish())
    }

    fn delete(&mut self, key: &Key) -> Line {
        let contract = self.contract;
        let slot = self.slot_mut(key);
        let Some(row) = slot.now.take() else {
            return Line::new(Verdict::Unchanged, Some("delete"), None);
        };
        slot.touched = ColumnSet::default();
        let mut account = Changes::new();
        let mut changed = Vec::new();
        for (i, column) in contract.columns.iter().enumerate().filter(|(i, _)| !contract.key.contains(i)) {
            account.set(column.name.as_str(), &row[i], &Value::Null);
            changed.push(column.name.as_str().to_owned());
        }
        Line::new(Verdict::Applied { changed }, Some("delete"), account.finish())
    }

    /// The row as it is now, as JSON, for an entry of the quarantine.
    pub(super) fn row_json(&self, key: &Key) -> Option<String> {
        let row = self.slot(key)?.now.as_ref()?;
        let object: serde_json::Map<_, _> = self
            .contract
            .columns
            .iter()
            .zip(row)
            .map(|(column, value)| (column.name.as_str().to_owned(), value.to_json()))
            .collect();
        Some(serde_json::Value::Object(object).to_string())
    }
}

impl Slot {
    /// A new row whose other columns only the table knows.
    fn is_partial(&self, contract: &Contract) -> bool {
        self.now.is_some()
            && (self.before.is_none() || self.reborn)
            && !(0..contract.columns.len()).all(|i| self.present.contains(i))
    }
}

fn insert(contract: &Contract, slot: &mut Slot, key: &Key, fields: &Fields) -> Line {
    let mut row = vec![Value::Null; contract.columns.len()];
    let mut present = ColumnSet::default();
    for (&i, value) in contract.key.iter().zip(key.values()) {
        row[i] = value.clone();
        present.insert(i);
    }
    let mut account = Changes::new();
    let mut changed = Vec::with_capacity(fields.len());
    for (i, value) in fields {
        let name = contract.columns[*i].name.as_str();
        account.set(name, &Value::Null, value);
        changed.push(name.to_owned());
        row[*i] = value.clone();
        present.insert(*i);
    }
    let missing: Vec<_> =
        contract.columns.iter().enumerate().filter(|(i, _)| !present.contains(*i)).map(|(_, c)| c).collect();
    if !missing.is_empty() && contract.insert == InsertPolicy::Complete {
        let names = missing.iter().map(|c| c.field.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!("the library has no row with key {key}, and a new row needs also: {names}");
        return quarantined(vec![Violation::record("incomplete", message)], None);
    }
    slot.reborn = slot.before.is_some();
    slot.now = Some(row);
    slot.present = present;
    Line::new(Verdict::Applied { changed }, Some("insert"), account.finish())
}

/// Newer wins by the version field, where there is one; a tie goes to the later arrival.
fn is_stale(contract: &Contract, row: &Row, fields: &Fields) -> bool {
    let Some(version) = contract.version_column else { return false };
    let incoming = fields.iter().find(|(i, _)| *i == version).map(|(_, value)| value);
    incoming.and_then(|value| value.version_cmp(&row[version])).is_some_and(std::cmp::Ordering::is_lt)
}

fn quarantined(violations: Vec<Violation>, row: Option<String>) -> Line {
    Line::new(Verdict::Quarantined { violations, row }, None, None)
}

/// A line for what the reference did not confirm.
fn unconfirmed() -> Line {
    Line::new(Verdict::Stale, None, None)
}

/// A line for a change that the database refused.
pub(super) fn refused_by_database(change: &Change, violation: Violation, row: Option<String>) -> Line {
    Line { left_over: change.replays.map(|_| Vec::new()), ..quarantined(vec![violation], row) }
}

/// Writes the ledger's `changes`: `{"set": [from, to], "confirmed": [value]}`.
struct Changes(String);

impl Changes {
    fn new() -> Self {
        Self(String::new())
    }

    fn set(&mut self, name: &str, from: &Value, to: &Value) {
        self.name(name);
        self.value(from);
        self.0.push(',');
        self.value(to);
        self.0.push(']');
    }

    fn confirmed(&mut self, name: &str, value: &Value) {
        self.name(name);
        self.value(value);
        self.0.push(']');
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.json(name);
        self.0.push_str(":[");
    }

    fn value(&mut self, value: &Value) {
        match value {
            // The hot ones need no detour through a tree.
            Value::Numeric(numeric) if numeric.is_json() => self.0.push_str(numeric.as_str()),
            other => self.json(other),
        }
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Neither a string nor a `Value` can fail to serialize; null would still be valid JSON.
        self.0.push_str(serde_json::to_string(value).as_deref().unwrap_or("null"));
    }

    fn finish(mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push('}');
        Some(self.0)
    }
}
