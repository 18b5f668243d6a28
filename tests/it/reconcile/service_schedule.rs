//! When reconciliations run by themselves: by schedule, after a gap, on one replica.

use std::time::Duration;

use accord::reconcile::record::{Mode, Request, Trigger};
use accord::reconcile::runner::Subject;
use accord::reconcile::schedule::{Occasions, Timer, keep_reconciled};
use accord::reconcile::store;
use accord::telemetry::metrics::Metrics;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, Setting};
use super::service::{SOON, Service};
use crate::harness::{Client, eventually};

const QUICK: &str = "grace = \"10ms\"";
const EVERY_SECOND: &str = "grace = \"10ms\"\nschedule = \"* * * * * *\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_asks_for_a_run_and_is_forgotten_after_it() {
    let service =
        Service::start(Some(QUICK), "update fragrances set cost = cost + 1 where fragrance_id = 3").await;
    let is_closed = async || {
        eventually(SOON, "the gap is forgotten", async || {
            let gap = service.ask("select to_jsonb(gap_reasons) from accord.pipeline").await;
            if gap == json!([]) { Ok(()) } else { Err(gap) }
        })
        .await;
    };
    let run = service.newest("it is repaired", |run| run["state"] == "repaired").await;
    assert_eq!(run["trigger"], "gap", "the start is one");
    is_closed().await;
    assert!(service.is_in_accord().await);

    // What nobody announced, and a body that did not arrive whole: any of the reasons for a gap.
    service.at_cms("delete from fragrances where fragrance_id = 4").await;
    assert_eq!(service.server.send(vec![b' '; 2 << 20]).await.status, 413);
    let again =
        service.newest("it is repaired again", |r| r["state"] == "repaired" && r["id"] != run["id"]).await;
    assert_eq!(again["trigger"], "gap");
    is_closed().await;
    assert!(service.is_in_accord().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_cannot_be_looked_into_stays() {
    let service = Service::start(Some(QUICK), "alter table fragrances rename column cost to price").await;
    let tried = service.newest("it was tried", |run| run["state"] == "inconclusive").await;
    assert!(tried["reason"].is_string(), "{tried}");
    let again = service
        .newest("it was tried again", |r| r["state"] == "inconclusive" && r["id"] != tried["id"])
        .await;
    assert_eq!(again["trigger"], "gap");
    assert_ne!(service.ask("select to_jsonb(gap_since) from accord.pipeline").await, json!(null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_repairs_on_one_replica_alone_and_one_run_after_the_other() {
    let service = Service::start(Some(EVERY_SECOND), "").await;
    let replica = service.server.replica().await;
    service
        .at_cms(
            "insert into fragrances (fragrance_id, name, cost, forbidden) values (1000, 'Late', 1, false)",
        )
        .await;
    // The replica's own start has marked a gap, whose run may come first.
    eventually(SOON, "it is repaired", async || {
        let repaired = "select to_jsonb(count(*)) from accord.reconciliation where state = 'repaired'";
        let runs = service.ask(repaired).await;
        if runs.as_u64() > Some(0) { Ok(()) } else { Err(runs) }
    })
    .await;
    assert!(service.is_in_accord().await);
    eventually(SOON, "some more runs", async || {
        let runs = service
            .ask("select to_jsonb(count(*)) from accord.reconciliation where trigger = 'schedule'")
            .await;
        if runs.as_u64() > Some(4) { Ok(()) } else { Err(runs) }
    })
    .await;
    let overlaps = "select to_jsonb(count(*)) from accord.reconciliation a join accord.reconciliation b
                    on a.id < b.id and b.started_at < a.finished_at";
    assert_eq!(service.ask(overlaps).await, 0);

    let mut ran = Vec::new();
    for url in [&service.server.accord.url, &replica.url] {
        let metrics = Client::of(url).get("/metrics").await.unwrap().text;
        let series = metrics.lines().filter(|line| line.starts_with("accord_reconciliations_total{"));
        let counts = series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        ran.push((metrics.contains("\naccord_leader 1"), counts.sum::<u64>() > 0));
    }
    ran.sort_unstable();
    assert_eq!(ran, [(false, false), (true, true)], "who leads runs");
}

/// A scene and its reconciler, as a leader has it.
struct Led {
    scene: Scene,
    subject: Subject,
    occasions: Occasions,
    _timer: Timer,
}

impl Led {
    async fn by(schedule: &str) -> Self {
        let scene = Scene::new(Setting::default()).await;
        let subject = Subject {
            name: "items".to_owned(),
            pipeline: scene.pipeline,
            connect: scene.waist.url.parse().unwrap(),
            pool: scene.waist.pool.clone(),
            plan: scene.plan.clone(),
            applier: Some(scene.waist.applier.clone()),
            max_deletes: None,
            max_changes: None,
            all_keys: false,
            sender: None,
            metrics: Metrics::new().pipeline("items").reconciling().clone(),
        };
        let timer = Timer::start().await.unwrap();
        let schedule = schedule.parse().unwrap();
        let bell = timer.bell(&schedule).await.unwrap();
        let occasions = Occasions { schedule: Some((schedule, bell)), mode: Mode::Repair };
        Self { scene, subject, occasions, _timer: timer }
    }

    /// Leads until a run that somebody asks for now has ended, and all that it found queued before.
    async fn leads_for_a_while(&self) {
        let stop = CancellationToken::new();
        let asked = async {
            // What is due is asked for at once; this comes after it.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut conn = self.subject.pool.acquire().await.unwrap();
            let request = Request::new(Mode::Diff, Trigger::Manual);
            loop {
                match store::enqueue(&mut conn, self.subject.pipeline, &request).await.unwrap() {
                    (id, true) => break self.ends(id).await,
                    (id, false) => self.ends(id).await,
                }
            }
            stop.cancel();
        };
        tokio::join!(keep_reconciled(&self.subject, Some(&self.occasions), &stop), asked);
    }

    async fn ends(&self, id: i64) {
        eventually(SOON, "the run ends", async || {
            let mut conn = self.subject.pool.acquire().await.unwrap();
            match store::one(&mut conn, id).await.unwrap().unwrap().run {
                run if run.finished_at.is_some() => Ok(()),
                run => Err(run),
            }
        })
        .await;
    }

    async fn scheduled(&self) -> String {
        self.scene
            .waist
            .read("select count(*)::text from accord.reconciliation where trigger = 'schedule'")
            .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_missed_is_made_up_once() {
    let led = Led::by("0 0 1 1 *").await;
    led.leads_for_a_while().await;
    assert_eq!(led.scheduled().await, "0", "where nothing ever ran, nothing was missed");

    let years_ago = "update accord.reconciliation set requested_at = '2001-01-01', started_at = '2001-01-01',
                         finished_at = '2001-01-01'";
    led.scene.waist.sql(years_ago).await;
    led.leads_for_a_while().await;
    assert_eq!(led.scheduled().await, "1", "once, however many were missed");
    led.leads_for_a_while().await;
    assert_eq!(led.scheduled().await, "1", "not by the next leader too");
}
