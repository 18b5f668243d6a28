//! The numbers of reconciliations.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{PipelineLabel, register};
use crate::reconcile::record::RunState;
use crate::reconcile::{Counts, Kind};

const KINDS: [(Kind, &str); 3] =
    [(Kind::Missing, "missing"), (Kind::Stale, "stale"), (Kind::Orphan, "orphan")];

/// The series of all pipelines.
#[derive(Debug)]
pub(super) struct Reconciling {
    runs: Family<StateLabels, Counter>,
    running: Family<PipelineLabel, Gauge>,
    drift: Family<KindLabels, Gauge>,
    last: Family<PipelineLabel, Gauge>,
    silent: Family<PipelineLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    pipeline: Arc<str>,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    pipeline: Arc<str>,
    kind: &'static str,
}

impl Reconciling {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            runs: register(r, "reconciliations", "Reconciliations made by this process, by how they ended"),
            running: register(r, "reconciliation_running", "Whether this process reconciles, 0 or 1"),
            drift: register(r, "reconciliation_drift_rows", "Rows in which the last run found a difference"),
            last: register(r, "reconciliation_last_timestamp_seconds", "When the last run ended"),
            silent: register(
                r,
                "silent_source",
                "Whether the source changes without calling our webhook, 0 or 1",
            ),
        }
    }

    pub(super) fn pipeline(&self, pipeline: &Arc<str>) -> ReconcileMetrics {
        let label = PipelineLabel { pipeline: Arc::clone(pipeline) };
        let ended = RunState::ALL.map(|state| {
            let labels = StateLabels { pipeline: Arc::clone(pipeline), state: state.as_str() };
            let is_end = !matches!(state, RunState::Queued | RunState::Running);
            if is_end { self.runs.get_or_create_owned(&labels) } else { Counter::default() }
        });
        let drift = KINDS.map(|(_, kind)| {
            self.drift.get_or_create_owned(&KindLabels { pipeline: Arc::clone(pipeline), kind })
        });
        let series = Series {
            ended,
            running: self.running.get_or_create_owned(&label),
            drift,
            silent: self.silent.get_or_create_owned(&label),
            last: self.last.clone(),
            label,
        };
        ReconcileMetrics(Arc::new(series))
    }
}

/// The numbers of one pipeline's reconciliations; cheap to clone.
#[derive(Clone)]
pub struct ReconcileMetrics(Arc<Series>);

struct Series {
    label: PipelineLabel,
    ended: [Counter; RunState::ALL.len()],
    running: Gauge,
    drift: [Gauge; KINDS.len()],
    silent: Gauge,
    /// A pipeline that was never reconciled has no series: 1970 would wake somebody up.
    last: Family<PipelineLabel, Gauge>,
}

impl fmt::Debug for ReconcileMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReconcileMetrics").field(&self.0.label.pipeline).finish()
    }
}

impl ReconcileMetrics {
    /// A run goes on for as long as the guard lives.
    pub fn running(&self) -> Running {
        self.0.running.inc();
        Running(self.0.running.clone())
    }

    /// A run of this process ended.
    pub fn ended(&self, state: RunState) {
        let mut ended = RunState::ALL.iter().zip(&self.0.ended);
        if let Some((_, counter)) = ended.find(|(of, _)| **of == state) {
            counter.inc();
        }
    }

    /// What the last run found, be it another process's.
    pub fn last(&self, counts: Counts, at: DateTime<Utc>) {
        for ((kind, _), gauge) in KINDS.iter().zip(&self.0.drift) {
            let rows = match kind {
                Kind::Missing => counts.missing,
                Kind::Stale => counts.stale,
                Kind::Orphan => counts.orphan,
            };
            gauge.set(i64::try_from(rows).unwrap_or(i64::MAX));
        }
        self.0.last.get_or_create(&self.0.label).set(at.timestamp());
    }

    /// Whether the source changes without calling our webhook.
    pub fn silent(&self, is_silent: bool) {
        self.0.silent.set(is_silent.into());
    }
}

/// Counts a run as going on.
#[derive(Debug)]
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn runs_are_counted_by_how_they_ended_and_the_last_one_is_shown() {
        let metrics = Metrics::new();
        let pipeline = metrics.pipeline("fragrances");
        let reconciling = pipeline.reconciling();
        assert!(!metrics.encode().contains("accord_reconciliation_last_timestamp_seconds{"), "never yet");
        let running = reconciling.running();
        reconciling.ended(RunState::Held);
        reconciling.silent(true);
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        reconciling.last(Counts { missing: 1, stale: 2, orphan: 3, ..Counts::default() }, at);
        let text = metrics.encode();
        for series in [
            r#"accord_reconciliations_total{pipeline="fragrances",state="held"} 1"#,
            r#"accord_reconciliations_total{pipeline="fragrances",state="clean"} 0"#,
            r#"accord_reconciliation_running{pipeline="fragrances"} 1"#,
            r#"accord_reconciliation_drift_rows{pipeline="fragrances",kind="missing"} 1"#,
            r#"accord_reconciliation_drift_rows{pipeline="fragrances",kind="orphan"} 3"#,
            r#"accord_reconciliation_last_timestamp_seconds{pipeline="fragrances"} 1700000000"#,
            r#"accord_silent_source{pipeline="fragrances"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
        }
        assert!(!text.contains(r#"state="queued""#), "that is no end");
        drop(running);
        assert!(metrics.encode().contains("accord_reconciliation_running{pipeline=\"fragrances\"} 0\n"));
    }
}
