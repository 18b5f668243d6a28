//! The library's database goes away and comes back: under load, and in the middle of a commit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::kill::counter;
use super::{Library, free_address, ledger};
use crate::harness::{Accord, Client, Fault, Load, Reply, TcpProxy, eventually};

const SENDERS: usize = 32;
const ROWS: u32 = 300;
const SOON: Duration = Duration::from_secs(30);

async fn becomes(client: &Client, ready: bool) {
    let status = if ready { 200 } else { 503 };
    eventually(SOON, "/readyz says how it is", async || match client.get("/readyz").await.unwrap() {
        reply if reply.status == status => Ok(()),
        other => Err(other),
    })
    .await;
}

/// What the API shows of the pipeline.
async fn shown(client: &Client) -> Value {
    client.get("/api/v1/pipelines/fragrances").await.unwrap().json()
}

/// Why changes may have been missed, as the database and the API tell it.
async fn gap_is_marked(library: &Library, client: &Client, reasons: &[&str]) {
    let has_all =
        |told: &Value| reasons.iter().all(|r| told.as_array().is_some_and(|t| t.contains(&json!(r))));
    eventually(SOON, "the gap is marked", async || {
        let kept = library.ask("select to_jsonb(gap_reasons) from accord.pipeline").await;
        let shown = shown(client).await["gap"]["reasons"].clone();
        if has_all(&kept) && has_all(&shown) { Ok(()) } else { Err((kept, shown)) }
    })
    .await;
}

