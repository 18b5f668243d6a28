//! Keeps watch over how the pipelines stand, for those who ask, for the numbers and for the log.
//!
//! Promises: one read of the database serves all pipelines, and is the rarer the longer it takes; while the database
//! is away, what was last known is shown, and what the process knows by itself stays fresh; the log is told of a change
//! once, renewals or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::House;
use crate::apply::Applier;
use crate::config::Pipeline;
use crate::http::PipelineStatus;
use crate::reconcile::record::Run;
use crate::source::sender::Sender;
use crate::standing::{self, Condition, Expected, News, Standing, Told};
use crate::supervisor::{Phase, Supervisor};
use crate::telemetry::metrics::PipelineMetrics;

/// How often the database is read.
const READ_EVERY: Duration = Duration::from_secs(2);

/// A read that takes long is repeated the less often: a quarantine of millions of entries takes its time to count.
const READ_PART: u32 = 50;

/// However long it takes, it is read this often.
const READ_EVERY_AT_LEAST: Duration = Duration::from_secs(30);

/// A read that takes longer is given up.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// How often it is told what became of it.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What the log was told of each pipeline: it outlives a renewal, at which nothing begins and nothing is over.
#[derive(Clone, Debug, Default)]
pub(super) struct AllTold(Arc<Mutex<BTreeMap<String, Told>>>);

/// A pipeline that is watched.
pub(super) struct Watched {
    name: String,
    applier: Applier,
    /// Where it registers with a sender.
    sender: Option<Arc<Sender>>,
    metrics: PipelineMetrics,
    publish: watch::Sender<PipelineStatus>,
}

impl Watched {
    pub(super) fn new(
        name: &str,
        settings: &Pipeline,
        applier: &Applier,
        sender: Arc<Sender>,
        metrics: PipelineMetrics,
    ) -> Self {
        Self {
            name: name.to_owned(),
            applier: applier.clone(),
            sender: settings.register().map(|_| sender),
            metrics,
            publish: watch::Sender::default(),
        }
    }

    /// Where it is shown.
    pub(super) fn status(&self) -> watch::Receiver<PipelineStatus> {
        self.publish.subscribe()
    }

    /// What the database says of it now.
    fn stands(&self, standing: Standing) {
        self.metrics.gap(standing.gap.is_some());
        self.metrics.standing().stands(&standing);
        let reconciling = self.metrics.reconciling();
        reconciling.silent(standing.silent_since.is_some());
        if let Some(Run { counts: Some(counts), finished_at: Some(at), .. }) = &standing.reconciliation {
            reconciling.last(*counts, *at);
        }
        self.publish.send_modify(|status| status.standing = Some(Arc::new(standing)));
    }

    /// Has the numbers show what holds, and the log tell what is new.
    fn tell(&self, told: &AllTold, leads: bool) {
        if let Some(sender) = &self.sender {
            self.publish.send_modify(|status| status.registration = Some(sender.state()));
        }
        let now = Utc::now();
        let status = self.publish.borrow().clone();
        let conditions = status.conditions(&self.applier, now);
        self.metrics.standing().conditions(&conditions);
        // What is not known yet is not over.
        if status.standing.is_some() {
            for news in told.news(&self.name, &conditions, leads, now) {
                news.log(&self.name);
            }
        }
    }
}

impl AllTold {
    /// As [`Told::news`], of one pipeline.
    fn news(&self, pipeline: &str, conditions: &[Condition], leads: bool, now: DateTime<Utc>) -> Vec<News> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(pipeline.to_owned()).or_default().news(conditions, leads, now)
    }
}

impl House<'_> {
    /// Keeps watch over these pipelines.
    pub(super) fn keep_watch(&self, watched: Vec<Watched>, supervisor: &mut Supervisor) {
        let expected = Expected::of(self.config);
        for pipeline in &watched {
            if let Some(expected) = expected.get(&pipeline.name) {
                pipeline.publish.send_modify(|status| status.expected = expected.clone());
            }
        }
        let (pool, leading, stop) = (self.pool.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        let told = self.told.clone();
        supervisor.spawn(Phase::Work, "watch over the pipelines", async move {
            let keep = async {
                tokio::join!(
                    keep_reading(&pool, &watched, &expected),
                    keep_telling(&watched, &told, &leading)
                )
            };
            stop.run_until_cancelled(keep).await;
            Ok(())
        });
    }
}

async fn keep_reading(pool: &PgPool, watched: &[Watched], expected: &BTreeMap<String, Expected>) {
    loop {
        let mut pause = READ_EVERY;
        match timeout(READ_PATIENCE, read(pool, expected)).await {
            Ok(Ok((standings, took))) => {
                pause = (took * READ_PART).clamp(READ_EVERY, READ_EVERY_AT_LEAST);
                for standing in standings {
                    if let Some(pipeline) = watched.iter().find(|pipeline| pipeline.name == standing.name) {
                        pipeline.stands(standing);
                    }
                }
            }
            // That the database is away, the waist has said.
            Ok(Err(error)) => tracing::debug!(%error, "cannot read how the pipelines stand"),
            Err(_elapsed) => tracing::debug!("the database takes too long to say how the pipelines stand"),
        }
        sleep(pause).await;
    }
}

/// How they stand, and how long the database took to say so.
async fn read(
    pool: &PgPool,
    expected: &BTreeMap<String, Expected>,
) -> Result<(Vec<Standing>, Duration), sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let began = Instant::now();
    Ok((standing::read(&mut conn, expected).await?, began.elapsed()))
}

async fn keep_telling(watched: &[Watched], told: &AllTold, leading: &watch::Receiver<bool>) {
    loop {
        let leads = *leading.borrow();
        for pipeline in watched {
            pipeline.tell(told, leads);
        }
        sleep(TELL_EVERY).await;
    }
}
