//! When each pipeline was last called, and how long ago that is at the moment of asking.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::Utc;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

use super::PipelineLabel;

/// When each pipeline was last called. A pipeline that was never called has no series, for an age since
/// 1970 would wake somebody up.
#[derive(Debug, Default)]
pub(super) struct LastWebhooks {
    pipelines: RwLock<Vec<(Arc<str>, Arc<AtomicI64>)>>,
}

impl LastWebhooks {
    const NEVER: i64 = i64::MIN;

    pub(super) fn of(&self, pipeline: &Arc<str>) -> Arc<AtomicI64> {
        let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = pipelines.iter().find(|(name, _)| name == pipeline) {
            return Arc::clone(last);
        }
        let last = Arc::new(AtomicI64::new(Self::NEVER));
        pipelines.push((Arc::clone(pipeline), Arc::clone(&last)));
        last
    }

    fn seen(&self) -> Vec<(PipelineLabel, i64)> {
        let pipelines = self.pipelines.read().unwrap_or_else(PoisonError::into_inner);
        let read = |(name, last): &(Arc<str>, Arc<AtomicI64>)| {
            (PipelineLabel { pipeline: Arc::clone(name) }, last.load(Ordering::Relaxed))
        };
        pipelines.iter().map(read).filter(|(_, millis)| *millis != Self::NEVER).collect()
    }
}

impl Collector for LastWebhooks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.seen();
        if seen.is_empty() {
            return Ok(());
        }
        let now = Utc::now().timestamp_millis();
        let mut gauge = |name, help, value: &dyn Fn(i64) -> i64| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, millis) in &seen {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit a double")]
                let seconds = value(*millis) as f64 / 1000.0;
                let series = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
                series.set(seconds);
                series.encode(metric.encode_family(label)?)?;
            }
            Ok(())
        };
        gauge("last_webhook_timestamp_seconds", "When the sender last called", &|seen| seen)?;
        gauge("last_webhook_age_seconds", "Seconds since the sender last called", &|seen| (now - seen).max(0))
    }
}
