//! One batch, one transaction: row, ledger, quarantine and dedup key commit together or not at all.
//!
//! Promises: takes the pipeline's lock, and heeds its pause, before anything is read; hands out positions without
//! gaps. Must not know: connections' life, retries, who waits.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::apply::fold::{Line, Verdict};
use crate::apply::guard::Guards;
use crate::apply::paused::Sorted;
use crate::apply::reference::{Fresh, Reference};
use crate::apply::slice::{self, Care, Table, Trouble};
use crate::apply::{Gap, Mode, Refused};
use crate::change::{Answer, Change, Intent, Key, Outcome};
use crate::library::facts::Strictness;
use crate::library::pipeline::{self, Fence, Ids};
use crate::library::{event_id, ledger, quarantine};

/// What a batch is applied with.
pub(super) struct Setting<'a> {
    pub(super) ids: Ids,
    pub(super) table: Table<'a>,
    pub(super) mode: Mode,
    pub(super) care: Care,
    pub(super) gaps: &'a [Gap],
}

/// A batch that is written and waits for its commit.
pub(super) struct Written {
    pub(super) settled: Vec<Settled>,
    /// The first position it took, and the instant it bears: by these its commit can be looked up.
    pub(super) mark: Option<(i64, DateTime<Utc>)>,
}

/// What became of one change, and how.
pub(super) struct Settled {
    /// The answer; an error where nothing was done, nor written down.
    pub(super) answer: Result<Answer, Refused>,
    /// The word of the ledger's `op`, where this batch wrote an entry.
    pub(super) op: Option<&'static str>,
}

/// Begins a transaction and does everything but the commit.
pub(super) async fn write(
    conn: &mut PgConnection,
    setting: &Setting<'_>,
    reference: Option<&mut Reference>,
    batch: &[&Change],
) -> Result<Written, Trouble> {
    let fence = pipeline::begin(&mut *conn, setting.ids.pipeline).await?;
    let Some(pause) = &fence.pause else { return work(conn, setting, reference, &fence, batch).await };
    // Kept as they came: the reference is asked when they are replayed.
    let sorted = Sorted::new(pause, batch);
    let written = work(conn, setting, None, &fence, &sorted.kept()).await?;
    Ok(Written { settled: sorted.settled(written.settled), ..written })
}

/// Does the batch's work under the lock.
async fn work(
    conn: &mut PgConnection,
    setting: &Setting<'_>,
    reference: Option<&mut Reference>,
    fence: &Fence,
    batch: &[&Change],
) -> Result<Written, Trouble> {
    if setting.table.strictness == Strictness::Single {
        // A check that waits for the commit would blame the batch; alone, each change is judged at once.
        sqlx::raw_sql("set constraints all immediate").execute(&mut *conn).await?;
    }
    let repeats = Repeats::find(conn, setting.ids.pipeline, batch).await?;
    let new: Vec<&Change> = repeats.first_seen.iter().map(|&i| batch[i]).collect();
    let (fresh, unverified) = consult(conn, setting, reference, &new).await?;
    let mut guards = Guards::read(conn, setting.ids.pipeline, &new).await?;
    let lines = slice::settle(conn, setting.table, &fresh, &mut guards, &new, setting.care).await?;
    let ops: Vec<_> = lines.iter().map(|line| line.op).collect();
    let outcomes = record(conn, setting, fence, &new, lines).await?;

    let mut gaps: Vec<&str> = setting.gaps.iter().map(|gap| gap.as_str()).collect();
    if unverified {
        gaps.push(Gap::Reference.as_str());
    }
    if !gaps.is_empty() {
        pipeline::mark_gap(&mut *conn, setting.ids.pipeline, &gaps).await?;
    }
    Ok(Written {
        settled: repeats.settled(&outcomes, &ops),
        mark: (!new.is_empty()).then_some((fence.position + 1, fence.at)),
    })
}

/// Where the answer to a change comes from.
enum Source {
    /// The n-th of the changes that are new.
    New(usize),
    /// The same event earlier in this batch: the n-th new change.
    Twin(usize),
    /// An earlier batch.
    Remembered(Outcome),
}

