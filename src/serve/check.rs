//! Dataset checks: of what was asked for by whomever, and, on the leader, of what is due.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;

use super::House;
use crate::http::HttpPipeline;
use crate::leader;
use crate::quality::{Checker, Checks};
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
                let (name, checks) = (name.clone(), checks.clone());
                let (leading, stop) = (self.leading.clone(), supervisor.soft(Phase::Work));
                supervisor.spawn(Phase::Work, format!("schedule of checks of {name}"), async move {
                    let work = || async {
                        // What rang while another led was the other's to answer.
                        let _ = bell.rung().now_or_never();
                        loop {
                            bell.rung().await;
                            if let Err(error) = checks.ask(&name).await {
                                tracing::warn!(pipeline = name, %error, "a check that is due cannot be done");
                            }
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
