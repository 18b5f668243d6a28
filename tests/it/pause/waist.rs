//! The waist heeds a pause: what senders send is kept, what we want by ourselves is turned away.

use std::time::Duration;

use accord::apply::Refused;
use accord::change::{Body, Change, Intent, Key, Origin};
use accord::library::pause::{self, Paused};
use accord::quarantine::ReplayError;
use accord::value::Value;

use super::{Pausable, word};
use crate::harness::{Waist, Wish, deletion, eventually};
use crate::quarantine::replayer;

const FULL: &str = r#"{"id":1,"name":"rose","price":1,"tag":"x"}"#;

#[tokio::test]
async fn what_senders_send_is_kept_and_the_table_stays_as_it_is() {
    let p = Pausable::new(Wish::default()).await;
    assert_eq!(p.send(FULL).await, ["applied"]);
    p.pause().await;
    assert_eq!(
        p.send(r#"[{"id":1,"price":2},{"id":1,"price":true},{"id":2}]"#).await,
        ["paused", "type", "paused"]
    );
    let deleted = p.waist.applier.apply(vec![deletion(1)]).await.unwrap();
    assert_eq!(word(&deleted[0]), "paused");
    assert_eq!(p.rows().await, "1:rose:1:x");
    let kept = p
        .waist
        .read(
            "select string_agg(concat_ws(' ', reason, key, row ->> 'name', next_attempt_at = at), ', ' order by id)
             from accord.quarantine",
        )
        .await;
    assert_eq!(kept, "paused 1 rose t, type 1 rose, paused 2 t, paused 1 rose t");
    let why = p.waist.read("select violations -> 0 ->> 'message' from accord.quarantine limit 1").await;
    assert!(why.starts_with("the pipeline is paused since 20"), "{why}");
    assert!(why.contains("the CMS is being migrated") && why.contains("replayed"), "{why}");
    let gap = p.waist.read("select array_to_string(gap_reasons, ' ') from accord.pipeline").await;
    assert_eq!(gap, "", "nothing is missed");
}

#[tokio::test]
async fn a_repeat_of_an_event_gets_its_original_outcome() {
    let p = Pausable::new(Wish::default()).await;
    let event = |id: &str, body: &str| {
        let body = Body::new(body.to_owned(), Vec::new());
        p.waist.gate.judge(&body, Origin::Webhook, Some(id)).changes
    };
    let send = async |id: &str, body: &str| word(&p.waist.applier.apply(event(id, body)).await.unwrap()[0]);
    assert_eq!(send("before", FULL).await, "applied");
    p.pause().await;
    assert_eq!(send("before", FULL).await, "applied again");
    assert_eq!(send("during", r#"{"id":1,"price":2}"#).await, "paused");
    assert_eq!(send("during", r#"{"id":1,"price":2}"#).await, "paused again");
    p.resume().await;
    assert_eq!(send("during", r#"{"id":1,"price":2}"#).await, "paused again");
    assert_eq!(p.states().await, "open", "one entry, however often it came");
}

#[tokio::test]
async fn what_we_want_by_ourselves_is_turned_away_without_a_trace() {
    let p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.send(r#"{"id":2,"price":3}"#).await;
    let entry = p.waist.read("select id::text from accord.quarantine").await.parse().unwrap();
    let before = p.waist.read("select row_to_json(q)::text from accord.quarantine q").await;
    p.pause().await;
    for origin in [Origin::Reconcile, Origin::Backfill] {
        let key = Key::new(vec![Value::Int(1)]);
        let follow = Change { intent: Intent::Follow { key, may_delete: true }, origin, ..deletion(1) };
        let refused = p.waist.applier.apply(vec![follow]).await.unwrap_err();
        assert!(matches!(refused, Refused::Paused { .. }), "{refused:?}");
        assert!(refused.to_string().ends_with("UTC: resume it first"), "{refused}");
    }
    let replayer = replayer(&p.waist);
    for tried in [replayer.one(entry, None).await.map(drop), replayer.many(&[entry]).await.map(drop)] {
        let refused = tried.unwrap_err();
        assert!(matches!(refused, ReplayError::Paused { .. }), "{refused:?}");
        assert!(refused.to_string().contains("accord resume items"), "{refused}");
    }
    let after = p.waist.read("select row_to_json(q)::text from accord.quarantine q").await;
    assert_eq!(before, after, "the entry stays as it was, its attempts too");
    assert_eq!(p.waist.read("select max(position)::text from accord.ledger").await, "2");
    let gap = p.waist.read("select array_to_string(gap_reasons, ' ') from accord.pipeline").await;
    assert_eq!(gap, "", "and nothing is missed by it");
}

#[tokio::test]
async fn neighbours_of_one_batch_each_get_their_own_answer() {
    let p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.pause().await;
    // While somebody holds the lock, all of these gather in one batch.
    let mut lock = p.waist.pool.begin().await.unwrap();
    sqlx::query("select from accord.pipeline for update").execute(&mut *lock).await.unwrap();
    let key = Key::new(vec![Value::Int(1)]);
    let follow = Change {
        intent: Intent::Follow { key, may_delete: false },
        origin: Origin::Reconcile,
        ..deletion(1)
    };
    let first = p.waist.applier.apply(p.waist.judge(r#"{"id":1,"price":2}"#));
    let repair = p.waist.applier.apply(vec![follow.clone(), follow]);
    let last = p.waist.applier.apply(p.waist.judge(r#"[{"id":1,"price":true},{"id":1,"price":4}]"#));
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lock.rollback().await.unwrap();
    };
    let (first, repair, last, ()) = tokio::join!(first, repair, last, release);
    assert_eq!(first.unwrap().iter().map(word).collect::<Vec<_>>(), ["paused"]);
    assert!(matches!(repair, Err(Refused::Paused { .. })), "{repair:?}");
    assert_eq!(last.unwrap().iter().map(word).collect::<Vec<_>>(), ["type", "paused"]);
}

#[tokio::test]
async fn batches_under_way_end_before_the_pause_begins() {
    let p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    let replica = Waist::on(&p.waist.url, p.waist.pool.clone(), Wish::default());
    replica.send(r#"{"id":1,"tag":"x"}"#).await;
    // The first batch has the pipeline's lock and waits for this row; the replica's waits for the lock.
    let mut row = p.waist.pool.begin().await.unwrap();
    sqlx::query("select from item for update").execute(&mut *row).await.unwrap();
    let apply = |waist: &Waist, body| {
        let (applier, changes) = (waist.applier.clone(), waist.judge(body));
        tokio::spawn(async move { applier.apply(changes).await.unwrap() })
    };
    let first = apply(&p.waist, r#"{"id":1,"price":2}"#);
    waiting(&p.waist, 1).await;
    let second = apply(&replica, r#"{"id":1,"price":3}"#);
    waiting(&p.waist, 2).await;
    let mut pausing = Vec::new();
    for who in ["one", "another"] {
        let pool = p.waist.pool.clone();
        pausing.push(tokio::spawn(async move {
            let mut conn = pool.acquire().await.unwrap();
            pause::pause(&mut conn, "items", who, "why").await.unwrap()
        }));
        waiting(&p.waist, 2 + i64::try_from(pausing.len()).unwrap()).await;
    }
    row.rollback().await.unwrap();
    for batch in [first, second] {
        assert_eq!(word(&batch.await.unwrap()[0]), "applied");
    }
    let (mut now, mut already) = (Vec::new(), Vec::new());
    for paused in pausing {
        match paused.await.unwrap() {
            Paused::Now(pause) => now.push(pause),
            Paused::Already(pause) => already.push(pause),
            Paused::Unknown => panic!("it is known"),
        }
    }
    assert_eq!((now.len(), &now), (1, &already), "who is late learns of the pause that is there");
    assert_eq!(p.send(r#"{"id":1,"price":4}"#).await, ["paused"]);
    assert_eq!(p.rows().await, "1:rose:3:x");
    let order = "select string_agg((at < paused_since)::text, ' ' order by l.position)
                 from accord.ledger l, accord.pipeline";
    assert_eq!(p.waist.read(order).await, "true true true true false", "instants tell who heeded it");
}

/// Waits until so many sessions of this database wait for a lock.
async fn waiting(waist: &Waist, sessions: i64) {
    eventually(Duration::from_secs(10), "sessions wait for locks", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&waist.pool)
        .await
        .unwrap();
        if waiting == sessions { Ok(()) } else { Err(waiting) }
    })
    .await;
}

#[tokio::test]
async fn a_pause_is_its_own_pipelines_alone() {
    let p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    let wish = Wish { name: "others", ..Wish::default() };
    let other = Waist::on(&p.waist.url, p.waist.pool.clone(), wish);
    p.pause().await;
    let answers = other.send(r#"{"id":1,"price":2}"#).await;
    assert_eq!(word(&answers[0]), "applied", "though they write one table, and share its lock");
    assert_eq!(p.send(r#"{"id":1,"price":3}"#).await, ["paused"]);
}
