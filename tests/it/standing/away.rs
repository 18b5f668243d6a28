//! The database goes away: what was known stays known, and what this process knows is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::{SOON, find, logged, sql};
use crate::harness::{Accord, Client, Fault, TcpProxy, database, eventually, free_port, plant_fragrances};

/// The view, once it has these conditions and no others.
async fn has(client: &Client, kinds: &[&str]) -> Value {
    eventually(SOON, &format!("it has {kinds:?}"), async || {
        let view = client.get(super::VIEW).await.unwrap().json();
        let all = kinds.iter().all(|kind| find(&view["conditions"], kind).is_some());
        if all && view["conditions"].as_array().map(Vec::len) == Some(kinds.len()) {
            Ok(view)
        } else {
            Err(view)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_known_stays_known_while_the_database_is_away() {
    let library = database().await;
    plant_fragrances(&library.pool).await;
    let url: url::Url = library.url.parse().unwrap();
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, url.port().unwrap()));
    let proxy = TcpProxy::in_front_of(direct).await;
    let mut through = url.clone();
    through.set_port(Some(proxy.address().port())).unwrap();
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let config = format!(
        "http.listen = '{http}'
         library.url = '{through}'
         [pipeline.fragrances]
         contract = '{}/contracts/fragrances.yaml'
         source.webhook.path = '/notifications'
         source.webhook.auth = 'none'",
        env!("CARGO_MANIFEST_DIR"),
    );
    let accord = Accord::serve(&config, http).await.unwrap();
    let client = Client::of(&accord.url);
    // Nothing is compared here, so the gap of the start stays.
    sql(&library.pool, "update accord.pipeline set paused_since = now()").await;
    has(&client, &["possible_gap", "paused"]).await;

    proxy.set(Fault::Refuse).await;
    let away = has(&client, &["library_away", "possible_gap", "paused"]).await;
    assert!(away["conditions"][0]["message"].as_str().unwrap().contains("accord doctor"), "{away}");
    eventually(SOON, "the metric says so", async || {
        let text = client.get("/metrics").await.unwrap().text;
        let series = "accord_condition{pipeline=\"fragrances\",condition=\"library_away\"} 1";
        if text.lines().any(|line| line == series) { Ok(()) } else { Err(text) }
    })
    .await;

    // Longer than a read waits for a connection: it fails, and takes nothing with it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    has(&client, &["library_away", "possible_gap", "paused"]).await;

    // What changed meanwhile is known as soon as it is back.
    sql(&library.pool, "update accord.pipeline set paused_since = null").await;
    proxy.set(Fault::None).await;
    has(&client, &["possible_gap"]).await;
    assert_eq!(
        logged(&accord.process, "library_away"),
        (Vec::new(), Vec::new()),
        "the waist said it already"
    );
}
