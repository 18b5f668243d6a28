//! Two Accords on one library, and one CMS that knows of one of them at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Library, free_address, ledger};
use crate::harness::{Accord, Account, Client, Load, eventually};

const SENDERS: usize = 16;
const ROWS: u64 = 20;
/// Keys beyond the seeded rows, which whoever comes first inserts.
const NEW: u64 = 5;
const SOON: Duration = Duration::from_mins(1);

/// A CMS that remembers who registered last.
struct Cms {
    port: u16,
    slot: Arc<Mutex<Value>>,
    _server: AbortOnDropHandle<()>,
}

impl Cms {
    async fn start() -> Self {
        let slot = Arc::<Mutex<Value>>::default();
        let take = async |State(slot): State<Arc<Mutex<Value>>>, Json(listener): Json<Value>| {
            *slot.lock().unwrap() = listener;
            Json(["Listener added"])
        };
        let router = Router::new().route("/listener", post(take)).with_state(Arc::clone(&slot));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, slot, _server: AbortOnDropHandle::new(server) }
    }

    async fn comes_to_know(&self, http: SocketAddr) {
        eventually(SOON, "the CMS knows the leader", async || match self.slot.lock().unwrap().clone() {
            known if known["port"] == http.port() => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

/// One of the two, with senders of its own on the keys of both.
struct Replica {
    http: SocketAddr,
    accord: Accord,
    client: Client,
    load: Load,
}

impl Replica {
    async fn start(library: &Library, cms: &Cms, first_sender: usize) -> Self {
        let http = free_address();
        // Before the first table, a key is the document's own.
        let config = format!(
            "http.public_url = 'http://{http}'\n{}source.webhook.register.url = 'http://127.0.0.1:{}/listener'",
            library.config(http),
            cms.port,
        );
        let accord = Accord::serve(&config, http).await.unwrap();
        let client = Client::of(&accord.url);
        let load = Load::start(&client, SENDERS, move |sender, n| change(first_sender + sender, n));
        Self { http, accord, client, load }
    }

    async fn leads(&self) -> bool {
        let metrics = self.client.get("/metrics").await.unwrap().text;
        let line = metrics.lines().find(|line| line.starts_with("accord_leader ")).expect("the metric");
        line == "accord_leader 1"
    }
}

/// The n-th change of a sender, on keys that all senders share; no two send the same value.
fn change(sender: usize, n: u64) -> Value {
    let sender = sender as u64;
    let key = (sender + 7 * n) % (ROWS + NEW);
    let cost = 1_000_000 * (sender + 1) + n;
    if key >= ROWS || n.is_multiple_of(5) {
        let name = format!("the {n}th of sender {sender}");
        json!({"fragrance_id": key, "name": name, "description": null, "cost": cost, "forbidden": n.is_multiple_of(2)})
    } else if n.is_multiple_of(3) {
        json!({"fragrance_id": key, "forbidden": sender.is_multiple_of(2)})
    } else {
        json!({"fragrance_id": key, "cost": cost})
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accords_on_the_same_keys_keep_one_order_and_one_leader() {
    let library = Library::of(u32::try_from(ROWS).unwrap()).await;
    let before = ledger::rows(&library.pool).await;
    let cms = Cms::start().await;
    let first = Replica::start(&library, &cms, 0).await;
    let second = Replica::start(&library, &cms, SENDERS).await;

    let first_leads =
        eventually(SOON, "one of them leads", async || match (first.leads().await, second.leads().await) {
            (false, false) => Err("nobody"),
            (true, true) => panic!("both lead"),
            (first, _) => Ok(first),
        })
        .await;
    let (mut leader, other) = if first_leads { (first, second) } else { (second, first) };
    cms.comes_to_know(leader.http).await;
    for _ in 0..20 {
        leader.load.acknowledges(20).await;
        other.load.acknowledges(20).await;
        assert_eq!((leader.leads().await, other.leads().await), (true, false));
    }
    // Without the lock they would run into each other, and take that for an outage.
    let gaps = library.ask("select to_jsonb(gap_reasons) from accord.pipeline").await;
    assert!(!gaps.as_array().is_some_and(|gaps| gaps.contains(&json!("outage"))), "{gaps}");

    leader.accord.process.kill9();
    let of_the_killed = leader.load.end();
    eventually(SOON, "the other leads", async || if other.leads().await { Ok(()) } else { Err("not yet") })
        .await;
    cms.comes_to_know(other.http).await;
    other.load.acknowledges(200).await;

    let (mut all, rest) = (of_the_killed.await, other.load.end().await);
    assert_eq!((rest.refused.len(), rest.broken), (0, 0), "the other was disturbed: {:?}", rest.refused);
    assert!(all.refused.is_empty(), "{:?}", all.refused);
    all.acknowledged.extend(rest.acknowledged);
    let Account { acknowledged, .. } = &all;
    assert!(acknowledged.len() > 1000, "{}", acknowledged.len());
    library.stands_by(&before, &all).await;
}
