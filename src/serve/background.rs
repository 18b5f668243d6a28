//! What goes on beside the pipelines: leadership, retention, and what is shown of each pipeline.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;

use super::House;
use crate::http::{HttpPipeline, PipelineStatus};
use crate::leader;
use crate::library::retention;
use crate::quarantine::sweep;
use crate::reconcile::record::Run;
use crate::reconcile::standing::{self, Standing};
use crate::source::sender::Sender;
use crate::supervisor::{Phase, Supervisor};
use crate::telemetry::metrics::PipelineMetrics;

/// How often gap and reconciliations are read, for those who ask.
const POLL: Duration = Duration::from_secs(2);

/// How often retention is looked after.
const SWEEP: Duration = Duration::from_mins(10);

impl House<'_> {
    /// Keeps what is shown of gap, registration and reconciliations fresh.
    pub(super) fn status(
        &self,
        name: &str,
        sender: Arc<Sender>,
        registers: bool,
        metrics: PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> watch::Receiver<PipelineStatus> {
        let (publish, status) = watch::channel(PipelineStatus::default());
        let (pool, stop, owned) = (self.pool.clone(), supervisor.soft(Phase::Work), name.to_owned());
        supervisor.spawn(Phase::Work, format!("status of {name}"), async move {
            let keep = async {
                loop {
                    let registration = registers.then(|| sender.state());
                    let known = standing(&pool, &owned).await;
                    publish.send_modify(|status| {
                        status.registration = registration;
                        if let Ok(Some(known)) = known {
                            count(&metrics, &known);
                            status.gap = known.gap;
                            status.silent_since = known.silent_since;
                            status.reconciliation = known.reconciliation;
                        }
                    });
                    tokio::time::sleep(POLL).await;
                }
            };
            stop.run_until_cancelled(keep).await;
            Ok(())
        });
        status
    }

    /// What a process does apart from its pipelines.
    pub(super) fn background(&self, lead: watch::Sender<bool>, supervisor: &mut Supervisor) {
        let (connect, stop) = (self.connect.clone(), supervisor.soft(Phase::Foundation));
        supervisor.spawn(Phase::Foundation, "leadership", async move {
            leader::contend(connect, lead, stop).await;
            Ok(())
        });

        let (metrics, mut leading, stop) =
            (self.metrics.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "leadership metric", async move {
            let keep = async {
                loop {
                    metrics.leader(*leading.borrow_and_update());
                    if leading.changed().await.is_err() {
                        return;
                    }
                }
            };
            stop.run_until_cancelled(keep).await;
            Ok(())
        });

        let policy = retention::Policy {
            ledger: self.config.retention.ledger,
            quarantine: self.config.retention.quarantine,
            event_id: self.config.retention.event_id,
            reconciliation: self.config.retention.reconciliation,
            check: self.config.retention.check,
        };
        let (pool, leading, stop) = (self.pool.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "retention", async move {
            stop.run_until_cancelled(leader::while_leading(leading, || keep_swept(&pool, policy))).await;
            Ok(())
        });
    }

    /// Has the leader try again what may heal, and close what newer data settled.
    pub(super) fn keep_quarantine(&self, served: &[HttpPipeline], supervisor: &mut Supervisor) {
        let replayers: Vec<_> = served.iter().map(|pipeline| pipeline.replayer(&self.pool)).collect();
        let (pool, leading, stop) = (self.pool.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "quarantine", async move {
            let keep = leader::while_leading(leading, || sweep::keep_swept(&pool, &replayers));
            stop.run_until_cancelled(keep).await;
            Ok(())
        });
    }
}

async fn standing(pool: &PgPool, pipeline: &str) -> Result<Option<Standing>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    Ok(standing::read(&mut conn, Some(pipeline)).await?.pop())
}

fn count(metrics: &PipelineMetrics, known: &Standing) {
    metrics.gap(known.gap.is_some());
    metrics.reconciling().silent(known.silent_since.is_some());
    if let Some(Run { counts: Some(counts), finished_at: Some(at), .. }) = &known.reconciliation {
        metrics.reconciling().last(*counts, *at);
    }
}

async fn keep_swept(pool: &PgPool, policy: retention::Policy) {
    loop {
        let swept = async {
            let mut conn = pool.acquire().await?;
            retention::sweep(&mut conn, policy).await
        };
        match swept.await {
            Ok(swept) if swept != retention::Swept::default() => tracing::info!(?swept, "retention"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "retention did not finish; it will go on at the next round"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}
