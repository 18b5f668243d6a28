//! A replay of many: what it takes, in which order, and what is known of it meanwhile.

use std::time::Duration;

use accord::apply::{Applier, Mode, Settings, Stop};
use accord::library::quarantine::close::{self, Decision};
use accord::library::quarantine::read::Filter;
use accord::quarantine::Replayer;
use accord::quarantine::bulk::{self, Progress};
use accord::telemetry::metrics::Metrics;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::Quarantine;
use crate::harness::{Waist, Wish};

/// More than one transaction takes.
const MANY: i64 = 250;

#[tokio::test(flavor = "multi_thread")]
async fn many_are_tried_once_from_the_oldest_on_and_their_progress_is_seen() {
    let q = Quarantine::new().await;
    q.waist.sql("insert into item select i, 'rose', 1, 'x', 'mine' from generate_series(1, 300) i").await;
    let refused = (1..=MANY).map(|id| format!(r#"{{"id":{id},"name":"iris","unknown":1}}"#));
    q.strict.send(&format!("[{}]", refused.collect::<Vec<_>>().join(","))).await;
    // One that is closed, one that newer data has settled, and one that is refused again.
    let mut conn = q.waist.pool.acquire().await.unwrap();
    close::discard(&mut conn, 3, Decision { by: "test", reason: "enough" }).await.unwrap();
    q.waist.send(r#"{"id":1,"name":"newer"}"#).await;
    q.waist.sql("alter table item add check (id <> 2 or name = 'rose')").await;

    let filter = Filter { rule: Some("additionalProperties".to_owned()), ..Filter::default() };
    let asked = bulk::request(&q.waist.pool, &filter, "test").await.unwrap();
    assert_eq!((asked.state.as_str(), asked.total), ("running", MANY - 1));

    let mut told = Vec::new();
    let replayers = [q.replayer.clone()];
    let ended = bulk::run(&q.waist.pool, &asked, &replayers, |progress| {
        told.push(progress);
        if told.len() > 1 {
            return;
        }
        block_in_place(|| {
            Handle::current().block_on(async {
                let seen = bulk::get(&q.waist.pool, asked.id).await.unwrap().unwrap();
                assert_eq!((seen.state.as_str(), seen.progress), ("running", progress), "others see it too");
                let tried = "select concat(min(id), ' ', max(id)) from accord.quarantine where attempts > 0";
                assert_eq!(q.waist.read(tried).await, "1 201", "the oldest come first");
                // What is kept from now on is for the next request.
                q.refuse(r#""id":290,"name":"iris""#).await;
            });
        });
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended, Progress { released: 247, superseded: 1, refused: 1, left_out: 0 });
    assert_eq!(told, [Progress { released: 198, superseded: 1, refused: 1, left_out: 0 }, ended]);
    let seen = bulk::get(&q.waist.pool, asked.id).await.unwrap().unwrap();
    assert_eq!((seen.state.as_str(), seen.progress, seen.finished_at.is_some()), ("done", ended, true));
    let untried =
        "select string_agg(id || ' ' || state, ', ' order by id) from accord.quarantine where attempts = 0";
    assert_eq!(q.waist.read(untried).await, "3 discarded, 251 open");
}

#[tokio::test]
async fn what_was_not_tried_is_counted_and_told() {
    let q = Quarantine::new().await;
    q.waist.sql("insert into item values (1, 'rose', 1, 'x', 'mine')").await;
    let other = Waist::on(&q.waist.url, q.waist.pool.clone(), Wish { name: "others", ..Wish::default() });
    q.refuse(r#""id":1,"name":"iris""#).await;
    let closed = q.refuse(r#""id":1,"price":2"#).await;
    for _ in 0..2 {
        other.send(r#"{"id":1,"price":"much"}"#).await;
    }
    let asked = bulk::request(&q.waist.pool, &Filter::default(), "test").await.unwrap();
    let mut conn = q.waist.pool.acquire().await.unwrap();
    close::discard(&mut conn, closed, Decision { by: "test", reason: "enough" }).await.unwrap();
    let replayers = [q.replayer.clone()];
    let ended = bulk::run(&q.waist.pool, &asked, &replayers, |_| {}).await.unwrap();
    assert_eq!(ended, Progress { released: 1, left_out: 3, ..Progress::default() });
    let seen = bulk::get(&q.waist.pool, asked.id).await.unwrap().unwrap();
    assert_eq!((seen.state.as_str(), seen.total, seen.progress), ("done", ended.done(), ended));
    let reason = seen.reason.unwrap();
    assert!(reason.contains("2 of pipeline `others`, which is not configured here"), "{reason}");
    assert!(reason.contains("1 that were closed"), "{reason}");
}

#[tokio::test]
async fn bodies_that_are_too_many_for_the_waist_at_once_are_replayed_one_after_the_other() {
    let q = Quarantine::new().await;
    q.waist.sql("insert into item values (1, 'rose', 1, 'x', 'mine')").await;
    for name in ["a", "b", "c"] {
        q.refuse(&format!(r#""id":1,"name":"{name}","tag":"{}""#, "x".repeat(5 << 20))).await;
    }
    let settings = Settings {
        name: "items".to_owned(),
        gate: q.waist.gate.clone(),
        connect: q.waist.url.parse().unwrap(),
        mode: Mode::Apply,
        reference: None,
        max_batch: 1024,
        max_held: 8,
        max_held_bytes: 12 << 20,
        hold: Duration::from_mins(1),
        metrics: Metrics::new().pipeline("items"),
    };
    let stop = Stop { asked: CancellationToken::new(), drain: CancellationToken::new() };
    let (applier, writer) = Applier::new(settings, stop);
    tokio::spawn(writer);
    let small = Replayer::new("items", q.waist.gate.clone(), applier, q.waist.pool.clone());
    let tried = small.many(&[3, 1, 2]).await.unwrap();
    let told: Vec<_> = tried.iter().map(|(id, outcome)| (*id, outcome.as_str())).collect();
    assert_eq!(told, [(1, "applied"), (2, "applied"), (3, "applied")]);
}