/// Which changes of a batch are new, and what answers the others.
struct Repeats {
    sources: Vec<Source>,
    first_seen: Vec<usize>,
}

impl Repeats {
    async fn find(conn: &mut PgConnection, pipeline: i16, batch: &[&Change]) -> Result<Self, sqlx::Error> {
        let ids: Vec<&str> = batch.iter().filter_map(|change| change.event_id.as_deref()).collect();
        let mut remembered = match ids.as_slice() {
            [] => HashMap::new(),
            ids => event_id::seen(conn, pipeline, ids).await?,
        };
        let mut in_batch: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
        let mut first_seen = Vec::with_capacity(batch.len());
        let mut sources = Vec::with_capacity(batch.len());
        for (i, change) in batch.iter().enumerate() {
            let source = match change.event_id.as_deref() {
                Some(id) if remembered.contains_key(id) => remembered
                    .get_mut(id)
                    .map_or(Source::New(first_seen.len()), |o| Source::Remembered(o.clone())),
                Some(id) => match in_batch.insert(id, first_seen.len()) {
                    Some(twin) => {
                        in_batch.insert(id, twin);
                        Source::Twin(twin)
                    }
                    None => Source::New(first_seen.len()),
                },
                None => Source::New(first_seen.len()),
            };
            if matches!(source, Source::New(_)) {
                first_seen.push(i);
            }
            sources.push(source);
        }
        Ok(Self { sources, first_seen })
    }

    fn settled(self, outcomes: &[Outcome], ops: &[Option<&'static str>]) -> Vec<Settled> {
        let here = |n: usize, duplicate| {
            let answer = Ok(Answer { outcome: outcomes[n].clone(), duplicate });
            Settled { answer, op: ops[n] }
        };
        let sources = self.sources.into_iter().map(|source| match source {
            Source::New(n) => here(n, false),
            Source::Twin(n) => here(n, true),
            Source::Remembered(outcome) => {
                Settled { answer: Ok(Answer { outcome, duplicate: true }), op: None }
            }
        });
        sources.collect()
    }
}

/// Asks the reference about the keys for which it has the say. The second part of the answer is true when
/// it should have been asked and did not answer.
async fn consult(
    conn: &mut PgConnection,
    setting: &Setting<'_>,
    reference: Option<&mut Reference>,
    changes: &[&Change],
) -> Result<(Fresh, bool), sqlx::Error> {
    let Some(reference) = reference else { return Ok((Fresh::default(), false)) };
    let keys = match setting.mode {
        Mode::Refetch => distinct_keys(changes, |_| true),
        Mode::Apply => keys_to_look_up(conn, setting, changes).await?,
    };
    if keys.is_empty() {
        return Ok((Fresh::default(), false));
    }
    Ok(match reference.read(&keys, setting.mode).await {
        Some(fresh) => (fresh, false),
        None => (Fresh::default(), true),
    })
}

/// Where payloads are applied as they come: the keys that follow the reference, and those of deltas that cannot
/// become rows by themselves and may find none.
async fn keys_to_look_up<'a>(
    conn: &mut PgConnection,
    setting: &Setting<'_>,
    changes: &[&'a Change],
) -> Result<Vec<&'a Key>, sqlx::Error> {
    let contract = setting.table.contract;
    let mut keys = distinct_keys(changes, |intent| match intent {
        Intent::Follow { .. } => true,
        Intent::Upsert { fields, .. } => contract.is_partial(fields),
        Intent::Delete { .. } | Intent::Refused { .. } => false,
    });
    // A row that is there now may be gone by the time its delta is folded.
    let certain: HashSet<&Key> = changes
        .iter()
        .filter(|change| matches!(change.intent, Intent::Follow { .. } | Intent::Delete { .. }))
        .filter_map(|change| change.intent.key())
        .collect();
    let doubtful: Vec<&Key> = keys.iter().copied().filter(|key| !certain.contains(key)).collect();
    if doubtful.is_empty() {
        return Ok(keys);
    }
    let mut present = HashSet::with_capacity(doubtful.len());
    for row in setting.table.sql.read(&doubtful, true).fetch_all(conn).await? {
        present.insert(doubtful[setting.table.sql.decode(&row)?.0]);
    }
    keys.retain(|key| !present.contains(key));
    Ok(keys)
}

