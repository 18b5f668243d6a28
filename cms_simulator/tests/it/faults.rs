//! Each fault does what it says, the same way for the same seed.

use std::time::Duration;

use axum::http::StatusCode;
use cms_simulator::{Config, Event, Faults};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::postgres::Database;
use crate::support::{Ear, Running, config};

/// Makes `edits` edits with these faults and returns what happened and what was heard.
async fn with_faults(faults: &str, edits: usize) -> (Vec<Event>, Vec<Vec<u8>>) {
    let database = Database::with_fragrances(100).await;
    let faults: Faults = faults.parse().unwrap();
    let mut cms = Running::start(Config { faults, ..config(&database) }).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    cms.register(ear.port, "/notifications").await;
    cms.story();
    for _ in 0..edits {
        cms.cms.edit_once().await.unwrap();
    }
    let story = cms.story();
    let calls = story.iter().filter(|event| matches!(event, Event::Called { .. })).count();
    let mut heard = Vec::new();
    for _ in 0..calls {
        heard.push(ear.next().await.body);
    }
    assert!(ear.heard_nothing_more());
    (story, heard)
}

#[tokio::test]
async fn faults_are_the_same_for_the_same_seed() {
    let faults = "drop=30%,duplicate=30%,malformed=30%";
    let (first, again) = tokio::join!(with_faults(faults, 40), with_faults(faults, 40));
    assert_eq!(first, again);
    let dropped = first.0.iter().filter(|event| matches!(event, Event::Dropped { .. })).count();
    assert!((1..40).contains(&dropped), "{dropped} of 40 dropped");
}

#[tokio::test]
async fn all_dropped_is_silence_and_all_duplicated_is_twice() {
    let (dropped, duplicated) = tokio::join!(with_faults("drop=100%", 5), with_faults("duplicate=100%", 5));
    assert_eq!(dropped.1.len(), 0);
    assert_eq!(duplicated.1.len(), 10);
    assert!(duplicated.1.chunks(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_malformed_call_is_not_json() {
    let (_, heard) = with_faults("malformed=100%", 12).await;
    assert_eq!(heard.len(), 12);
    for body in heard {
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err(), "{}", body.escape_ascii());
    }
}

#[tokio::test]
async fn delayed_calls_come_all_but_out_of_order() {
    let database = Database::with_fragrances(100).await;
    let faults = "delay=500ms".parse().unwrap();
    let cms = Running::start(Config { faults, ..config(&database) }).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    cms.register(ear.port, "/notifications").await;
    let mut edited = Vec::new();
    for _ in 0..20 {
        edited.push(cms.cms.edit_once().await.unwrap().key().unwrap());
    }
    let mut heard = Vec::new();
    for _ in 0..20 {
        heard.push(i32::try_from(ear.next().await.json()["fragrance_id"].as_i64().unwrap()).unwrap());
    }
    assert_ne!(heard, edited, "nothing was overtaken");
    heard.sort_unstable();
    edited.sort_unstable();
    assert_eq!(heard, edited);
}

/// Bursts of 40 edits and forgetting at 300 ms, in a CMS that runs by itself.
#[tokio::test]
async fn it_edits_in_bursts_and_forgets_its_listener() {
    let database = Database::with_fragrances(100).await;
    let faults = "burst=40,forget=300ms".parse().unwrap();
    let (events, mut story) = tokio::sync::broadcast::channel(4096);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let config = Config { faults, every: "1ms".parse().unwrap(), ..config(&database) };
    let running = tokio::spawn(cms_simulator::run(listener, config, Some(events), shutdown.clone()));
    let ear = Ear::answering(StatusCode::OK).await;
    let body = format!(r#"{{"host":"http://127.0.0.1","port":{},"endpoint":"/n"}}"#, ear.port);
    reqwest::Client::new().post(format!("http://{address}/listener")).body(body).send().await.unwrap();

    let (mut edits, mut forgotten) = (0, 0);
    while edits < 40 || forgotten == 0 {
        match tokio::time::timeout(Duration::from_secs(20), story.recv()).await.unwrap().unwrap() {
            Event::Edited { .. } => edits += 1,
            Event::ListenerForgotten => forgotten += 1,
            _ => {}
        }
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
