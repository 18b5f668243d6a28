//! Pipelines that an operator pauses and resumes.

mod load;
mod reconciling;
mod replaying;
mod surfaces;
mod waist;

use accord::change::{Answer, Outcome};
use accord::library::pause::{self, Paused, Resumed};
use accord::quarantine::sweep::{Round, Sweep};
use sqlx::PgPool;

use crate::harness::{Waist, Wish};
use crate::quarantine::replayer;

/// A waist whose pipeline can be paused, and what a leader sweeps.
pub(super) struct Pausable {
    pub(super) waist: Waist,
    sweep: Sweep,
}

impl Pausable {
    pub(super) async fn new(wish: Wish<'_>) -> Self {
        Self { waist: Waist::new(wish).await, sweep: Sweep::default() }
    }

    pub(super) async fn pause(&self) {
        pause(&self.waist.pool, "items").await;
    }

    pub(super) async fn resume(&self) {
        resume(&self.waist.pool, "items").await;
    }

    /// The words for what became of the changes of a body.
    pub(super) async fn send(&self, body: &str) -> Vec<String> {
        self.waist.send(body).await.iter().map(word).collect()
    }

    /// Does what a leader does, until nothing is due.
    pub(super) async fn sweep(&mut self) {
        let replayers = [replayer(&self.waist)];
        while self.sweep.round(&self.waist.pool, &replayers).await.unwrap() == Round::MoreIsDue {}
    }

    /// The states of all entries, in their order.
    pub(super) async fn states(&self) -> String {
        self.waist.read("select string_agg(state, ' ' order by id) from accord.quarantine").await
    }

    /// All rows, as `id:name:price:tag`.
    pub(super) async fn rows(&self) -> String {
        self.waist
            .read("select string_agg(concat_ws(':', id, name, price, tag), ' ' order by id) from item")
            .await
    }
}

/// What became of a change: the outcome, or the rules that it breaks.
pub(super) fn word(answer: &Answer) -> String {
    let again = if answer.duplicate { " again" } else { "" };
    match &answer.outcome {
        Outcome::Quarantined { violations, .. } => {
            let rules: Vec<&str> = violations.iter().map(|violation| violation.rule.as_str()).collect();
            format!("{}{again}", rules.join(","))
        }
        other => format!("{}{again}", other.as_str()),
    }
}

pub(super) async fn pause(pool: &PgPool, pipeline: &str) {
    let mut conn = pool.acquire().await.unwrap();
    let paused = pause::pause(&mut conn, pipeline, "a test", "the CMS is being migrated").await.unwrap();
    assert!(matches!(paused, Paused::Now(_)), "{paused:?}");
}

pub(super) async fn resume(pool: &PgPool, pipeline: &str) {
    let mut conn = pool.acquire().await.unwrap();
    let resumed = pause::resume(&mut conn, pipeline).await.unwrap();
    assert!(matches!(resumed, Resumed::Now(_)), "{resumed:?}");
}
