//! The second look: the keys of dirty buckets.
//!
//! Promises: names every key in these buckets whose rows differ, and others too only where they changed since
//! the first look; holds the keys of one batch of buckets. Must not know: rows.

use std::collections::HashMap;

use super::inconclusive::Inconclusive;
use super::key::RawKey;
use super::progress::Progress;
use super::side::{Entry, Reader};

/// Buckets a statement: with their keys they take a megabyte or two.
pub(super) const BATCH: usize = 256;

/// The keys that differ.
pub(super) async fn compare(
    source: &mut Reader,
    target: &mut Reader,
    dirty: &[i64],
    progress: &Progress,
) -> Result<Vec<RawKey>, Inconclusive> {
    let mut candidates = Vec::new();
    for buckets in dirty.chunks(BATCH) {
        let (mut source, target) = tokio::try_join!(entries(source, buckets), entries(target, buckets))?;
        let before = candidates.len();
        for (key, hash) in target {
            if source.remove(&key) != Some(hash) {
                candidates.push(key);
            }
        }
        candidates.extend(source.into_keys());
        progress.candidates(u64::try_from(candidates.len() - before).unwrap_or_default());
    }
    candidates.sort_unstable();
    Ok(candidates)
}

async fn entries(side: &mut Reader, buckets: &[i64]) -> Result<HashMap<RawKey, i64>, Inconclusive> {
    let mut answer = side.leaf(buckets).await?;
    let mut entries = HashMap::new();
    while let Some(Entry { key, hash }) = answer.next().await? {
        entries.insert(key, hash);
    }
    Ok(entries)
}
