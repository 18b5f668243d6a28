//! The numbers behind `/metrics`.
//!
//! Promises: no globals, one registry a process; a handle of a pipeline has its series resolved beforehand,
//! so that counting on the hot path is an atomic addition; every series exists from the start, at zero.
//! Must not know: HTTP, or why something is counted.

mod lags;
mod last_webhooks;
mod reconciling;
mod standing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::apply::Waiting;
use crate::change::Origin;
use lags::Lags;
use last_webhooks::LastWebhooks;
use reconciling::Reconciling;
pub use reconciling::{ReconcileMetrics, Running};
pub use standing::StandingMetrics;
use standing::Standings;

/// The format of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const ORIGINS: [Origin; 4] = [Origin::Webhook, Origin::Replay, Origin::Reconcile, Origin::Backfill];
/// The outcomes, and the repeats of an event, which have none of their own.
const OUTCOMES: [&str; 5] = ["applied", "unchanged", "stale", "quarantined", "duplicate"];

/// Refusals that a webhook is known to give.
const REFUSALS: [u16; 5] = [400, 401, 408, 413, 503];

/// Commit latency, from half a millisecond to ten seconds.
const COMMIT_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All numbers of the process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
}

#[derive(Debug)]
struct Families {
    registry: Registry,
    changes: Family<ChangeLabels, Counter>,
    commit_seconds: Family<PipelineLabel, Histogram, fn() -> Histogram>,
    batch_changes: Family<PipelineLabel, Histogram, fn() -> Histogram>,
    queue_depth: Family<PipelineLabel, Gauge>,
    held_requests: Family<PipelineLabel, Gauge>,
    refused_requests: Family<RefusalLabels, Counter>,
    missed_bodies: Family<PipelineLabel, Counter>,
    unknown_fields: Family<PipelineLabel, Counter>,
    last_webhooks: Arc<LastWebhooks>,
    lags: Arc<Lags>,
    registered: Family<PipelineLabel, Gauge>,
    possible_gap: Family<PipelineLabel, Gauge>,
    leader: Gauge,
    reconciling: Reconciling,
    standings: Standings,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PipelineLabel {
    pipeline: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    pipeline: Arc<str>,
    origin: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    pipeline: Arc<str>,
    status: u16,
}

impl Metrics {
    /// A registry of its own, with nothing counted.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("accord");
        registry.register(
            "build",
            "Which Accord this is",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let last_webhooks = Arc::new(LastWebhooks::default());
        registry.register_collector(Box::new(Arc::clone(&last_webhooks)));
        let lags = Arc::new(Lags::default());
        registry.register_collector(Box::new(Arc::clone(&lags)));
        let r = &mut registry;
        let families = Families {
            changes: register(r, "changes", "Changes by what became of them"),
            commit_seconds: register_as(
                r,
                "commit_seconds",
                "Seconds that a batch took from its first statement to its commit",
                Family::new_with_constructor(|| Histogram::new(COMMIT_BUCKETS)),
            ),
            batch_changes: register_as(
                r,
                "batch_changes",
                "Changes committed together",
                Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 13))),
            ),
            queue_depth: register(r, "queue_depth", "Changes that wait for their commit"),
            held_requests: register(r, "held_requests", "Requests that wait for the library"),
            refused_requests: register(r, "refused_requests", "Webhook calls that were not taken"),
            missed_bodies: register(r, "missed_bodies", "Webhook bodies that did not arrive whole"),
            unknown_fields: register(r, "unknown_fields", "Fields left out, for the contract lacks them"),
            registered: register(r, "registered", "Whether the sender knows our webhook, 0 or 1"),
            possible_gap: register(r, "possible_gap", "Whether changes may have been missed, 0 or 1"),
            leader: register(r, "leader", "Whether this process leads the replicas, 0 or 1"),
            reconciling: Reconciling::new(r),
            standings: Standings::new(r),
            last_webhooks,
            lags,
            registry,
        };
        Self { families: Arc::new(families) }
    }

    /// The handle of one pipeline, with every series resolved. The same name gives the same series.
    pub fn pipeline(&self, name: &str) -> PipelineMetrics {
        let families = &*self.families;
        let pipeline: Arc<str> = name.into();
        let label = PipelineLabel { pipeline: Arc::clone(&pipeline) };
        for status in REFUSALS {
            let labels = RefusalLabels { pipeline: Arc::clone(&pipeline), status };
            families.refused_requests.get_or_create_owned(&labels);
        }
        let counter = |origin: Origin, outcome| {
            let pipeline = Arc::clone(&pipeline);
            let labels = ChangeLabels { pipeline, origin: origin.as_str(), outcome };
            families.changes.get_or_create_owned(&labels)
        };
        families.lags.know(&pipeline);
        let series = Series {
            changes: ORIGINS.map(|origin| OUTCOMES.map(|outcome| counter(origin, outcome))),
            commit_seconds: families.commit_seconds.get_or_create_owned(&label),
            batch_changes: families.batch_changes.get_or_create_owned(&label),
            queue_depth: families.queue_depth.get_or_create_owned(&label),
            held_requests: families.held_requests.get_or_create_owned(&label),
            missed_bodies: families.missed_bodies.get_or_create_owned(&label),
            unknown_fields: families.unknown_fields.get_or_create_owned(&label),
            last_webhook: families.last_webhooks.of(&pipeline),
            registered: families.registered.get_or_create_owned(&label),
            possible_gap: families.possible_gap.get_or_create_owned(&label),
            reconciling: families.reconciling.pipeline(&pipeline),
            standing: families.standings.pipeline(&pipeline),
            families: Arc::clone(&self.families),
            pipeline,
        };
        PipelineMetrics { series: Arc::new(series) }
    }

    /// Whether this process leads the replicas.
    pub fn leader(&self, leads: bool) {
        self.families.leader.set(leads.into());
    }

    /// Everything, in the text format that [`CONTENT_TYPE`] names.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.families.registry) {
            Ok(()) => out,
            // Writing into a string cannot fail; an encoder that disagrees must not take the process down.
            Err(fmt::Error) => String::from("# EOF\n"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    register_as(registry, name, help, M::default())
}

