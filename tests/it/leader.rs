//! Leadership among processes that share one library.

use std::time::Duration;

use accord::leader;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Fault, TcpProxy, TestDatabase, database, eventually};

const SOON: Duration = Duration::from_secs(30);

/// One contender, as a process of its own would be.
struct Contender {
    leading: watch::Receiver<bool>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Contender {
    fn new(options: PgConnectOptions) -> Self {
        let (sender, leading) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(leader::contend(options, sender, stop.clone())));
        Self { leading, stop, task }
    }

    async fn comes_to(&mut self, leads: bool) {
        let waited = tokio::time::timeout(SOON, self.leading.wait_for(|now| *now == leads)).await;
        assert!(waited.is_ok(), "leading did not come to {leads}");
    }

    fn leads(&self) -> bool {
        *self.leading.borrow()
    }
}

fn options(database: &TestDatabase) -> PgConnectOptions {
    database.url.parse().unwrap()
}

/// The backends that hold the lock: as many as there are leaders.
async fn holders(database: &TestDatabase) -> Vec<i32> {
    sqlx::query_scalar(
        "select l.pid from pg_locks l join pg_database d on d.oid = l.database
          where d.datname = current_database() and l.locktype = 'advisory' and l.granted
            and (l.classid::bigint << 32 | l.objid::bigint) = $1",
    )
    .bind(leader::LOCK)
    .fetch_all(&database.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn one_leads_and_killing_its_backend_hands_over() {
    let database = database().await;
    let mut first = Contender::new(options(&database));
    first.comes_to(true).await;
    let mut second = Contender::new(options(&database));
    let sessions = || async {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from pg_stat_activity
              where application_name = 'accord leader' and datname = current_database()
                and query like '%pg_try_advisory_lock%' and state = 'idle'",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap()
    };
    eventually(SOON, "both contend", async || match sessions().await {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(!second.leads(), "two leaders");

    // Its session is killed again and again, so that it is the other one's turn in the end.
    while !second.leads() {
        for backend in holders(&database).await {
            sqlx::query("select pg_terminate_backend($1)")
                .bind(backend)
                .execute(&database.pool)
                .await
                .unwrap();
        }
        first.comes_to(false).await;
        let won = async {
            tokio::select! {
                () = first.comes_to(true) => {}
                () = second.comes_to(true) => {}
            }
        };
        won.await;
    }
    assert!(!first.leads(), "two leaders");
    assert_eq!(holders(&database).await.len(), 1);
}

#[tokio::test]
async fn a_leader_that_stops_makes_room() {
    let database = database().await;
    let mut first = Contender::new(options(&database));
    first.comes_to(true).await;
    let mut second = Contender::new(options(&database));

    first.stop.cancel();
    (&mut first.task).await.unwrap();
    assert!(!first.leads());
    second.comes_to(true).await;
}

#[tokio::test]
async fn a_silent_network_ends_leadership_here_before_the_server_frees_the_lock() {
    let database = database().await;
    let direct = options(&database);
    let server = (direct.get_host(), direct.get_port());
    let server = tokio::net::lookup_host(server).await.unwrap().next().unwrap();
    let proxy = TcpProxy::in_front_of(server).await;
    let through = direct.host("127.0.0.1").port(proxy.address().port());
    let mut leader = Contender::new(through);
    leader.comes_to(true).await;

    proxy.set(Fault::Hold).await;
    leader.comes_to(false).await;
    assert_eq!(holders(&database).await.len(), 1, "the lock is still held, so nobody else can lead yet");

    proxy.set(Fault::None).await;
    leader.comes_to(true).await;
    assert_eq!(holders(&database).await.len(), 1);
}
