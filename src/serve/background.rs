//! What goes on beside the pipelines: leadership, retention, and the leader's work on the quarantine.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;

use super::House;
use crate::http::HttpPipeline;
use crate::leader;
use crate::library::retention;
use crate::quarantine::sweep;
use crate::supervisor::{Phase, Supervisor};

/// How often retention is looked after.
const SWEEP: Duration = Duration::from_mins(10);

impl House<'_> {
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
