//! Dataset checks: of what was asked for by whomever, and, on the leader, of what is due; a time that passed while
//! nobody led is made up for once.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::Utc;
use futures_util::FutureExt as _;

use super::House;
use crate::http::HttpPipeline;
use crate::leader;
use crate::library::check_result;
use crate::quality::{Checker, Checks};
use crate::reconcile::Schedule;
use crate::supervisor::{Phase, Supervisor};

impl House<'_> {
    /// Checks tables when asked to, and when it is time.
    pub(super) async fn checker(
        &self,
        served: &[HttpPipeline],
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<Checks> {
        let contracts = served.iter().map(|p| (Arc::clone(&p.name), Arc::clone(&p.contract)));
        let (checker, checks) = Checker::new(contracts, self.connect.clone(), self.pool.clone());
        let stop = supervisor.soft(Phase::Work);
        supervisor.spawn(Phase::Work, "checks", async move {
            checker.run(stop).await;
            Ok(())
        });
        for (name, pipeline) in &self.config.pipeline {
            if let Some(settings) = &pipeline.check {
                let bell = self.timer.bell(&settings.schedule).await.context("check.schedule")?;
                let (name, checks, schedule) = (name.clone(), checks.clone(), settings.schedule.clone());
                let (leading, stop) = (self.leading.clone(), supervisor.soft(Phase::Work));
                supervisor.spawn(Phase::Work, format!("schedule of checks of {name}"), async move {
                    let work = || async {
                        // What rang while another led was the other's to answer; whether it did is asked once.
                        let _ = bell.rung().now_or_never();
                        let mut is_due = was_missed(&checks, &name, &schedule).await.unwrap_or_else(|error| {
                            tracing::warn!(pipeline = name, %error, "cannot tell whether a check was missed");
                            false
                        });
                        loop {
                            if is_due && let Err(error) = checks.ask(&name).await {
                                tracing::warn!(pipeline = name, %error, "a check that is due cannot be done");
                            }
                            bell.rung().await;
                            is_due = true;
                        }
                    };
                    stop.run_until_cancelled(leader::while_leading(leading, work)).await;
                    Ok(())
                });
            }
        }
        Ok(checks)
    }
}

/// Whether a time passed while nobody led. Where nothing was ever checked, nothing was missed.
async fn was_missed(checks: &Checks, pipeline: &str, schedule: &Schedule) -> Result<bool, sqlx::Error> {
    let last = check_result::last_begun(checks.pool(), pipeline).await?;
    // Bells go by our clock, runs are dated by the database's: that is a matter of seconds, and a check harms nobody.
    Ok(last.zip(schedule.last_due(Utc::now())).is_some_and(|(last, due)| last < due))
}
