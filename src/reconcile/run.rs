//! One reconciliation from its start to its report: compare, ask the breakers, repair.
//!
//! Promises: always ends in a report, whatever happens; nothing is written before every breaker has let it pass.
//! Must not know: who asked, where the report is kept.

use std::time::Instant;

use sqlx::PgPool;

use super::diff::{Findings, diff};
use super::repair::{Repair, Repaired};
use super::report::{Report, State};
use super::{Limits, Plan, Progress, Stage, breaker};
use crate::apply::Applier;

/// What to do about what is found.
#[derive(Debug)]
pub struct Work<'a> {
    /// The waist to repair through; without one, drift is only told.
    pub repair: Option<&'a Applier>,
    /// How much may be repaired without an operator's word.
    pub limits: Limits,
    /// Whether the report lists every row that differs, or a sample.
    pub all_keys: bool,
    /// Where the pipeline's quarantine is, and the pipeline's id: a row that is kept there already is not sent
    /// there again.
    pub quarantine: Option<(PgPool, i16)>,
}

/// Compares, and repairs where that is wished and allowed.
pub async fn run(plan: &Plan, work: Work<'_>, progress: &Progress) -> Report {
    let began = Instant::now();
    let mut report = match diff(plan, progress).await {
        Ok(findings) => settle(plan, &work, findings, progress).await,
        Err(inconclusive) => Report::inconclusive(inconclusive.reason()),
    };
    report.seconds = began.elapsed().as_secs_f64();
    report
}

async fn settle(plan: &Plan, work: &Work<'_>, findings: Findings, progress: &Progress) -> Report {
    let mut report = told(plan, work, &findings);
    let Some(applier) = work.repair.filter(|_| report.state == State::Drift) else { return report };
    let passed = match breaker::judge(&work.limits, report.rows, &report.counts) {
        Ok(passed) => passed,
        Err(reason) => {
            report.state = State::Held;
            report.counts.held = report.counts.drifted();
            report.reason = Some(reason);
            return report;
        }
    };
    progress.enter(Stage::Repair);
    let repair = Repair { plan, applier, quarantine: work.quarantine.as_ref(), progress };
    let repaired = repair.run(findings.found, &passed).await;
    account(&mut report, repaired);
    report
}

/// What the comparison alone has to say.
fn told(plan: &Plan, work: &Work<'_>, findings: &Findings) -> Report {
    let listed = if work.all_keys { findings.found.len() } else { Report::SAMPLE };
    let table = plan.target.table.as_str();
    Report {
        state: if findings.found.is_empty() { State::Clean } else { State::Drift },
        counts: findings.counts(),
        rows: findings.rows,
        dirty_buckets: findings.dirty_buckets,
        candidates: findings.candidates,
        drift: findings.found.iter().take(listed).map(|found| found.drift(table, &plan.contract)).collect(),
        reason: None,
        seconds: 0.0,
        bytes: findings.bytes,
    }
}

/// Enters what the repair came to.
fn account(report: &mut Report, repaired: Repaired) {
    report.counts.repaired = repaired.applied;
    report.counts.in_flight += repaired.in_flight;
    report.counts.held = repaired.held;
    (report.state, report.reason) = match repaired.stopped {
        Some(reason) => (State::Inconclusive, Some(reason)),
        // They differ still, and it is not ours to bring them in accord.
        None if repaired.held > 0 => (State::Drift, Some(kept_aside(repaired.held))),
        None => (State::Repaired, None),
    };
}

fn kept_aside(held: u64) -> String {
    let rows = if held == 1 {
        "1 row of the reference is".to_owned()
    } else {
        format!("{held} rows of the reference are")
    };
    format!(
        "{rows} refused by the contract or by the library's table, and kept in quarantine: mend them at the source, \
         or see `accord history` for why"
    )
}