fn distinct_keys<'a>(changes: &[&'a Change], wanted: impl Fn(&Intent) -> bool) -> Vec<&'a Key> {
    let mut seen = HashSet::with_capacity(changes.len());
    changes
        .iter()
        .filter(|change| !matches!(change.intent, Intent::Refused { .. }) && wanted(&change.intent))
        .filter_map(|change| change.intent.key())
        .filter(|key| seen.insert(*key))
        .collect()
}

/// Writes ledger, quarantine and event ids; turns lines into outcomes.
async fn record(
    conn: &mut PgConnection,
    setting: &Setting<'_>,
    fence: &Fence,
    changes: &[&Change],
    lines: Vec<Line>,
) -> Result<Vec<Outcome>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let first = fence.position + 1;
    let ids = quarantine_lines(conn, setting.ids, fence, changes, &lines).await?;
    let mut entries = Vec::with_capacity(lines.len());
    let mut outcomes = Vec::with_capacity(lines.len());
    let mut ids = ids.into_iter();
    let mut tries = Vec::new();
    for ((change, line), position) in changes.iter().zip(lines).zip(first..) {
        let entry = change.replays.map(|replay| replay.entry);
        let outcome = match line.verdict {
            Verdict::Applied { changed } => Outcome::Applied { position, changed },
            Verdict::Unchanged => Outcome::Unchanged { position },
            Verdict::Stale => Outcome::Stale { position },
            Verdict::Quarantined { violations, .. } => {
                let id = entry.or_else(|| ids.next()).unwrap_or_default();
                Outcome::Quarantined { position, id, violations }
            }
        };
        if let (Some(replay), Some(left_over)) = (change.replays, line.left_over) {
            let edit = replay.edited.then_some(&*change.body);
            tries.push(quarantine::Try { entry: replay.entry, outcome: outcome.clone(), left_over, edit });
        }
        entries.push(ledger::Entry {
            key: change.intent.key().map(|key| &**key.text()),
            op: line.op,
            outcome: outcome.as_str(),
            origin: change.origin.as_str(),
            changes: line.changes,
            event_id: change.event_id.as_deref(),
            quarantine: if let Outcome::Quarantined { id, .. } = outcome { Some(id) } else { entry },
        });
        outcomes.push(outcome);
    }
    ledger::append(&mut *conn, setting.ids, first, fence.at, &entries).await?;
    quarantine::tried(conn, fence.at, &tries).await?;
    let events: Vec<(&str, &Outcome)> =
        changes.iter().zip(&outcomes).filter_map(|(c, o)| c.event_id.as_deref().map(|id| (id, o))).collect();
    if !events.is_empty() {
        event_id::remember(&mut *conn, setting.ids.pipeline, fence.at, &events).await?;
    }
    Ok(outcomes)
}

async fn quarantine_lines(
    conn: &mut PgConnection,
    ids: Ids,
    fence: &Fence,
    changes: &[&Change],
    lines: &[Line],
) -> Result<Vec<i64>, sqlx::Error> {
    let mut entries = Vec::new();
    for ((change, line), position) in changes.iter().zip(lines).zip(fence.position + 1..) {
        // What is refused once more is in quarantine already.
        if let (Verdict::Quarantined { violations, row }, None) = (&line.verdict, change.replays) {
            entries.push(quarantine::Entry {
                position,
                key: change.intent.key().map(|key| &**key.text()),
                violations,
                origin: change.origin.as_str(),
                event_id: change.event_id.as_deref(),
                body: &change.body,
                pointer: &change.pointer,
                row: row.clone(),
            });
        }
    }
    if entries.is_empty() { Ok(Vec::new()) } else { quarantine::keep(conn, ids, fence.at, &entries).await }
}
