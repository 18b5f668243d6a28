//! When a pipeline is reconciled by itself: by schedule, and after what may have made it miss changes.
//!
//! Promises: a timer or a gap only asks for a run, and what was asked for, by whomever, is carried out one run after
//! the other; a time that passed while nobody led, or while the pipeline was paused, is made up for once; a gap is not asked about again and again, the
//! less so the less it helps. Run it on the leader alone: two who did so for a moment would ask for one run all the
//! same. Must not know: how a run is carried out.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::record::{Mode, Request, Trigger};
use super::runner::{Subject, Taken};
use super::{Schedule, store};
use crate::library::pause;

/// How often it is looked whether somebody asked for a run, or a gap was marked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a run, a gap waits for this long; twice as long after each one that did not help.
const GAP_PAUSE: Duration = Duration::from_secs(3);

/// A gap waits no longer than this.
const GAP_PAUSE_MAX: Duration = Duration::from_mins(5);

/// A run begins late by at most this part of the time between two, and never by more than that.
const JITTER_PART: u32 = 10;
const JITTER_MAX: Duration = Duration::from_secs(30);

/// What makes a pipeline reconcile by itself.
#[derive(Debug)]
pub struct Occasions {
    /// When it is time, and what says so.
    pub schedule: Option<(Schedule, Bell)>,
    /// Whether what differs is repaired.
    pub mode: Mode,
}

/// Rings bells at their schedules' times, for as long as it goes.
pub struct Timer(JobScheduler);

/// Rings when it is time.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Notify>);

impl Timer {
    /// A timer that goes, without bells.
    pub async fn start() -> Result<Self, JobSchedulerError> {
        let mut scheduler = JobScheduler::new().await?;
        scheduler.init().await?;
        scheduler.start().await?;
        Ok(Self(scheduler))
    }

    /// A bell that rings at the schedule's times.
    pub async fn bell(&self, schedule: &Schedule) -> Result<Bell, JobSchedulerError> {
        let bell = Arc::new(Notify::new());
        let rung = Arc::clone(&bell);
        self.0.add(Job::new(schedule.six_fields(), move |_, _| rung.notify_one())?).await?;
        Ok(Bell(bell))
    }

    /// Ends it; no bell rings any more.
    pub async fn stop(mut self) {
        if let Err(error) = self.0.shutdown().await {
            debug!(%error, "the timer did not end as told");
        }
    }
}

