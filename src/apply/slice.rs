//! A batch inside its transaction: read, fold, write; and when the database refuses, find the culprit.
//!
//! Promises: rows, outcomes and ledger of any batching equal those of one-by-one; a bad change stands alone
//! before it goes to quarantine. Must not know: transactions' ends, who waits.

use std::collections::HashSet;
use std::ops::Range;

use sqlx::PgConnection;

use crate::apply::disposition::{self, Disposition};
use crate::apply::fold::{Fold, Line, Slot, refused_by_database};
use crate::apply::guard::Guards;
use crate::apply::reference::Fresh;
use crate::change::{Change, Intent, Key, Violation};
use crate::contract::Contract;
use crate::library::facts::Strictness;
use crate::library::statement::{Row, TableSql, Update};

/// What the work on one table needs.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) contract: &'a Contract,
    pub(super) sql: &'a TableSql,
    pub(super) strictness: Strictness,
}

/// How a batch is attempted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Care {
    /// Without savepoints: the usual case, in which nothing is refused.
    Swift,
    /// With savepoints, halving until the culprit stands alone.
    Careful,
    /// As careful, and even when all fail alike they go to quarantine.
    Resigned,
}

/// Why a batch could not be settled.
#[derive(Debug)]
pub(super) enum Trouble {
    /// An error of the database; its disposition says what to do.
    Sql(sqlx::Error),
    /// Somebody outside wrote the same row between our read and our write.
    Raced,
    /// Batches from before were lost, and have to be done again first.
    Lost,
    /// Every change of a larger batch was refused for the same reason: that is no bad data.
    Alike(Violation),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// A batch larger than this that fails alike is our fault, not the data's.
const ALIKE: usize = 8;

/// How often a lone change may be cancelled, or lose a race, before it goes to quarantine.
const TRIES: u32 = 3;

/// Settles all changes; one line each, in order.
pub(super) async fn settle(
    conn: &mut PgConnection,
    table: Table<'_>,
    fresh: &Fresh,
    guards: &mut Guards,
    changes: &[&Change],
    care: Care,
) -> Result<Vec<Line>, Trouble> {
    let mut lines = Vec::with_capacity(changes.len());
    let mut refusals = Vec::new();
    let mut tries = 0;
    // Slices still to do, the next one on top.
    let mut todo: Vec<Range<usize>> = Vec::new();
    todo.push(0..changes.len());
    while let Some(range) = todo.pop() {
        let slice = &changes[range.clone()];
        if slice.is_empty() {
            continue;
        }
        if care == Care::Swift {
            let done = attempt(conn, table, fresh, guards, slice).await?;
            note(guards, slice, &done);
            todo.push(range.start + done.len()..range.end);
            lines.extend(done);
            continue;
        }
        sqlx::raw_sql("savepoint slice").execute(&mut *conn).await?;
        let (violation, may_heal) = match attempt(conn, table, fresh, guards, slice).await {
            Ok(done) => {
                note(guards, slice, &done);
                sqlx::raw_sql("release savepoint slice").execute(&mut *conn).await?;
                todo.push(range.start + done.len()..range.end);
                lines.extend(done);
                continue;
            }
            Err(Trouble::Sql(error)) => match disposition::of(&error) {
                Disposition::Quarantine(violation) => (violation, false),
                Disposition::Cancelled(violation) => (violation, true),
                _ => return Err(error.into()),
            },
            Err(Trouble::Raced) => (suppressed(), true),
            Err(other) => return Err(other),
        };
        sqlx::raw_sql("rollback to savepoint slice; release savepoint slice").execute(&mut *conn).await?;
        if slice.len() > 1 {
            let middle = range.start + slice.len() / 2;
            todo.push(middle..range.end);
            todo.push(range.start..middle);
            continue;
        }
        tries += 1;
        if may_heal && tries < TRIES {
            todo.push(range);
            continue;
        }
        tries = 0;
        let row = row_json(conn, table, fresh, guards, slice).await?;
        lines.push(refused_by_database(slice[0], violation.clone(), row));
        refusals.push(violation);
    }
    if care == Care::Careful {
        refuse_if_alike(changes, &refusals)?;
    }
    Ok(lines)
}

/// A race is over after a fresh read; what still takes no row is suppressed by the table itself.
fn suppressed() -> Violation {
    Violation::record(
        "suppressed",
        "the table took no row: one of its triggers or policies suppressed the write",
    )
}

/// Lets the replays that are still to come know what was done.
fn note(guards: &mut Guards, slice: &[&Change], done: &[Line]) {
    for (change, line) in slice.iter().zip(done) {
        guards.note(change, line);
    }
}

/// When everything that reached the database was refused for one reason, the reason is not in the data.
fn refuse_if_alike(changes: &[&Change], refusals: &[Violation]) -> Result<(), Trouble> {
    // Entries that wait for the same parent, tried again together, say nothing about the table.
    if changes.iter().any(|change| change.replays.is_some()) {
        return Ok(());
    }
    let reached = changes.iter().filter(|c| !matches!(c.intent, Intent::Refused { .. })).count();
    let Some(first) = refusals.first() else { return Ok(()) };
    let same = |v: &Violation| (&v.rule, &v.pointer, &v.value) == (&first.rule, &first.pointer, &first.value);
    if refusals.len() > ALIKE && refusals.len() == reached && refusals.iter().all(same) {
        return Err(Trouble::Alike(first.clone()));
    }
    Ok(())
}

/// Reads, folds and writes as long a prefix of the slice as one set of statements may hold.
async fn attempt(
    conn: &mut PgConnection,
    table: Table<'_>,
    fresh: &Fresh,
    guards: &Guards,
    slice: &[&Change],
) -> Result<Vec<Line>, Trouble> {
    let slice = &slice[..together(table.strictness, slice)];
    let mut fold = Fold::new(table.contract, fresh, guards, slice);
    read(conn, table, &mut fold).await?;
    let lines: Vec<Line> = slice.iter().map_while(|change| fold.push(change)).collect();
    if table.strictness == Strictness::Free {
        write_by_kind(conn, table, &fold).await?;
    } else {
        write_in_order(conn, table, &fold).await?;
    }
    Ok(lines)
}

/// How many changes may share their statements without hiding what one of them alone would run into.
fn together(strictness: Strictness, slice: &[&Change]) -> usize {
    match strictness {
        Strictness::Free => slice.len(),
        Strictness::Single => 1,
        Strictness::Ordered => {
            let mut seen = HashSet::new();
            slice.iter().take_while(|c| c.intent.key().is_none_or(|key| seen.insert(key))).count()
        }
    }
}

async fn read(conn: &mut PgConnection, table: Table<'_>, fold: &mut Fold<'_>) -> Result<(), sqlx::Error> {
    let keys = fold.keys().to_vec();
    if keys.is_empty() {
        return Ok(());
    }
    for row in table.sql.read(&keys, true).fetch_all(conn).await? {
        let (index, row) = table.sql.decode(&row)?;
        fold.set_row(index, row);
    }
    Ok(())
}

async fn row_json(
    conn: &mut PgConnection,
    table: Table<'_>,
    fresh: &Fresh,
    guards: &Guards,
    slice: &[&Change],
) -> Result<Option<String>, sqlx::Error> {
    let mut fold = Fold::new(table.contract, fresh, guards, slice);
    read(conn, table, &mut fold).await?;
    Ok(slice.first().and_then(|change| change.intent.key()).and_then(|key| fold.row_json(key)))
}

/// What one slot asks of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Delete,
    Update,
    Insert,
}

