//! Two processes on one library: both show what holds, one tells it.

use super::{SOON, holds, is_over, is_told, logged, sql};
use crate::harness::{Accord, Configure, Server, eventually};

async fn shows(replica: &Accord, kind: &str) {
    let url = format!("{}/metrics", replica.url);
    let series = format!("accord_condition{{pipeline=\"fragrances\",condition=\"{kind}\"}} 1");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually(SOON, &format!("the replica shows {kind}"), async || {
        let text = client.get(&url).send().await.unwrap().text().await.unwrap();
        if text.lines().any(|line| line == series) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_alone_tells_and_whoever_follows_tells_what_holds() {
    let mut server = Server::start(Configure::default()).await;
    eventually(SOON, "the first one leads", async || {
        let text = server.get("/metrics").await.text;
        if text.contains("\naccord_leader 1\n") { Ok(()) } else { Err(text) }
    })
    .await;
    let replica = server.replica().await;
    sql(&server.library.pool, "update accord.pipeline set paused_since = now()").await;
    holds(&server, "paused").await;
    shows(&replica, "paused").await;
    is_told(&server.accord.process, "paused", 1, 0).await;
    assert_eq!(logged(&replica.process, "paused"), (Vec::new(), Vec::new()), "told by the leader");

    sql(&server.library.pool, "update accord.pipeline set paused_since = null").await;
    is_over(&server, "paused").await;
    is_told(&server.accord.process, "paused", 1, 1).await;
    assert_eq!(logged(&replica.process, "paused"), (Vec::new(), Vec::new()), "told by the leader");

    sql(&server.library.pool, "update accord.pipeline set paused_since = now()").await;
    is_told(&server.accord.process, "paused", 2, 1).await;
    server.accord.process.kill9();
    is_told(&replica.process, "paused", 1, 0).await;
}
