//! The database crashes, or the network breaks, again and again, wherever the work happens to be.
//!
//! A crash of Postgres takes back every commit that was not flushed, so nobody may have been told of one. A
//! connection that breaks leaves it open whether its last commit took place, so each is looked up.

use std::time::Duration;

use rand::RngExt as _;

use super::kill::counter;
use super::{Library, free_address, ledger};
use crate::harness::{Accord, Client, Fault, Load, TcpProxy};

const SENDERS: usize = 16;
const ROWS: u32 = 300;
const CRASHES: usize = 5;
const CUTS: usize = 60;

/// Anywhere within the few batches that are done in such a time.
async fn a_moment() {
    let moment = rand::rng().random_range(0..10_000);
    tokio::time::sleep(Duration::from_micros(moment)).await;
}

/// Two Accords, so that each also builds on commits of the other that are not flushed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_postgres_take_back_nothing_that_two_accords_acknowledged() {
    let mut library = Library::of(ROWS).await;
    let before = ledger::rows(&library.pool).await;
    let (mut accords, mut loads) = (Vec::new(), Vec::new());
    for n in 0..2 {
        let http = free_address();
        let config = format!("{}hold.max_time = '60s'", library.config(http));
        let accord = Accord::serve(&config, http).await.unwrap();
        loads.push(Load::start(&Client::of(&accord.url), SENDERS, move |s, turn| {
            counter(n * SENDERS + s, turn)
        }));
        accords.push(accord);
    }
    for _ in 0..CRASHES {
        for load in &loads {
            load.acknowledges(100).await;
        }
        a_moment().await;
        library.postgres.stop_immediate().await.unwrap();
        library.postgres.start_again().await.unwrap();
    }
    for load in &loads {
        load.acknowledges(100).await;
    }

    let mut account = loads.remove(0).end().await;
    let other = loads.remove(0).end().await;
    account.acknowledged.extend(other.acknowledged);
    let disturbed = (account.refused.len() + other.refused.len(), account.broken + other.broken);
    assert_eq!(disturbed, (0, 0), "everyone was held until the database was back");
    let ledger = library.stands_by(&before, &account).await;
    assert_eq!(ledger.len(), account.acknowledged.len(), "each change stands once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_from_postgres_at_any_moment_it_applies_everything_once() {
    let library = Library::of(ROWS).await;
    let before = ledger::rows(&library.pool).await;
    let proxy = TcpProxy::in_front_of(library.address()).await;
    let http = free_address();
    let _accord = Accord::serve(&library.config_through(proxy.address(), http), http).await.unwrap();
    let load = Load::start(&Client::of(&format!("http://{http}")), SENDERS, counter);
    for _ in 0..CUTS {
        load.acknowledges(20).await;
        a_moment().await;
        proxy.set(Fault::HoldReplies).await;
        // What is on its way gets to the server, and its reply does not get back.
        a_moment().await;
        proxy.cut();
        proxy.set(Fault::None).await;
    }
    load.acknowledges(100).await;

    let account = load.end().await;
    assert_eq!((account.refused.len(), account.broken), (0, 0), "everyone was held until it was clear");
    let ledger = library.stands_by(&before, &account).await;
    assert_eq!(ledger.len(), account.acknowledged.len(), "each change stands once");
}
