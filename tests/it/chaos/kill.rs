//! Accord is killed again and again while changes are in flight.

use std::collections::HashMap;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Library, free_address, ledger};
use crate::harness::{Accord, Client, Load};

const ROUNDS: usize = 20;
const ACKNOWLEDGED_A_ROUND: usize = 200;
const SENDERS: usize = 32;
const KEYS_EACH: u64 = 8;
const ROWS: u32 = 300;

/// The n-th change of a sender: a counter that grows, on one of the keys that this sender alone writes.
pub(super) fn counter(sender: usize, n: u64) -> Value {
    let key = sender as u64 * KEYS_EACH + n % KEYS_EACH;
    // Above every seeded cost, so that it always grows.
    json!({"fragrance_id": key, "cost": 1_000_000 + n})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    let library = Library::of(ROWS).await;
    let before = ledger::rows(&library.pool).await;
    let http = free_address();
    let config = library.config(http);
    let mut accord = Accord::serve(&config, http).await.unwrap();
    let load = Load::start(&Client::of(&accord.url), SENDERS, counter);

    for round in 1..=ROUNDS {
        load.acknowledges(ACKNOWLEDGED_A_ROUND).await;
        // Answers come right after a commit; let the kill hit any other moment as well.
        let moment = Duration::from_micros(rand::rng().random_range(0..20_000));
        tokio::time::sleep(moment).await;
        assert!(load.counts().outstanding > 0, "nothing was in flight at the kill of round {round}");
        accord.process.kill9();
        accord = Accord::serve(&config, http).await.unwrap();
    }
    load.acknowledges(ACKNOWLEDGED_A_ROUND).await;
    let account = load.end().await;

    assert!(account.refused.is_empty(), "{:?}", account.refused);
    let ledger = library.stands_by(&before, &account).await;
    let unanswered = ledger.len() - account.acknowledged.len();
    assert!(unanswered > 0, "no kill hit between a commit and its answer");

    // Said once more without the ledger: no key is behind its last acknowledged value.
    let last: HashMap<String, u64> = account
        .acknowledged
        .iter()
        .map(|ack| (ack.change["fragrance_id"].to_string(), ack.change["cost"].as_u64().unwrap()))
        .collect();
    let now = ledger::rows(&library.pool).await;
    for (key, acknowledged) in last {
        let cost = now[&key]["cost"].as_u64().unwrap();
        assert!(cost >= acknowledged, "fragrance {key} is at {cost}, and {acknowledged} was acknowledged");
    }
    println!(
        "{} acknowledged; {} broken off, of which {unanswered} were committed",
        account.acknowledged.len(),
        account.broken
    );
}
