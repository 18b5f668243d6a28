//! Accord ends as it is asked to, and says why when it cannot begin.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use super::kill::counter;
use super::{Library, free_address, ledger};
use crate::harness::{Accord, Account, Client, Fault, Load, TcpProxy, eventually};

const SENDERS: usize = 32;
const SOON: Duration = Duration::from_secs(20);

/// Waits until the pipeline holds so many requests.
async fn holds(client: &Client, requests: usize) {
    eventually(SOON, "requests are held", async || {
        let shown = client.get("/api/v1/pipelines/fragrances").await.unwrap().json();
        if shown["held"] == requests { Ok(()) } else { Err(shown) }
    })
    .await;
}

async fn ends(accord: &mut Accord) -> Option<i32> {
    let status = tokio::time::timeout(SOON, accord.process.wait()).await;
    let status = status.unwrap_or_else(|_| panic!("still there after {SOON:?}:\n{}", accord.process.log()));
    status.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_keeps_what_was_acknowledged_and_exits_0() {
    let library = Library::of(300).await;
    let before = ledger::rows(&library.pool).await;
    let http = free_address();
    let mut accord = Accord::serve(&library.config(http), http).await.unwrap();
    let load = Load::start(&Client::of(&accord.url), SENDERS, counter);
    load.acknowledges(200).await;
    accord.process.terminate();
    assert_eq!(ends(&mut accord).await, Some(0), "{}", accord.process.log());
    let account = load.end().await;
    library.stands_by(&before, &account).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_at_sigterm_are_answered() {
    let library = Library::of(300).await;
    let before = ledger::rows(&library.pool).await;
    let http = free_address();
    let mut accord = Accord::serve(&library.config(http), http).await.unwrap();
    let client = Client::of(&accord.url);
    let mut another_writer = library.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table fragrances").execute(&mut *another_writer).await.unwrap();
    let load = Load::start(&client, SENDERS, counter);
    holds(&client, SENDERS).await;

    accord.process.terminate();
    eventually(SOON, "nobody new is let in", async || match Client::of(&accord.url).get("/healthz").await {
        Err(error) if error.is_connect() => Ok(()),
        other => Err(other),
    })
    .await;
    let ended = load.end();
    assert!(accord.process.ended().is_none(), "it did not wait for what was in flight");
    another_writer.rollback().await.unwrap();
    let account = ended.await;
    assert_eq!(ends(&mut accord).await, Some(0), "{}", accord.process.log());

    let Account { acknowledged, refused, broken } = &account;
    assert_eq!((acknowledged.len(), refused.len(), *broken), (SENDERS, 0, 0), "{refused:?}");
    library.stands_by(&before, &account).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once_whatever_hangs() {
    let library = Library::of(10).await;
    let proxy = TcpProxy::in_front_of(library.address()).await;
    let http = free_address();
    let config = library.config_through(proxy.address(), http);
    let mut accord = Accord::serve(&format!("shutdown.grace = '10m'\n{config}"), http).await.unwrap();
    let client = Client::of(&accord.url);
    proxy.set(Fault::Hold).await;
    let asker = client.clone();
    let request = tokio::spawn(async move { asker.send(&json!({"fragrance_id": 1, "cost": 5})).await });
    holds(&client, 1).await;

    accord.process.terminate();
    eventually(SOON, "it is stopping", async || {
        let log = accord.process.log();
        if log.contains("stopping") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(accord.process.ended().is_none(), "{}", accord.process.log());
    accord.process.terminate();
    assert_eq!(ends(&mut accord).await, Some(1), "{}", accord.process.log());
    let log = accord.process.log();
    assert!(log.contains("a second stop request ended everything at once; still at work: http"), "{log}");
    // Its connection may be cut before it is told; only a yes would be a lie.
    let told = request.await.unwrap();
    assert!(told.as_ref().map_or(true, |reply| reply.status == 503), "{told:?}");
}

#[tokio::test]
async fn sigterm_while_the_library_is_away_refuses_what_is_held_and_exits_0() {
    let mut library = Library::of(10).await;
    let http = free_address();
    let mut accord = Accord::serve(&library.config(http), http).await.unwrap();
    let client = Client::of(&accord.url);
    library.postgres.stop_fast().await.unwrap();
    let asker = client.clone();
    let request = tokio::spawn(async move { asker.send(&json!({"fragrance_id": 1, "cost": 5})).await });
    holds(&client, 1).await;
    accord.process.terminate();
    let reply = request.await.unwrap().unwrap();
    assert_eq!((reply.status, reply.content_type()), (503, "application/problem+json"), "{reply:?}");
    assert_eq!(ends(&mut accord).await, Some(0), "{}", accord.process.log());
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_period_is_named() {
    let library = Library::of(10).await;
    let proxy = TcpProxy::in_front_of(library.address()).await;
    let http = free_address();
    let config = library.config_through(proxy.address(), http);
    let mut accord = Accord::serve(&format!("shutdown.grace = '1s'\n{config}"), http).await.unwrap();
    let client = Client::of(&accord.url);
    proxy.set(Fault::Hold).await;
    let asker = client.clone();
    let _request = tokio::spawn(async move { asker.send(&json!({"fragrance_id": 1, "cost": 5})).await });
    holds(&client, 1).await;
    accord.process.terminate();
    assert_eq!(ends(&mut accord).await, Some(1), "{}", accord.process.log());
    let log = accord.process.log();
    assert!(log.contains("had to drop what did not end within 1 s: http"), "{log}");
}

/// As after a power cut, when everything comes up at once.
#[tokio::test]
async fn a_library_that_is_not_up_yet_is_waited_for() {
    let mut library = Library::of(10).await;
    library.postgres.stop_fast().await.unwrap();
    let http = free_address();
    let config = library.config(http);
    let starting = tokio::spawn(async move { Accord::serve(&config, http).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!starting.is_finished(), "it waits");
    library.postgres.start_again().await.unwrap();
    let accord = starting.await.unwrap().unwrap_or_else(|log| panic!("{log}"));
    let reply = Client::of(&accord.url).send(&json!({"fragrance_id": 1, "cost": 1_000_000})).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Has to end with 1 before it serves anything, and to name the way out.
async fn refuses_to_start(config: &str, names: &[&str]) {
    let http = config.lines().find_map(|line| line.strip_prefix("http.listen = '")).unwrap();
    let http = http.trim_end_matches('\'').parse().unwrap();
    let Err(log) = Accord::serve(config, http).await else { panic!("it serves") };
    assert!(log.contains("exit status: 1"), "{log}");
    for name in names {
        assert!(log.contains(name), "`{name}` is not in:\n{log}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let library = Library::of(1).await;
    let http = free_address();
    let _taken = TcpListener::bind(http).unwrap();
    let cannot = format!("cannot listen on {http}; set http.listen to a free address");
    refuses_to_start(&library.config(http), &[&cannot, "in use"]).await;
}

#[tokio::test]
async fn an_unknown_key_of_the_configuration_is_named() {
    let library = Library::of(1).await;
    let config = format!("{}hold.max_tiem = '3s'", library.config(free_address()));
    refuses_to_start(&config, &["max_tiem", "max_time"]).await;
}

#[tokio::test]
async fn a_missing_table_is_named() {
    let library = Library::of(1).await;
    sqlx::raw_sql("drop table fragrances").execute(&library.pool).await.unwrap();
    let config = library.config(free_address());
    refuses_to_start(&config, &["pipeline `fragrances`", "table and contract disagree; see `accord doctor`"])
        .await;
}

#[tokio::test]
async fn a_table_that_is_not_what_the_contract_says_is_named_column_by_column() {
    let library = Library::of(1).await;
    let other = "alter table fragrances drop column forbidden, alter column cost type text";
    sqlx::raw_sql(other).execute(&library.pool).await.unwrap();
    let config = library.config(free_address());
    refuses_to_start(&config, &["table and contract disagree; see `accord doctor`", "forbidden", "cost"])
        .await;
}