fn kind(slot: &Slot) -> Kind {
    match (&slot.before, &slot.now) {
        (Some(_), None) => Kind::Delete,
        (_, Some(_)) if slot.reborn || slot.before.is_none() => Kind::Insert,
        (Some(_), Some(_)) if !slot.touched.is_empty() => Kind::Update,
        _ => Kind::Nothing,
    }
}

type Slots<'a> = Vec<(&'a Key, &'a Slot)>;

/// Each key's final state, once: deletes, updates, inserts.
async fn write_by_kind(conn: &mut PgConnection, table: Table<'_>, fold: &Fold<'_>) -> Result<(), Trouble> {
    let of = |wanted: Kind| fold.outcome().filter(|(_, slot)| kind(slot) == wanted).collect::<Slots<'_>>();
    let gone =
        fold.outcome().filter(|(_, slot)| kind(slot) == Kind::Delete || slot.reborn && slot.now.is_some());
    delete(conn, table, &gone.collect()).await?;
    update(conn, table, &of(Kind::Update)).await?;
    insert(conn, table, &of(Kind::Insert)).await
}

/// In order of arrival, neighbours of one kind sharing a statement.
async fn write_in_order(conn: &mut PgConnection, table: Table<'_>, fold: &Fold<'_>) -> Result<(), Trouble> {
    let all: Slots<'_> = fold.outcome().filter(|(_, slot)| kind(slot) != Kind::Nothing).collect();
    for run in all.chunk_by(|(_, a), (_, b)| kind(a) == kind(b)) {
        let slots = run.to_vec();
        match run.first().map_or(Kind::Nothing, |(_, slot)| kind(slot)) {
            Kind::Nothing => {}
            Kind::Delete => delete(conn, table, &slots).await?,
            Kind::Update => update(conn, table, &slots).await?,
            Kind::Insert => insert(conn, table, &slots).await?,
        }
    }
    Ok(())
}

async fn delete(conn: &mut PgConnection, table: Table<'_>, slots: &Slots<'_>) -> Result<(), Trouble> {
    if slots.is_empty() {
        return Ok(());
    }
    let keys: Vec<&Key> = slots.iter().map(|(key, _)| *key).collect();
    let done = table.sql.delete(&keys).execute(conn).await?.rows_affected();
    all_or_raced(done, keys.len())
}

async fn update(conn: &mut PgConnection, table: Table<'_>, slots: &Slots<'_>) -> Result<(), Trouble> {
    let updates: Vec<Update<'_>> = slots
        .iter()
        .filter_map(|(key, slot)| slot.now.as_ref().map(|row| Update { key, row, touched: &slot.touched }))
        .collect();
    if updates.is_empty() {
        return Ok(());
    }
    let done = table.sql.update(&updates).execute(conn).await?.rows_affected();
    all_or_raced(done, updates.len())
}

async fn insert(conn: &mut PgConnection, table: Table<'_>, slots: &Slots<'_>) -> Result<(), Trouble> {
    // Rows that bring the same columns share a statement; order is kept, as neighbours only are joined.
    for run in slots.chunk_by(|(_, a), (_, b)| a.present == b.present) {
        let rows: Vec<&Row> = run.iter().filter_map(|(_, slot)| slot.now.as_ref()).collect();
        let Some((_, first)) = run.first() else { continue };
        let done = table.sql.insert(&rows, &first.present).execute(&mut *conn).await?.rows_affected();
        all_or_raced(done, rows.len())?;
    }
    Ok(())
}

fn all_or_raced(done: u64, wanted: usize) -> Result<(), Trouble> {
    if done == wanted as u64 { Ok(()) } else { Err(Trouble::Raced) }
}
