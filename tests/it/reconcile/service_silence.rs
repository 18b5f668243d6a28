//! The silent source: the CMS edits, and tells somebody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cms_simulator::{Cms, Config, Event, Field, Listener};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::service::{SOON, Service};
use crate::harness::{Configure, database, eventually, free_port, plant_fragrances};

const EVERY_SECOND: &str = "grace = \"10ms\"\nschedule = \"* * * * * *\"\nsilent_after = 2";

/// A CMS that edits one fragrance again and again, each time to another price.
struct Editor {
    cms: Cms,
    events: broadcast::Receiver<Event>,
    price: i64,
    _served: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Editor {
    async fn start(port: u16, database_url: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let (sender, events) = broadcast::channel(4096);
        let config = Config { database_url: database_url.to_owned().into(), ..Config::default() };
        let cms = Cms::new(config, Some(sender)).unwrap();
        let serving = cms.clone();
        let served = tokio::spawn(async move { serving.serve(listener, CancellationToken::new()).await });
        Self { cms, events, price: 100, _served: AbortOnDropHandle::new(served) }
    }

    async fn edit(&mut self) {
        self.price += 1;
        self.cms.edit(7, [(Field::Cost, json!(self.price))].into(), true).await.unwrap();
    }

    /// Whether our listener was set since this was last asked.
    fn was_registered_with(&mut self, service: &Service) -> bool {
        let ours = format!("http://{}/notifications/***", service.server.address);
        std::iter::from_fn(|| self.events.try_recv().ok())
            .any(|event| matches!(event, Event::ListenerSet { url } if url == ours))
    }
}

async fn scene() -> (Service, Editor) {
    let (database, port) = (database().await, free_port());
    plant_fragrances(&database.pool).await;
    let mut editor = Editor::start(port, &database.url).await;
    let configure = Configure {
        cms_port: Some(port),
        reconcile: Some(EVERY_SECOND),
        // So that nothing but silence makes us register again.
        keep_alive: Some("1h"),
        ..Configure::default()
    };
    let service = Service::beside(configure, database).await;
    eventually(SOON, "we are registered", async || {
        if editor.was_registered_with(&service) { Ok(()) } else { Err("not yet") }
    })
    .await;
    (service, editor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_was_taken_is_noticed_and_registered_again() {
    let (service, mut editor) = scene().await;
    editor.cms.set_listener(Listener {
        host: "http://127.0.0.1".to_owned(),
        port: i64::from(free_port()),
        endpoint: "/somebody_else".to_owned(),
    });
    let log = || service.server.accord.process.log();
    let began = std::time::Instant::now();
    while !editor.was_registered_with(&service) {
        assert!(began.elapsed() < SOON, "not registered again:\n{}", log());
        editor.edit().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eventually(SOON, "the log says so", async || {
        let log = log();
        if log.contains("our listener is lost or taken") { Ok(()) } else { Err(log) }
    })
    .await;

    // Now the edits come in again, and only that ends the alarm.
    editor.edit().await;
    let silent_since = "select to_jsonb(silent_since) from accord.registration";
    eventually(SOON, "the alarm ends", async || {
        let since = service.ask(silent_since).await;
        if since == json!(null) { Ok(()) } else { Err(since) }
    })
    .await;
    eventually(SOON, "the log says so", async || {
        let log = log();
        if log.contains("recovered: the source announces its changes again") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_edited_in_the_library_prove_no_silence() {
    let (service, mut editor) = scene().await;
    editor.edit().await;
    let stale = "select to_jsonb(count(*)) from accord.reconciliation
                 where trigger = 'schedule' and (report -> 'counts' ->> 'stale')::int > 0";
    eventually(SOON, "the library's edits are repaired several times", async || {
        service.at_library("update fragrances set cost = cost + 1 where fragrance_id = 7").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = service.ask(stale).await;
        if seen.as_u64() >= Some(4) { Ok(()) } else { Err(seen) }
    })
    .await;
    let known = service.ask("select to_jsonb(r) from accord.registration r").await;
    assert_eq!((&known["silent_intervals"], &known["silent_since"]), (&json!(0), &json!(null)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserts_and_deletes_prove_no_silence() {
    let (service, _editor) = scene().await;
    let seen = "select to_jsonb(count(*)) from accord.reconciliation
                where trigger = 'schedule' and (report -> 'counts' ->> 'repaired')::int > 0";
    eventually(SOON, "what was never announced is repaired several times", async || {
        service
            .at_cms(
                "delete from fragrances where fragrance_id = (select min(fragrance_id) from fragrances);
                 insert into fragrances (fragrance_id, name, cost, forbidden)
                 select max(fragrance_id) + 1, 'New', 1, false from fragrances",
            )
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = service.ask(seen).await;
        if seen.as_u64() >= Some(4) { Ok(()) } else { Err(seen) }
    })
    .await;
    let known = service.ask("select to_jsonb(r) from accord.registration r").await;
    assert_eq!((&known["silent_intervals"], &known["silent_since"]), (&json!(0), &json!(null)));
}
