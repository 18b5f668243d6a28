//! A CMS that keeps one listener in memory: it forgets us, or takes somebody else instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cms_simulator::{Cms, Config, Event, Field};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{Configure, Server, TestDatabase, database, eventually, free_port, plant_fragrances};

const SOON: Duration = Duration::from_secs(30);

/// The key of the fragrance that is edited.
const KEY: i32 = 7;

/// One run of the CMS on its database: it edits when it is told to.
struct Run {
    cms: Cms,
    events: broadcast::Receiver<Event>,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Run {
    async fn start(port: u16, database: &TestDatabase) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let (sender, events) = broadcast::channel(1024);
        let config = Config { database_url: database.url.clone().into(), ..Config::default() };
        let cms = Cms::new(config, Some(sender)).unwrap();
        let stop = CancellationToken::new();
        let (serving, stopped) = (cms.clone(), stop.clone());
        let served = tokio::spawn(async move { serving.serve(listener, stopped).await });
        Self { cms, events, stop, served }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }

    /// Waits until `server` has registered, after all that was waited for before.
    async fn comes_to_know(&mut self, server: &Server) {
        self.registers(&format!("http://{}/notifications/***", server.address)).await;
    }

    /// Waits until a listener has registered; the last segment of its path is not told.
    async fn registers(&mut self, listener: &str) {
        let registered = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if matches!(event, Event::ListenerSet { url } if url == listener) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, registered).await.expect("the CMS comes to know its listener");
    }

    /// Edits, and gives the status of the listener's answer, which the CMS itself does not look at.
    async fn edit(&mut self, field: Field, value: Value) -> Option<u16> {
        self.cms.edit(KEY, [(field, value)].into(), true).await.unwrap();
        std::iter::from_fn(|| self.events.try_recv().ok())
            .find_map(|event| if let Event::Called { status, .. } = event { Some(status) } else { None })
    }
}

/// A CMS that knows the server, and what outlives a run of it.
struct Scene {
    server: Server,
    cms_port: u16,
    database: TestDatabase,
}

impl Scene {
    async fn new() -> (Self, Run) {
        let database = database().await;
        plant_fragrances(&database.pool).await;
        let cms_port = free_port();
        let mut run = Run::start(cms_port, &database).await;
        // Without a reference, so that only what the CMS tells can reach the library.
        let configure = Configure { cms_port: Some(cms_port), ..Configure::default() };
        let server = Server::start(configure).await;
        run.comes_to_know(&server).await;
        (Self { server, cms_port, database }, run)
    }

    /// What the library says of the fragrance.
    async fn read(&self) -> Value {
        self.server.get(&format!("/fragrance/{KEY}")).await.json()
    }
}

#[tokio::test]
async fn a_cms_that_restarts_is_registered_with_again_and_its_edits_arrive() {
    let (scene, mut run) = Scene::new().await;
    assert_eq!(run.edit(Field::Name, json!("Before")).await, Some(200));
    assert_eq!(scene.read().await["name"], "Before");

    run.stop().await;
    let mut run = Run::start(scene.cms_port, &scene.database).await;
    run.comes_to_know(&scene.server).await;
    assert_eq!(run.edit(Field::Name, json!("After")).await, Some(200));
    assert_eq!(scene.read().await["name"], "After");
    run.stop().await;
}

#[tokio::test]
async fn a_cms_that_was_away_leaves_a_gap() {
    let (scene, run) = Scene::new().await;
    run.stop().await;
    eventually(SOON, "the absence is noticed", async || match scene.server.metric("registered", "").await {
        0 => Ok(()),
        other => Err(other),
    })
    .await;
    sqlx::query("update accord.pipeline set gap_since = null, gap_reasons = '{}'")
        .execute(&scene.server.library.pool)
        .await
        .unwrap();
    let mut run = Run::start(scene.cms_port, &scene.database).await;
    run.comes_to_know(&scene.server).await;
    eventually(SOON, "the gap is written", async || {
        let reasons = scene.server.gap_reasons().await;
        // A leader that was elected meanwhile knows only that nobody was registered.
        let told = |reason: &String| reason == "sender_back" || reason == "registration";
        if reasons.iter().any(told) { Ok(()) } else { Err(reasons) }
    })
    .await;
    assert_eq!(run.edit(Field::Cost, json!(12.5)).await, Some(200));
    assert_eq!(scene.read().await["cost"], json!(12.5));
    run.stop().await;
}

#[tokio::test]
async fn a_listener_that_somebody_else_overwrote_is_taken_back() {
    let (scene, mut run) = Scene::new().await;
    let other = json!({"host": "http://127.0.0.1", "port": free_port(), "endpoint": "/theirs"});
    let slot = format!("http://127.0.0.1:{}/listener", scene.cms_port);
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(slot)
        .body(other.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // What we registered before the other came does not count.
    run.registers(&format!("http://127.0.0.1:{}/***", other["port"])).await;

    run.comes_to_know(&scene.server).await;
    assert_eq!(run.edit(Field::Forbidden, json!(true)).await, Some(200));
    assert_eq!(scene.read().await["forbidden"], true);
    run.stop().await;
}