impl Bell {
    /// Waits until it rings, or takes the ring that nobody waited for.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// Keeps a pipeline reconciled until `stop`: without occasions, only when somebody asks. A run that goes on when it
/// stops is stopped too, and says so.
pub async fn keep_reconciled(subject: &Subject, occasions: Option<&Occasions>, stop: &CancellationToken) {
    let timer = async {
        match occasions {
            Some(Occasions { schedule: Some((schedule, bell)), mode }) => {
                keep_to_schedule(subject, *mode, schedule, bell).await;
            }
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timer => {}
        () = keep_taking(subject, occasions, stop) => {}
    }
}

/// Carries out what was asked for, one run after the other, and asks for one after a gap.
async fn keep_taking(subject: &Subject, occasions: Option<&Occasions>, stop: &CancellationToken) {
    let mut told = false;
    while !stop.is_cancelled() {
        let taken = async {
            store::mark_aborted(&subject.pool).await?;
            if let Some(occasions) = occasions {
                after_gap(subject, occasions.mode).await?;
            }
            if !store::may_begin(&subject.pool, subject.pipeline).await? {
                return Ok(Taken::Idle);
            }
            subject.take_queued(stop).await.map_err(anyhow::Error::from)
        };
        match taken.await {
            Ok(_) => told = false,
            Err(error) if !told => {
                told = true;
                warn!(pipeline = subject.name, "cannot reconcile now, and will try again: {error:#}");
            }
            Err(error) => debug!(pipeline = subject.name, "still cannot reconcile: {error:#}"),
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn keep_to_schedule(subject: &Subject, mode: Mode, schedule: &Schedule, bell: &Bell) {
    // What was due while nobody led. Where nothing ever ran, nothing was missed.
    let mut is_late = true;
    loop {
        while_paused(subject).await;
        if let Err(error) = ask_when_due(subject, mode, schedule, is_late).await {
            warn!(pipeline = subject.name, %error, "cannot ask for the reconciliation that is due");
        }
        bell.rung().await;
        sleep(jitter(schedule, Utc::now())).await;
        is_late = false;
    }
}

/// Returns when the pipeline is not paused. A bell that rings meanwhile is heard afterwards, once.
async fn while_paused(subject: &Subject) {
    loop {
        match pause::read(&subject.pool, &subject.name).await {
            Ok(None) => return,
            Ok(Some(_)) => {}
            Err(error) => {
                debug!(pipeline = subject.name, %error, "cannot see whether the pipeline is paused");
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Asks for a run, unless one that does as much was asked for, or began, since it was due.
async fn ask_when_due(
    subject: &Subject,
    mode: Mode,
    schedule: &Schedule,
    is_late: bool,
) -> Result<(), sqlx::Error> {
    let mut conn = subject.pool.acquire().await?;
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await?;
    // The bell goes by our clock, runs are dated by the database's: the one that is behind must not hide the time.
    let Some(due) = schedule.last_due(now.max(Utc::now())) else { return Ok(()) };
    let (is_covered, was_any): (bool, bool) = sqlx::query_as(
        "select coalesce(bool_or(mode in ('repair', $2)
                                 and (state = 'queued' or greatest(started_at, requested_at) >= $3)), false),
                count(*) > 0
         from (select * from accord.reconciliation where pipeline = $1 order by id desc limit 100) newest",
    )
    .bind(subject.pipeline)
    .bind(mode)
    .bind(due)
    .fetch_one(&mut *conn)
    .await?;
    if is_covered || (is_late && !was_any) {
        return Ok(());
    }
    let request = Request::new(mode, Trigger::Schedule);
    let (id, _) = store::enqueue(&mut conn, subject.pipeline, &request).await?;
    debug!(pipeline = subject.name, id, %due, is_late, "a reconciliation is due");
    Ok(())
}

fn jitter(schedule: &Schedule, now: DateTime<Utc>) -> Duration {
    let next = schedule.next_due(now).and_then(|next| (next - now).to_std().ok()).unwrap_or_default();
    rand::rng().random_range(Duration::ZERO..=(next / JITTER_PART).min(JITTER_MAX))
}

/// A pipeline's gap, and what was done about it since it was last marked.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Standing {
    now: DateTime<Utc>,
    /// A run waits, or goes on.
    is_pending: bool,
    /// A run that began later found something out.
    is_settled: bool,
    /// Runs that began later and did not.
    in_vain: i64,
    last_ended: Option<DateTime<Utc>>,
}

impl Standing {
    /// Whether it is time to ask for a run.
    fn calls_for_a_run(self) -> bool {
        let doublings = u32::try_from(self.in_vain).unwrap_or(u32::MAX).min(16);
        let pause = (GAP_PAUSE * 2_u32.pow(doublings)).min(GAP_PAUSE_MAX);
        let rested = self
            .last_ended
            .is_none_or(|ended| self.now - ended >= TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX));
        !self.is_pending && !self.is_settled && rested
    }
}

/// Asks for a run when changes may have been missed and none was made since.
async fn after_gap(subject: &Subject, mode: Mode) -> Result<(), sqlx::Error> {
    let mut conn = subject.pool.acquire().await?;
    let standing: Option<Standing> = sqlx::query_as(
        "select now() as now,
                coalesce(bool_or(r.state in ('queued', 'running')), false) as is_pending,
                coalesce(bool_or(r.started_at > p.gap_marked_at
                    and (r.state in ('clean', 'repaired', 'held') or (r.state = 'drift' and r.mode in ('repair', $2)))),
                    false) as is_settled,
                count(*) filter (where r.started_at > p.gap_marked_at
                    and r.state in ('inconclusive', 'aborted')) as in_vain,
                max(r.finished_at) as last_ended
         from accord.pipeline p
         left join lateral (select * from accord.reconciliation where pipeline = p.id
                            order by id desc limit 100) r on true
         where p.id = $1 and p.gap_since is not null and p.paused_since is null
         group by p.id",
    )
    .bind(subject.pipeline)
    .bind(mode)
    .fetch_optional(&mut *conn)
    .await?;
    if !standing.is_some_and(Standing::calls_for_a_run) {
        return Ok(());
    }
    let request = Request::new(mode, Trigger::Gap);
    let (id, is_new) = store::enqueue(&mut conn, subject.pipeline, &request).await?;
    if is_new {
        debug!(pipeline = subject.name, id, "changes may have been missed: a reconciliation is asked for");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_waits_the_longer_the_less_it_helps() {
        let now = Utc::now();
        let standing = |in_vain, seconds| Standing {
            now,
            is_pending: false,
            is_settled: false,
            in_vain,
            last_ended: Some(now - TimeDelta::seconds(seconds)),
        };
        assert!(Standing { last_ended: None, ..standing(0, 0) }.calls_for_a_run());
        let waits: Vec<bool> = [(0, 2), (0, 3), (1, 5), (1, 6), (2, 11), (2, 12), (40, 299), (40, 300)]
            .map(|(in_vain, seconds)| standing(in_vain, seconds).calls_for_a_run())
            .into();
        assert_eq!(waits, [false, true, false, true, false, true, false, true]);
        assert!(!Standing { is_pending: true, ..standing(0, 900) }.calls_for_a_run());
        assert!(!Standing { is_settled: true, ..standing(0, 900) }.calls_for_a_run());
    }

    #[test]
    fn jitter_is_a_small_part_of_the_interval() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let longest = |text: &str| {
            let schedule = text.parse().unwrap();
            (0..200).map(|_| jitter(&schedule, now)).max().unwrap()
        };
        assert!(longest("* * * * * *") <= Duration::from_millis(100));
        assert!(longest("0 0 * * *") <= JITTER_MAX);
        assert!(longest("*/5 * * * *") > Duration::from_secs(5), "there is some");
    }
}