fn register_as<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// The numbers of one pipeline; cheap to clone and to count on.
#[derive(Clone, Debug)]
pub struct PipelineMetrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    families: Arc<Families>,
    pipeline: Arc<str>,
    changes: [[Counter; OUTCOMES.len()]; ORIGINS.len()],
    commit_seconds: Histogram,
    batch_changes: Histogram,
    queue_depth: Gauge,
    held_requests: Gauge,
    missed_bodies: Counter,
    unknown_fields: Counter,
    last_webhook: Arc<AtomicI64>,
    registered: Gauge,
    possible_gap: Gauge,
    reconciling: ReconcileMetrics,
    standing: StandingMetrics,
}

impl PipelineMetrics {
    /// Counts changes of one origin that had the same outcome.
    pub fn changes(&self, origin: Origin, outcome: &'static str, n: u64) {
        let known = OUTCOMES.iter().position(|word| *word == outcome);
        let row = ORIGINS.iter().position(|o| *o == origin);
        if let (Some(row), Some(column)) = (row, known) {
            self.series.changes[row][column].inc_by(n);
        } else {
            let pipeline = Arc::clone(&self.series.pipeline);
            let labels = ChangeLabels { pipeline, origin: origin.as_str(), outcome };
            self.series.families.changes.get_or_create(&labels).inc_by(n);
        }
    }

    /// Records a committed batch: how many changes, and how long it took.
    pub fn batch(&self, changes: usize, commit: Duration) {
        // A batch is far below 2^52 changes.
        #[expect(clippy::cast_precision_loss, reason = "a count of changes in memory fits a double")]
        self.series.batch_changes.observe(changes as f64);
        self.series.commit_seconds.observe(commit.as_secs_f64());
    }

    /// So many changes more wait for their commit; fewer, where negative.
    pub fn queued(&self, changes: i64) {
        self.series.queue_depth.inc_by(changes);
    }

    /// So many requests more wait for the library; fewer, where negative.
    pub fn held(&self, requests: i64) {
        self.series.held_requests.inc_by(requests);
    }

    /// Counts a webhook call that was not taken.
    pub fn refused(&self, status: u16) {
        let labels = RefusalLabels { pipeline: Arc::clone(&self.series.pipeline), status };
        self.series.families.refused_requests.get_or_create(&labels).inc();
    }

    /// Counts a webhook body that was too long, too slow, or broken off.
    pub fn missed_body(&self) {
        self.series.missed_bodies.inc();
    }

    /// Counts fields that the contract does not name and that were left out.
    pub fn unknown_fields(&self, n: u64) {
        self.series.unknown_fields.inc_by(n);
    }

    /// Notes when the sender last called.
    pub fn webhook_seen(&self, at: DateTime<Utc>) {
        self.series.last_webhook.store(at.timestamp_millis(), Ordering::Relaxed);
    }

    /// Whether the sender knows our webhook.
    pub fn registered(&self, registered: bool) {
        self.series.registered.set(registered.into());
    }

    /// The numbers of its reconciliations.
    pub fn reconciling(&self) -> &ReconcileMetrics {
        &self.series.reconciling
    }

    /// The numbers of how it stands.
    pub fn standing(&self) -> &StandingMetrics {
        &self.series.standing
    }

    /// Its lag is that of those who wait here.
    pub fn lag_of(&self, waiting: Arc<Waiting>) {
        self.series.families.lags.set(&self.series.pipeline, waiting);
    }

