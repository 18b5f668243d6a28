//! Reconciliations: by the leader, of what was asked for by whomever.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Notify;

use super::House;
use super::parts::{self, Known};
use crate::apply::Applier;
use crate::config::{OnDrift, Pipeline};
use crate::http::Reconcilable;
use crate::leader;
use crate::reconcile::record::Mode;
use crate::reconcile::runner::{Listening, Subject};
use crate::reconcile::schedule::{Occasions, keep_reconciled};
use crate::supervisor::{Phase, Supervisor};
use crate::telemetry::metrics::PipelineMetrics;

/// What operators may ask for.
pub(super) fn offered(pipeline: &Pipeline, id: i16) -> Option<Reconcilable> {
    pipeline.reference.as_ref()?;
    Some(Reconcilable { pipeline: id, repairs: repairs(pipeline) })
}

fn repairs(pipeline: &Pipeline) -> bool {
    pipeline.reconcile.as_ref().is_none_or(|settings| settings.on_drift == OnDrift::Repair)
}

impl House<'_> {
    /// Keeps the pipeline reconciled, where there is something to compare it with.
    #[expect(clippy::too_many_arguments, reason = "each is one part that the reconciler joins")]
    pub(super) async fn reconciler(
        &self,
        name: &str,
        pipeline: &Pipeline,
        known: &Known,
        applier: &Applier,
        register_again: Arc<Notify>,
        metrics: &PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<()> {
        let Some(reference) = &pipeline.reference else { return Ok(()) };
        let settings = pipeline.reconcile.clone().unwrap_or_default();
        let subject = Subject {
            name: name.to_owned(),
            pipeline: known.ids.pipeline,
            connect: self.connect.clone(),
            pool: self.pool.clone(),
            plan: parts::plan(&reference.postgres, &settings, &known.contract, &self.connect)?,
            applier: repairs(pipeline).then(|| applier.clone()),
            max_deletes: settings.max_deletes,
            max_changes: settings.max_changes,
            all_keys: false,
            sender: pipeline
                .source
                .webhook
                .as_ref()
                .map(|_| Listening { silent_after: settings.silent_after, register_again }),
            metrics: metrics.reconciling().clone(),
        };
        let occasions = match &pipeline.reconcile {
            None => None,
            Some(settings) => {
                let mode = if repairs(pipeline) { Mode::Repair } else { Mode::Diff };
                let schedule = match &settings.schedule {
                    None => None,
                    Some(schedule) => {
                        let bell = self.timer.bell(schedule).await.context("reconcile.schedule")?;
                        Some((schedule.clone(), bell))
                    }
                };
                Some(Occasions { schedule, mode })
            }
        };
        let (leading, stop) = (self.leading.clone(), supervisor.soft(Phase::Intake));
        supervisor.spawn(Phase::Intake, format!("reconciler of {name}"), async move {
            let keep = || keep_reconciled(&subject, occasions.as_ref(), &stop);
            leader::while_leading_until(leading, &stop, keep).await;
            Ok(())
        });
        Ok(())
    }

    /// Ends the timer when nothing new is taken in.
    pub(super) fn end_timer_in_time(self, supervisor: &mut Supervisor) {
        let stop = supervisor.soft(Phase::Intake);
        let timer = self.timer;
        supervisor.spawn(Phase::Intake, "timer", async move {
            stop.cancelled().await;
            timer.stop().await;
            Ok(())
        });
    }
}
