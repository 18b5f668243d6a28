//! A listener that writes down what it hears, and a CMS to hear it from.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use cms_simulator::{Cms, Config, Event, Interval};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::postgres::Database;

/// One request as it arrived.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A listener that gives every call the same answer.
pub(crate) struct Ear {
    pub(crate) port: u16,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Ear {
    pub(crate) async fn answering(status: StatusCode) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let hear = async move |State(sender): State<Arc<mpsc::UnboundedSender<Heard>>>,
                               method: Method,
                               uri: Uri,
                               headers: HeaderMap,
                               body: Bytes| {
            let _ = sender.send(Heard { method, path: uri.to_string(), headers, body: body.to_vec() });
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(hear).with_state(Arc::new(sender));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { port, heard }
    }

    pub(crate) async fn next(&mut self) -> Heard {
        tokio::time::timeout(Duration::from_secs(10), self.heard.recv())
            .await
            .expect("nothing was heard")
            .unwrap()
    }

    pub(crate) fn heard_nothing_more(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }
}

/// A CMS whose API is served, and which edits only when told to.
pub(crate) struct Running {
    pub(crate) cms: Cms,
    pub(crate) url: String,
    pub(crate) events: broadcast::Receiver<Event>,
    _stop: DropGuard,
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, events) = broadcast::channel(4096);
        let cms = Cms::new(config, Some(sender)).unwrap();
        let stop = CancellationToken::new();
        let (served, token) = (cms.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        Self { cms, url, events, _stop: stop.drop_guard() }
    }

    /// Registers the listener as anyone would, over HTTP.
    pub(crate) async fn register(&self, port: u16, endpoint: &str) {
        let body = serde_json::json!({ "host": "http://127.0.0.1", "port": port, "endpoint": endpoint });
        let answer = reqwest::Client::new()
            .post(format!("{}/listener", self.url))
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Everything that happened so far.
    pub(crate) fn story(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

pub(crate) fn config(database: &Database) -> Config {
    Config {
        database_url: database.url().into(),
        every: Interval::fixed(Duration::from_millis(20)),
        ..Config::default()
    }
}

/// For tests of the API alone: nothing ever connects to this database.
pub(crate) fn config_without_database() -> Config {
    Config { database_url: "postgres://nobody@127.0.0.1:1/nothing".into(), ..Config::default() }
}
