//! A running server takes an activation up without losing a call.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Accord, Client, Load, Told, accord, database, eventually, free_port, plant_fragrances};

const SHIPPED: &str = include_str!("../../../contracts/fragrances.yaml");

/// Longer than any machine takes to notice.
const SOON: Duration = Duration::from_secs(30);

/// A server that applies what it is sent, and its configuration.
struct Scene {
    accord: Accord,
    pool: PgPool,
    directory: tempfile::TempDir,
}

impl Scene {
    /// With more lines of the configuration, and of the pipeline's.
    async fn new(more: &str, of_pipeline: &str) -> Self {
        let library = database().await;
        plant_fragrances(&library.pool).await;
        let directory = tempfile::tempdir().unwrap();
        let contract = directory.path().join("contract.yaml");
        std::fs::write(&contract, SHIPPED).unwrap();
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "http.listen = '{http}'
             library.url = '{}'
             {more}
             [pipeline.fragrances]
             contract = '{}'
             mode = 'apply'
             source.webhook.path = '/notifications'
             source.webhook.auth = 'none'
             {of_pipeline}
             ",
            library.url,
            contract.display(),
        );
        std::fs::write(directory.path().join("accord.toml"), &config).unwrap();
        let accord = Accord::serve(&config, http).await.unwrap();
        Self { accord, pool: library.pool, directory }
    }

    async fn ask(&self, arguments: &[&str]) -> Told {
        accord(&self.directory.path().join("accord.toml"), arguments).await
    }

    /// Puts the shipped contract in force as another version, with another least cost.
    async fn activate(&self, version: &str, minimum: i32) {
        let costs = "physicalType: numeric\n        logicalTypeOptions:\n          minimum: 0\n";
        let text = SHIPPED
            .replace(costs, &costs.replace("minimum: 0", &format!("minimum: {minimum}")))
            .replace("version: 1.0.0", &format!("version: {version}"));
        let file = self.directory.path().join("next.yaml");
        std::fs::write(&file, text).unwrap();
        let told = self.ask(&["contract", "activate", "fragrances", file.to_str().unwrap(), "--force"]).await;
        assert_eq!(told.code, Some(0), "{told:?}");
    }

    /// Waits until it serves by the contract that was activated.
    async fn serves_again(&self) {
        eventually(SOON, "it serves again", async || {
            let log = self.accord.process.log();
            if log.contains("serving again") { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Why changes may have been missed.
    async fn gaps(&self) -> Vec<String> {
        sqlx::query_scalar("select gap_reasons from accord.pipeline").fetch_one(&self.pool).await.unwrap()
    }

    async fn forget_gaps(&self) {
        let forget = "update accord.pipeline set gap_since = null, gap_reasons = '{}'";
        sqlx::raw_sql(forget).execute(&self.pool).await.unwrap();
    }

    /// The versions that judged changes, in the order of the ledger, each as often as it began to.
    async fn versions(&self) -> Vec<String> {
        let all: Vec<String> = sqlx::query_scalar(
            "select c.version from accord.ledger l join accord.contract c on c.id = l.contract order by l.position",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut changes = all;
        changes.dedup();
        changes
    }
}

fn change(sender: usize, n: u64) -> Value {
    json!({"fragrance_id": sender, "cost": n})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_call_is_refused_or_lost_and_the_ledger_changes_over() {
    let mut scene = Scene::new("", "").await;
    let load = Load::start(&Client::of(&scene.accord.url), 8, change);
    load.acknowledges(200).await;
    let mut expected = vec!["1.0.0".to_owned()];
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        scene.activate(version, -1).await;
        expected.push(version.to_owned());
        eventually(SOON, "the new contract judges", async || match scene.versions().await {
            versions if versions == expected => Ok(()),
            versions => Err((versions, scene.accord.process.log())),
        })
        .await;
        load.acknowledges(200).await;
    }
    let account = load.end().await;
    assert_eq!(account.broken, 0, "{}", scene.accord.process.log());
    assert!(account.refused.is_empty(), "{:?}", account.refused);
    let ledger: i64 =
        sqlx::query_scalar("select count(*) from accord.ledger").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(usize::try_from(ledger).unwrap(), account.acknowledged.len(), "each is in the ledger once");
    assert_eq!(
        scene.versions().await,
        expected,
        "no change after an activation was judged by the one before"
    );
    // What was counted before counts on.
    let numbers = Client::of(&scene.accord.url).get("/metrics").await.unwrap().text;
    let line = r#"accord_changes_total{pipeline="fragrances",origin="webhook",outcome="applied"} "#;
    let counted = numbers.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    assert!(counted.parse::<usize>().unwrap() * 2 > account.acknowledged.len(), "{counted}");

    scene.accord.process.terminate();
    assert_eq!(scene.accord.process.wait().await.code(), Some(0), "{}", scene.accord.process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_after_an_activation_is_judged_by_it() {
    let scene = Scene::new("", "").await;
    let client = Client::of(&scene.accord.url);
    assert_eq!(client.send(&json!({"fragrance_id": 1, "cost": 5})).await.unwrap().outcome(), "applied");
    scene.forget_gaps().await;
    scene.activate("1.1.0", 10).await;
    eventually(SOON, "a low cost is refused", async || {
        let reply = client.send(&json!({"fragrance_id": 1, "cost": 6})).await.unwrap();
        if reply.outcome() == "quarantined" { Ok(()) } else { Err(reply) }
    })
    .await;
    let told = scene.ask(&["history", "fragrances", "1"]).await.stdout;
    assert!(
        told.contains("contract 1.0.0") && told.contains("quarantined") && told.contains("contract 1.1.0"),
        "{told}"
    );
    let entry = client.get("/api/v1/quarantine").await.unwrap().json();
    assert_eq!(entry["data"][0]["contract"], "1.1.0");
    assert_eq!(scene.gaps().await, [""; 0], "a renewal misses nothing, so it marks no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_take_it_up_says_why_and_ends() {
    let mut scene = Scene::new("", "").await;
    // Somebody alters the table between the activation and the server's look at it.
    sqlx::raw_sql(
        "alter table fragrances drop column forbidden;
         insert into accord.contract (name, version, hash, source)
         select name, '1.1.0', 'other', source || '# other' from accord.contract limit 1;
         insert into accord.activation (pipeline, contract, activated_by)
         select a.pipeline, c.id, 'test' from accord.activation a, accord.contract c where c.hash = 'other' limit 1",
    )
    .execute(&scene.pool)
    .await
    .unwrap();
    let status = tokio::time::timeout(SOON, scene.accord.process.wait()).await.expect("its end");
    assert_eq!(status.code(), Some(1));
    let log = scene.accord.process.log();
    assert!(log.contains("table and contract disagree") && log.contains("forbidden"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_takes_too_long_is_left_behind_and_a_gap_is_marked() {
    let scene = Scene::new("shutdown.grace = '2s'", "").await;
    scene.forget_gaps().await;
    let address = scene.accord.url.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = "POST /notifications HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 30\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(br#"{"fragrance_id": 1,"#).await.unwrap();
    scene.activate("1.1.0", -1).await;
    scene.serves_again().await;
    let client = Client::of(&scene.accord.url);
    assert_eq!(client.send(&json!({"fragrance_id": 1, "cost": 5.25})).await.unwrap().outcome(), "applied");
    assert_eq!(scene.gaps().await, ["start"]);
    slow.write_all(br#" "cost": 1}"#).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_renewal_turns_callers_away_and_waits_for_no_straggler() {
    let mut scene = Scene::new("shutdown.grace = '6s'", "").await;
    let address = scene.accord.url.strip_prefix("http://").unwrap().to_owned();
    let mut straggler = TcpStream::connect(&address).await.unwrap();
    let head = "POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n{";
    straggler.write_all(head.as_bytes()).await.unwrap();
    scene.activate("1.1.0", -1).await;
    eventually(SOON, "it is renewed", async || {
        let log = scene.accord.process.log();
        if log.contains("stopping, to begin anew") { Ok(()) } else { Err(log) }
    })
    .await;
    let client = Client::of(&scene.accord.url);
    let called = tokio::spawn(async move { client.send(&json!({"fragrance_id": 1, "cost": 5})).await });
    scene.accord.process.terminate();
    // A body may come for 30 s.
    let ended = tokio::time::timeout(Duration::from_secs(20), scene.accord.process.wait()).await;
    assert_eq!(ended.expect("its end").code(), Some(0), "{}", scene.accord.process.log());
    assert_eq!(called.await.unwrap().expect("an answer").status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_does_not_take_the_registration_back() {
    let (taken, given_back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = |counter: &Arc<AtomicUsize>| {
        let counter = Arc::clone(counter);
        async move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let cms = Router::new().route("/listener", post(counts(&taken)).delete(counts(&given_back)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/listener", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, cms).await.unwrap() });
    let register = format!(
        "source.webhook.register.url = '{url}'
         source.webhook.register.deregister_on_shutdown = true"
    );
    let mut scene = Scene::new("http.public_url = 'http://127.0.0.1:9'", &register).await;
    let registered = async |times| {
        eventually(SOON, "it registers", async || match taken.load(Ordering::Relaxed) {
            n if n >= times => Ok(()),
            n => Err(n),
        })
        .await;
    };
    registered(1).await;
    scene.activate("1.1.0", -1).await;
    registered(2).await;
    assert_eq!(given_back.load(Ordering::Relaxed), 0);
    scene.accord.process.terminate();
    scene.accord.process.wait().await;
    assert_eq!(given_back.load(Ordering::Relaxed), 1);
}
