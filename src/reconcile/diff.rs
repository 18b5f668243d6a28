//! Finds every row in which two tables differ. Only reads.
//!
//! Promises: what is found is drift, and all drift that was there from beginning to end is found; memory grows
//! with what differs, not with the tables. What cannot be known is an [`Inconclusive`]. Must not know: who
//! asked, what is done about it.

use super::confirm::{Confirmed, confirm};
use super::inconclusive::{Inconclusive, Side};
use super::key::RawKey;
use super::preflight::{Agreed, agree};
use super::progress::{Progress, Stage};
use super::report::{Bytes, ChangedColumn, Counts, Drift, Kind, Rows};
use super::side::{Reader, Session};
use super::{Method, Plan, digest, leaf, stream};
use crate::change::Key;
use crate::contract::Contract;
use crate::library::statement::compare::Hash;
use crate::value::Value;

/// Past this share of dirty buckets, reading every key is cheaper than reading those of the dirty ones.
const DIRTY_PERCENT: usize = 20;

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// Rows read on each side.
    pub rows: Rows,
    /// Bytes received from each side by scans.
    pub bytes: Bytes,
    /// Buckets whose digests differ; none where no buckets were compared.
    pub dirty_buckets: Option<u64>,
    /// Rows that were looked at twice.
    pub candidates: u64,
    /// Rows that kept changing while we looked.
    pub in_flight: u64,
    /// The rows that differ.
    pub found: Vec<Found>,
}

/// One row that differs.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which one.
    pub key: Key,
    /// How.
    pub difference: Difference,
}

/// How a row differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// The target lacks it.
    Missing,
    /// The target has it with other values in these columns.
    Stale(Vec<Changed>),
    /// Only the target has it.
    Orphan,
}

/// One column in which a row differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Its index among the contract's columns.
    pub column: usize,
    /// What the source says.
    pub source: Value,
    /// What the target says.
    pub target: Value,
}

impl Found {
    /// In which of the three ways it differs.
    pub fn kind(&self) -> Kind {
        self.difference.kind()
    }

    /// As a report lists it; `table` is the target's name.
    pub fn drift(&self, table: &str, contract: &Contract) -> Drift {
        let changed = match &self.difference {
            Difference::Stale(changed) => changed.as_slice(),
            Difference::Missing | Difference::Orphan => &[],
        };
        let columns = changed.iter().map(|changed| ChangedColumn {
            name: contract.columns[changed.column].name.as_str().to_owned(),
            source: changed.source.to_json(),
            target: changed.target.to_json(),
        });
        Drift {
            table: table.to_owned(),
            key: self.key.text().to_string(),
            kind: self.kind(),
            columns: columns.collect(),
        }
    }
}

impl Findings {
    /// The rows that differ, counted by kind.
    pub fn counts(&self) -> Counts {
        let of = |kind| u64::try_from(self.found.iter().filter(|row| row.kind() == kind).count());
        Counts {
            missing: of(Kind::Missing).unwrap_or_default(),
            stale: of(Kind::Stale).unwrap_or_default(),
            orphan: of(Kind::Orphan).unwrap_or_default(),
            in_flight: self.in_flight,
            ..Counts::default()
        }
    }
}

/// What scans found, before it is confirmed.
struct Scanned {
    rows: Rows,
    dirty_buckets: Option<u64>,
    candidates: Vec<RawKey>,
}

/// Compares the two tables of a plan.
pub async fn diff(plan: &Plan, progress: &Progress) -> Result<Findings, Inconclusive> {
    progress.enter(Stage::Preflight);
    let (mut source, mut target) =
        tokio::try_join!(Session::open(Side::Source, plan), Session::open(Side::Target, plan))?;
    let Agreed { method, forms, rows_expected } = agree(plan, &mut source, &mut target).await?;

    progress.enter(Stage::Scan);
    progress.expect_rows(rows_expected);
    let mut source = Reader::new(source, plan, &forms);
    let mut target = Reader::new(target, plan, &forms);
    let (a, b) = (&mut source, &mut target);
    let scanned = match method {
        Method::Buckets => by_buckets(a, b, progress).await?,
        Method::Stream => in_stream(a, b, Hash::Native, progress).await?,
        Method::TextStream => in_stream(a, b, Hash::Spelling, progress).await?,
    };
    let bytes = Bytes { source: source.received(), target: target.received() };
    // Nothing is held open on either server while candidates are waited for.
    drop((source, target));

    progress.enter(Stage::Confirm);
    let Scanned { rows, dirty_buckets, candidates } = scanned;
    let looked_at = u64::try_from(candidates.len()).unwrap_or_default();
    let Confirmed { found, in_flight } = confirm(plan, candidates, progress).await?;
    Ok(Findings { rows, bytes, dirty_buckets, candidates: looked_at, in_flight, found })
}

async fn by_buckets(
    source: &mut Reader,
    target: &mut Reader,
    progress: &Progress,
) -> Result<Scanned, Inconclusive> {
    let digest::Compared { rows, buckets, dirty } = digest::compare(source, target, progress).await?;
    let dirty_buckets = u64::try_from(dirty.len()).ok();
    let allowed = usize::try_from(buckets).unwrap_or(usize::MAX) / 100 * DIRTY_PERCENT;
    // What one statement reads is no trouble to any table.
    if dirty.len() > allowed.max(leaf::BATCH) {
        progress.expect_rows(rows.source + rows.target);
        let scanned = in_stream(source, target, Hash::Native, progress).await?;
        return Ok(Scanned { dirty_buckets, ..scanned });
    }
    progress.enter(Stage::Leaf);
    let candidates = leaf::compare(source, target, &dirty, progress).await?;
    Ok(Scanned { rows, dirty_buckets, candidates })
}

async fn in_stream(
    source: &mut Reader,
    target: &mut Reader,
    hash: Hash,
    progress: &Progress,
) -> Result<Scanned, Inconclusive> {
    let (rows, candidates) = stream::compare(source, target, hash, progress).await?;
    Ok(Scanned { rows, dirty_buckets: None, candidates })
}
