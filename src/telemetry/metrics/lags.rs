//! How far each pipeline is behind, at the moment of asking.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

use super::PipelineLabel;
use crate::apply::Waiting;

/// Who waits for each pipeline.
#[derive(Debug, Default)]
pub(super) struct Lags {
    pipelines: RwLock<Vec<(Arc<str>, Arc<Waiting>)>>,
}

impl Lags {
    /// A pipeline for which nobody waits as yet, unless it is known.
    pub(super) fn know(&self, pipeline: &Arc<str>) {
        let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        if pipelines.iter().all(|(name, _)| name != pipeline) {
            pipelines.push((Arc::clone(pipeline), Arc::default()));
        }
    }

    /// From now on the pipeline's lag is that of those who wait here.
    pub(super) fn set(&self, pipeline: &Arc<str>, waiting: Arc<Waiting>) {
        let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        pipelines.retain(|(name, _)| name != pipeline);
        pipelines.push((Arc::clone(pipeline), waiting));
    }
}

impl Collector for Lags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pipelines = self.pipelines.read().unwrap_or_else(PoisonError::into_inner);
        if pipelines.is_empty() {
            return Ok(());
        }
        let help = "Seconds that the oldest change has been waiting for its commit";
        let mut metric = encoder.encode_descriptor("lag_seconds", help, None, MetricType::Gauge)?;
        for (name, waiting) in pipelines.iter() {
            let series = Gauge::<f64, AtomicU64>::default();
            series.set(waiting.longest().as_secs_f64());
            series.encode(metric.encode_family(&PipelineLabel { pipeline: Arc::clone(name) })?)?;
        }
        Ok(())
    }
}
