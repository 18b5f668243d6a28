//! The thorough look: every key with the hash of its row, both sides merged in order of the keys.
//!
//! Promises: names every key whose rows differ; holds one row of each side, and the keys that differ. A
//! server that sorts otherwise than we compare is noticed, never believed. Must not know: rows.

use std::cmp::Ordering;

use super::inconclusive::Inconclusive;
use super::key::RawKey;
use super::progress::Progress;
use super::report::Rows;
use super::side::{Answer, Entry, Reader};
use crate::library::statement::compare::Hash;

/// Reads both sides from end to end: the rows on each, and the keys that differ.
pub(super) async fn compare(
    source: &mut Reader,
    target: &mut Reader,
    hash: Hash,
    progress: &Progress,
) -> Result<(Rows, Vec<RawKey>), Inconclusive> {
    let (source, target) = tokio::try_join!(source.stream(hash), target.stream(hash))?;
    let (mut source, mut target) = tokio::try_join!(Lane::open(source), Lane::open(target))?;
    let mut candidates = Vec::new();
    loop {
        let order = match (&source.head, &target.head) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => source.key.cmp(&target.key),
        };
        let before = source.head.take_if(|_| order.is_le());
        let after = target.head.take_if(|_| order.is_ge());
        if order.is_le() {
            source.advance(before.as_ref(), progress).await?;
        }
        if order.is_ge() {
            target.advance(after.as_ref(), progress).await?;
        }
        if before != after {
            candidates.extend(before.or(after).map(|entry| entry.key));
            progress.candidates(1);
        }
    }
    Ok((Rows { source: source.rows, target: target.rows }, candidates))
}

/// One side's rows as they come in.
struct Lane<'a> {
    answer: Answer<'a, Entry>,
    head: Option<Entry>,
    rows: u64,
}

impl<'a> Lane<'a> {
    async fn open(mut answer: Answer<'a, Entry>) -> Result<Self, Inconclusive> {
        let head = answer.next().await?;
        Ok(Self { answer, head, rows: 0 })
    }

    /// Goes on to the row after `past`.
    async fn advance(&mut self, past: Option<&Entry>, progress: &Progress) -> Result<(), Inconclusive> {
        self.rows += 1;
        progress.rows(1);
        self.head = self.answer.next().await?;
        let in_order = match (past, &self.head) {
            (Some(past), Some(head)) => past.key < head.key,
            _ => true,
        };
        if in_order { Ok(()) } else { Err(Inconclusive::Order { side: self.answer.side }) }
    }
}