    /// Whether changes may have been missed.
    pub fn gap(&self, possible: bool) {
        self.series.possible_gap.set(possible.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, start: &str) -> Option<String> {
        text.lines().find(|line| line.starts_with(start)).map(ToOwned::to_owned)
    }

    #[test]
    fn every_series_of_a_pipeline_is_there_before_anything_happened() {
        let metrics = Metrics::new();
        metrics.pipeline("fragrances");
        let text = metrics.encode();
        for series in [
            r#"accord_changes_total{pipeline="fragrances",origin="webhook",outcome="applied"} 0"#,
            r#"accord_changes_total{pipeline="fragrances",origin="backfill",outcome="quarantined"} 0"#,
            r#"accord_commit_seconds_count{pipeline="fragrances"} 0"#,
            r#"accord_batch_changes_count{pipeline="fragrances"} 0"#,
            r#"accord_queue_depth{pipeline="fragrances"} 0"#,
            r#"accord_held_requests{pipeline="fragrances"} 0"#,
            r#"accord_refused_requests_total{pipeline="fragrances",status="503"} 0"#,
            r#"accord_missed_bodies_total{pipeline="fragrances"} 0"#,
            r#"accord_unknown_fields_total{pipeline="fragrances"} 0"#,
            r#"accord_registered{pipeline="fragrances"} 0"#,
            r#"accord_possible_gap{pipeline="fragrances"} 0"#,
            r#"accord_reconciliations_total{pipeline="fragrances",state="aborted"} 0"#,
            r#"accord_reconciliation_running{pipeline="fragrances"} 0"#,
            r#"accord_reconciliation_drift_rows{pipeline="fragrances",kind="stale"} 0"#,
            r#"accord_silent_source{pipeline="fragrances"} 0"#,
            r#"accord_lag_seconds{pipeline="fragrances"} 0.0"#,
            r#"accord_condition{pipeline="fragrances",condition="checks_failed"} 0"#,
            r#"accord_condition{pipeline="fragrances",condition="paused"} 0"#,
            r#"accord_quarantine_open{pipeline="fragrances"} 0"#,
            r#"accord_quarantine_growth{pipeline="fragrances"} 0"#,
            r#"accord_checks{pipeline="fragrances",outcome="failed"} 0"#,
            "accord_leader 0",
            concat!(r#"accord_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        let pipeline = metrics.pipeline("fragrances");
        pipeline.changes(Origin::Replay, "stale", 3);
        pipeline.changes(Origin::Replay, "superseded", 2);
        pipeline.batch(256, Duration::from_millis(4));
        pipeline.refused(401);
        pipeline.refused(418);
        pipeline.held(1);
        pipeline.held(1);
        pipeline.queued(500);
        pipeline.held(-1);
        pipeline.gap(true);
        metrics.leader(true);
        let text = metrics.encode();
        for series in [
            r#"accord_changes_total{pipeline="fragrances",origin="replay",outcome="stale"} 3"#,
            r#"accord_changes_total{pipeline="fragrances",origin="replay",outcome="superseded"} 2"#,
            r#"accord_batch_changes_bucket{le="128.0",pipeline="fragrances"} 0"#,
            r#"accord_batch_changes_bucket{le="256.0",pipeline="fragrances"} 1"#,
            r#"accord_commit_seconds_bucket{le="0.0025",pipeline="fragrances"} 0"#,
            r#"accord_commit_seconds_bucket{le="0.005",pipeline="fragrances"} 1"#,
            r#"accord_refused_requests_total{pipeline="fragrances",status="401"} 1"#,
            r#"accord_refused_requests_total{pipeline="fragrances",status="418"} 1"#,
            r#"accord_held_requests{pipeline="fragrances"} 1"#,
            r#"accord_queue_depth{pipeline="fragrances"} 500"#,
            r#"accord_possible_gap{pipeline="fragrances"} 1"#,
            "accord_leader 1",
        ] {
            assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
        }
    }

    #[test]
    fn the_same_name_gives_the_same_series() {
        let metrics = Metrics::new();
        metrics.pipeline("fragrances").unknown_fields(1);
        metrics.pipeline("fragrances").unknown_fields(1);
        let text = metrics.encode();
        let found = line(&text, "accord_unknown_fields_total").unwrap();
        assert_eq!(found, r#"accord_unknown_fields_total{pipeline="fragrances"} 2"#);
    }

    #[test]
    fn the_age_of_the_last_webhook_exists_once_there_was_one() {
        let metrics = Metrics::new();
        let pipeline = metrics.pipeline("fragrances");
        assert_eq!(line(&metrics.encode(), "accord_last_webhook_age_seconds{"), None);
        pipeline.webhook_seen(Utc::now() - chrono::TimeDelta::seconds(90));
        let text = metrics.encode();
        let age = line(&text, r#"accord_last_webhook_age_seconds{pipeline="fragrances"} 9"#);
        let timestamp = line(&text, r#"accord_last_webhook_timestamp_seconds{pipeline="fragrances"} "#);
        assert!(age.is_some() && timestamp.is_some(), "{text}");
    }
}