fn is_turned_away(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{reply:?}");
    assert_eq!(reply.json()["type"], "urn:accord:problem:unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stopped_and_started_under_load_holds_then_refuses_then_recovers() {
    let mut library = Library::of(ROWS).await;
    let before = ledger::rows(&library.pool).await;
    let http = free_address();
    let config = format!("{}hold.max_time = '5s'", library.config(http));
    let accord = Accord::serve(&config, http).await.unwrap();
    let client = Client::of(&accord.url);
    let load = Load::start(&client, SENDERS, counter);
    load.acknowledges(200).await;

    library.postgres.stop_immediate().await.unwrap();
    becomes(&client, false).await;
    let counts = load.until("all wait", |counts| counts.outstanding == SENDERS).await;
    assert_eq!(counts.refused, 0, "a request was refused rather than held");
    assert_eq!(shown(&client).await["held"], SENDERS);

    // Every sender's time runs out once; what they send next is held again, and the database returns in time.
    load.until("all are refused", |counts| counts.refused >= SENDERS && counts.outstanding == SENDERS).await;
    let returned = Instant::now();
    library.postgres.start_again().await.unwrap();
    becomes(&client, true).await;
    load.acknowledges(200).await;
    let account = load.end().await;

    account.refused.iter().for_each(is_turned_away);
    assert_eq!(account.broken, 0);
    let waited = account
        .acknowledged
        .iter()
        .filter(|ack| ack.sent < returned && ack.sent + Duration::from_millis(100) > returned);
    assert!(waited.count() > 0, "nobody who was held got a 200");
    gap_is_marked(&library, &client, &["start", "outage", "refused"]).await;
    let ledger = library.stands_by(&before, &account).await;
    // Their senders had been told to try again, and what they sent first was kept all the same.
    assert!(ledger.len() > account.acknowledged.len());
}

/// Holds every commit that writes to the ledger, for as long as it has the advisory lock.
struct Brake(PgConnection);

impl Brake {
    async fn pulled(library: &Library) -> Self {
        let brake = "
            create function brake() returns trigger language plpgsql as
                'begin perform pg_advisory_xact_lock_shared(1); return null; end';
            create constraint trigger brake after insert on accord.ledger
                deferrable initially deferred for each row execute function brake();
            select pg_advisory_lock(1)";
        let mut connection = PgConnection::connect(&library.postgres.url(Library::DATABASE)).await.unwrap();
        sqlx::raw_sql(brake).execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        sqlx::raw_sql("select pg_advisory_unlock(1)").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}

/// How many of Accord's sessions wait for a lock of a kind.
async fn waits_for(library: &Library, kind: &'static str) {
    eventually(SOON, kind, async || {
        let waiting = library
            .ask(
                "select to_jsonb(coalesce(array_agg(wait_event), '{}')) from pg_stat_activity
                 where application_name = 'accord' and wait_event_type = 'Lock'",
            )
            .await;
        if waiting.as_array().is_some_and(|kinds| kinds.contains(&json!(kind))) {
            Ok(())
        } else {
            Err(waiting)
        }
    })
    .await;
}

async fn lines(library: &Library) -> Value {
    library.ask("select count(*)::int8::text::jsonb from accord.ledger").await
}

/// A change in the middle of its commit, with a proxy before Postgres to break the connection.
struct Commit {
    library: Library,
    before: ledger::Rows,
    proxy: TcpProxy,
    brake: Brake,
    reply: tokio::task::JoinHandle<reqwest::Result<Reply>>,
    _accord: Accord,
}

impl Commit {
    async fn begun() -> Self {
        let library = Library::of(10).await;
        let before = ledger::rows(&library.pool).await;
        let proxy = TcpProxy::in_front_of(library.address()).await;
        let http = free_address();
        let accord = Accord::serve(&library.config_through(proxy.address(), http), http).await.unwrap();
        let brake = Brake::pulled(&library).await;
        let client = Client::of(&accord.url);
        let change = json!({"fragrance_id": 7, "cost": 1_000_000});
        let reply = tokio::spawn(async move { client.send(&change).await });
        waits_for(&library, "advisory").await;
        Self { library, before, proxy, brake, reply, _accord: accord }
    }
}

/// Whatever happened on the way: the client is told that its change was applied, and it was, once.
async fn is_applied_once(library: &Library, before: &ledger::Rows, reply: Reply) {
    assert_eq!(
        (reply.status, &reply.json()),
        (200, &json!({"outcome": "applied", "position": 1, "changed": ["cost"]}))
    );
    let ledger = ledger::Ledger::read(&library.pool).await;
    ledger.is_unbroken();
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    let rows = ledger::rows(&library.pool).await;
    assert_eq!(rows["7"]["cost"], 1_000_000);
    assert_eq!(ledger.replay(before), rows);
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_answered_right_and_stands_once() {
    let Commit { library, before, proxy, brake, reply, _accord } = Commit::begun().await;
    proxy.set(Fault::HoldReplies).await;
    brake.release().await;
    eventually(SOON, "the commit is done", async || match lines(&library).await {
        one if one == 1 => Ok(()),
        other => Err(other),
    })
    .await;
    proxy.cut();
    proxy.set(Fault::None).await;
    is_applied_once(&library, &before, reply.await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn a_commit_that_outlives_its_connection_is_waited_for_and_stands_once() {
    let Commit { library, before, proxy, brake, reply, _accord } = Commit::begun().await;
    proxy.cut();
    // The next session stands behind the transaction that nobody hears of any more.
    waits_for(&library, "transactionid").await;
    assert_eq!(lines(&library).await, 0);
    assert!(!reply.is_finished(), "answered before the commit");
    brake.release().await;
    is_applied_once(&library, &before, reply.await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn a_commit_that_never_took_place_is_done_again_and_stands_once() {
    let Commit { library, before, proxy, brake, reply, _accord } = Commit::begun().await;
    proxy.cut();
    end_the_session_that_commits(&library).await;
    brake.release().await;
    is_applied_once(&library, &before, reply.await.unwrap().unwrap()).await;
}

/// Its other sessions live on, and could vouch for a commit that they know nothing of.
#[tokio::test]
async fn a_commit_whose_session_alone_was_ended_is_done_again_and_stands_once() {
    let Commit { library, before, proxy: _proxy, brake, reply, _accord } = Commit::begun().await;
    end_the_session_that_commits(&library).await;
    brake.release().await;
    is_applied_once(&library, &before, reply.await.unwrap().unwrap()).await;
}

async fn end_the_session_that_commits(library: &Library) {
    let ended = library
        .ask(
            "select to_jsonb(count(pg_terminate_backend(pid))) from pg_stat_activity
             where application_name = 'accord' and wait_event = 'advisory'",
        )
        .await;
    assert_eq!(ended, 1);
}

/// More senders than may be held: the others are told at once, and those who are held are served in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_requests_are_held_than_configured() {
    const HELD: usize = 4;
    let mut library = Library::of(1).await;
    let http = free_address();
    let config = format!("{}hold.max_requests = {HELD}", library.config(http));
    let _accord = Accord::serve(&config, http).await.unwrap();
    let client = Client::of(&format!("http://{http}"));
    library.postgres.stop_fast().await.unwrap();
    becomes(&client, false).await;

    let mut calls: JoinSet<Reply> = JoinSet::new();
    for cost in 0..20 {
        let client = client.clone();
        let change = json!({"fragrance_id": 0, "cost": 1_000_000 + cost});
        calls.spawn(async move { client.send(&change).await.unwrap() });
    }
    // One batch of them waits for the database, and behind it as many as may be held.
    while calls.len() > 2 * HELD {
        is_turned_away(&timeout(SOON, calls.join_next()).await.unwrap().unwrap().unwrap());
    }
    library.postgres.start_again().await.unwrap();
    let mut served = 0;
    while let Some(reply) = calls.join_next().await {
        let reply = reply.unwrap();
        if reply.status != 200 {
            is_turned_away(&reply);
        }
        served += usize::from(reply.status == 200);
    }
    assert!((HELD..=2 * HELD).contains(&served), "{served}");
    becomes(&client, true).await;
    assert_eq!(shown(&client).await["held"], 0);
}
