//! The first look: one scan of each side, which says in which buckets of neighbouring keys they differ.
//!
//! Promises: a bucket that is not named as dirty holds the same rows on both sides. Must not know: which rows
//! differ.

use std::collections::HashMap;

use super::inconclusive::Inconclusive;
use super::progress::Progress;
use super::report::Rows;
use super::side::{Answer, Digest, Reader};

/// What the first look saw.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Rows on each side.
    pub(super) rows: Rows,
    /// Buckets that exist on either side.
    pub(super) buckets: u64,
    /// Those that differ, in order.
    pub(super) dirty: Vec<i64>,
}

/// One side's digests as they come in.
struct Lane<'a> {
    answer: Answer<'a, Digest>,
    buckets: u64,
    rows: u64,
    open: bool,
}

impl<'a> Lane<'a> {
    fn new(answer: Answer<'a, Digest>) -> Self {
        Self { answer, buckets: 0, rows: 0, open: true }
    }
}

/// Scans both sides at once.
pub(super) async fn compare(
    source: &mut Reader,
    target: &mut Reader,
    progress: &Progress,
) -> Result<Compared, Inconclusive> {
    let (source, target) = tokio::try_join!(source.digests(), target.digests())?;
    let mut lanes = [Lane::new(source), Lane::new(target)];
    let (mut dirty, mut buckets) = (Vec::new(), 0);
    // What one side has said and the other has not yet: little, for the side that is behind is heard first.
    let mut unmatched: HashMap<i64, (i32, i64)> = HashMap::new();
    while let Some(lane) = lanes.iter_mut().filter(|lane| lane.open).min_by_key(|lane| lane.buckets) {
        let Some(Digest { bucket, rows, hash }) = lane.answer.next().await? else {
            lane.open = false;
            continue;
        };
        lane.buckets += 1;
        lane.rows += u64::from(rows.unsigned_abs());
        progress.rows(u64::from(rows.unsigned_abs()));
        match unmatched.remove(&bucket) {
            None => {
                unmatched.insert(bucket, (rows, hash));
                buckets += 1;
                progress.buckets(1);
            }
            Some(other) if other == (rows, hash) => {}
            Some(_) => dirty.push(bucket),
        }
    }
    dirty.extend(unmatched.into_keys());
    dirty.sort_unstable();
    let [source, target] = lanes.map(|lane| lane.rows);
    Ok(Compared { rows: Rows { source, target }, buckets, dirty })
}
