//! The harness keeps its word: a fault that is not one, or a wait that never fails, would make other tests
//! pass for nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::timeout;

use crate::harness::{Accord, Fault, Process, TcpProxy, TestDatabase, database, eventually, free_port};

const SOON: Duration = Duration::from_secs(10);

/// Long enough for a reply on loopback to come if nothing held it.
const WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = (database().await, database().await);
    sqlx::query("create table fragrances ()").execute(&one.pool).await.unwrap();
    let seen = "select to_regclass('fragrances') is not null";
    assert!(sqlx::query_scalar::<_, bool>(seen).fetch_one(&one.pool).await.unwrap());
    assert!(!sqlx::query_scalar::<_, bool>(seen).fetch_one(&other.pool).await.unwrap());
    assert_ne!(one.url, other.url);
}

#[tokio::test]
async fn eventually_returns_what_came_about() {
    let mut tries = 0;
    let value = eventually(SOON, "the third try", async || {
        tries += 1;
        if tries == 3 { Ok(tries) } else { Err("too early") }
    });
    assert_eq!(value.await, 3);
}

#[tokio::test]
#[should_panic(expected = "not within 50ms: the moon in blue; last seen: \"grey\"")]
async fn eventually_tells_what_did_not_come_about() {
    eventually(Duration::from_millis(50), "the moon in blue", async || Err::<(), _>("grey")).await;
}

async fn through_proxy(database: &TestDatabase) -> (TcpProxy, PgConnectOptions) {
    let options: PgConnectOptions = database.url.parse().unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, options.get_port()));
    let proxy = TcpProxy::in_front_of(target).await;
    let options = options.port(proxy.address().port());
    (proxy, options)
}

async fn ping(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("select 1").fetch_one(connection).await
}

#[tokio::test]
async fn a_refusing_proxy_cuts_and_refuses_until_it_recovers() {
    let database = database().await;
    let (proxy, options) = through_proxy(&database).await;
    let mut connection = options.connect().await.unwrap();
    assert_eq!(ping(&mut connection).await.unwrap(), 1);

    proxy.set(Fault::Refuse).await;
    assert!(ping(&mut connection).await.is_err());
    let refused = options.connect().await.unwrap_err();
    assert!(
        matches!(refused, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    );

    proxy.set(Fault::None).await;
    assert_eq!(ping(&mut options.connect().await.unwrap()).await.unwrap(), 1);
}

/// How many rows `written` holds.
async fn written(database: &TestDatabase) -> i64 {
    let count = "select count(*) from written";
    sqlx::query_scalar(count).fetch_one(&database.pool).await.unwrap()
}

/// One message of the simple protocol, with no reply to wait for in between.
async fn write(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("insert into written default values").execute(connection).await.map(drop)
}

#[tokio::test]
async fn a_holding_proxy_delays_and_loses_nothing() {
    let database = database().await;
    sqlx::query("create table written ()").execute(&database.pool).await.unwrap();
    let (proxy, options) = through_proxy(&database).await;
    let mut connection = options.connect().await.unwrap();

    proxy.set(Fault::Hold).await;
    let mut held = Box::pin(write(&mut connection));
    assert!(timeout(WHILE, &mut held).await.is_err());
    assert_eq!(written(&database).await, 0);

    proxy.set(Fault::None).await;
    held.await.unwrap();
    assert_eq!(written(&database).await, 1);
}

#[tokio::test]
async fn a_reply_can_be_lost_after_the_write_was_done() {
    let database = database().await;
    sqlx::query("create table written ()").execute(&database.pool).await.unwrap();
    let (proxy, options) = through_proxy(&database).await;
    let mut connection = options.connect().await.unwrap();

    proxy.set(Fault::HoldReplies).await;
    let mut unanswered = Box::pin(write(&mut connection));
    eventually(SOON, "the row is written", async || {
        assert!((&mut unanswered).now_or_never().is_none(), "the reply came through");
        let rows = written(&database).await;
        if rows == 1 { Ok(()) } else { Err(rows) }
    })
    .await;
    proxy.cut();
    assert!(unanswered.await.is_err());
}

#[tokio::test]
async fn a_process_is_logged_and_ends_as_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let script = "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let mut process = Process::spawn("sh", &["-c", script], &directory.path().join("log"));
    eventually(
        SOON,
        "the process is up",
        async || {
            if process.log() == "up\n" { Ok(()) } else { Err(process.log()) }
        },
    )
    .await;
    assert!(process.ended().is_none());

    process.terminate();

    assert_eq!(process.wait().await.code(), Some(7));
    assert_eq!(process.log(), "up\ntold\n");
}

#[tokio::test]
async fn a_killed_process_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::spawn("sleep", &["600"], &directory.path().join("log"));
    let pid = process.pid().to_string();
    let alive = || Command::new("kill").args(["-0", &pid]).output().unwrap().status.success();
    assert!(alive());
    process.kill9();
    assert!(!alive());
}

#[tokio::test]
async fn an_accord_that_cannot_start_tells_why() {
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let Err(error) = Accord::serve("this is no configuration", http).await else {
        panic!("accord is ready without a configuration");
    };
    assert!(error.starts_with("accord ended before it was ready"), "{error}");
}
