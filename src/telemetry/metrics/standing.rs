//! The numbers of how pipelines stand, as the library's database knows it: every process shows the same.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{PipelineLabel, register};
use crate::standing::{Checked, Condition, Kind, Standing, Waiting};

/// What a rule can come to.
const OUTCOMES: [&str; 4] = ["passed", "warned", "failed", "not_executed"];

/// The series of all pipelines.
#[derive(Clone, Debug)]
pub(super) struct Standings {
    conditions: Family<ConditionLabels, Gauge>,
    open: Family<PipelineLabel, Gauge>,
    open_by_reason: Family<ReasonLabels, Gauge>,
    growth: Family<PipelineLabel, Gauge>,
    checks: Family<OutcomeLabels, Gauge>,
    last_check: Family<PipelineLabel, Gauge>,
    last_change: Family<PipelineLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    pipeline: Arc<str>,
    condition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    pipeline: Arc<str>,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    pipeline: Arc<str>,
    outcome: &'static str,
}

impl Standings {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            conditions: register(r, "condition", "Whether something deserves an operator's eye, 0 or 1"),
            open: register(r, "quarantine_open", "Quarantine entries that are open"),
            open_by_reason: register(
                r,
                "quarantine_open_by_reason",
                "Quarantine entries that are open, by the rule that they break first",
            ),
            growth: register(
                r,
                "quarantine_growth",
                "Quarantine entries kept within the configured window and still open",
            ),
            checks: register(r, "checks", "Rules of the contract by what they last came to"),
            last_check: register(r, "check_last_timestamp_seconds", "When the rules were last checked"),
            last_change: register(r, "ledger_last_timestamp_seconds", "When a change was last committed"),
        }
    }

    pub(super) fn pipeline(&self, pipeline: &Arc<str>) -> StandingMetrics {
        let label = PipelineLabel { pipeline: Arc::clone(pipeline) };
        let condition = |kind: Kind| {
            let labels = ConditionLabels { pipeline: Arc::clone(pipeline), condition: kind.as_str() };
            self.conditions.get_or_create_owned(&labels)
        };
        let check = |outcome| {
            self.checks.get_or_create_owned(&OutcomeLabels { pipeline: Arc::clone(pipeline), outcome })
        };
        let series = Series {
            conditions: Kind::ALL.map(|kind| (kind, condition(kind))),
            open: self.open.get_or_create_owned(&label),
            growth: self.growth.get_or_create_owned(&label),
            checks: OUTCOMES.map(check),
            reasons: Mutex::default(),
            families: self.clone(),
            label,
        };
        StandingMetrics(Arc::new(series))
    }
}

/// The numbers of how one pipeline stands; cheap to clone.
#[derive(Clone, Debug)]
pub struct StandingMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    label: PipelineLabel,
    families: Standings,
    conditions: [(Kind, Gauge); Kind::ALL.len()],
    open: Gauge,
    growth: Gauge,
    checks: [Gauge; OUTCOMES.len()],
    /// The reasons that have a series. Reasons are rules, so they are few.
    reasons: Mutex<HashSet<String>>,
}

impl StandingMetrics {
    /// These conditions hold, and no others.
    pub fn conditions(&self, holding: &[Condition]) {
        for (kind, gauge) in &self.0.conditions {
            gauge.set(holding.iter().any(|condition| condition.kind == *kind).into());
        }
    }

    /// What the library's database knows.
    pub fn stands(&self, standing: &Standing) {
        self.quarantine(&standing.quarantine);
        if let Some(check) = &standing.check {
            self.check(check);
        }
        if let Some(at) = standing.last_change_at {
            self.0.families.last_change.get_or_create(&self.0.label).set(at.timestamp());
        }
    }

    fn quarantine(&self, waiting: &Waiting) {
        self.0.open.set(whole(waiting.open));
        self.0.growth.set(whole(waiting.growth));
        let mut known = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(waiting.reasons.keys().cloned());
        // A reason that is gone is at zero: a series that ends would leave its last value standing.
        for reason in known.iter() {
            let labels =
                ReasonLabels { pipeline: Arc::clone(&self.0.label.pipeline), reason: reason.clone() };
            let open = waiting.reasons.get(reason).copied().unwrap_or_default();
            self.0.families.open_by_reason.get_or_create(&labels).set(whole(open));
        }
    }

    fn check(&self, check: &Checked) {
        let counts = [check.passed, check.warned, check.failed, check.not_executed];
        for (gauge, count) in self.0.checks.iter().zip(counts) {
            gauge.set(whole(count));
        }
        self.0.families.last_check.get_or_create(&self.0.label).set(check.finished_at.timestamp());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
