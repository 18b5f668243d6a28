//! A contract that is activated is taken up by running servers.
//!
//! Promises: an activation is noticed within two seconds or so, whoever made it. Must not know: what is laid out anew.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgPool;

use super::House;
use crate::library::activation;
use crate::supervisor::{Phase, Supervisor};

/// How often the contracts in force are read.
const POLL: Duration = Duration::from_secs(1);

/// Ids of contracts, by their pipelines' names.
pub(super) type InForce = BTreeMap<String, i32>;

impl House<'_> {
    /// Asks for a renewal as soon as another contract is in force than this process was laid out with.
    pub(super) fn watch_contracts(&self, laid_out: InForce, supervisor: &mut Supervisor) {
        let pool = self.pool.clone();
        let (renewal, stop) = (supervisor.renewal(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "watch of contracts", async move {
            if stop.run_until_cancelled(until_another(&pool, &laid_out)).await.is_some() {
                renewal.cancel();
                stop.cancelled().await;
            }
            Ok(())
        });
    }
}

async fn until_another(pool: &PgPool, laid_out: &InForce) {
    loop {
        tokio::time::sleep(POLL).await;
        let in_force = match activation::in_force(pool).await {
            Ok(in_force) => in_force,
            // The waist says so, loudly.
            Err(error) => {
                tracing::debug!(%error, "the contracts in force cannot be read now");
                continue;
            }
        };
        let is_another =
            |(name, contract): &(String, i32)| laid_out.get(name).is_some_and(|ours| ours != contract);
        if let Some((pipeline, _)) = in_force.iter().find(|one| is_another(one)) {
            tracing::info!(pipeline, "another contract was activated: taking it up");
            return;
        }
    }
}
