//! Registering with a CMS that keeps one listener in memory and forgets it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accord::apply::Gap;
use accord::config::{Backoff, Register};
use accord::library::registration::{self as stored, RegistrationState};
use accord::source::registration::{Listener, Observer, Registrar};
use accord::source::sender::Sender;
use accord::source::token::Tokens;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::harness::{TestDatabase, database, eventually, free_port};

const SOON: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_millis(100);

/// What the CMS answers to a registration.
#[derive(Clone)]
enum Manner {
    Take,
    TurnAway,
    SendTo(String),
}

/// The memory of one run of the CMS.
struct Memory {
    slot: Mutex<Option<Value>>,
    manner: Mutex<Manner>,
}

/// One run of the CMS; dropping it is a crash.
struct Cms {
    memory: Arc<Memory>,
    _server: AbortOnDropHandle<()>,
}

impl Cms {
    async fn start(port: u16, manner: Manner) -> Self {
        let memory = Arc::new(Memory { slot: Mutex::default(), manner: Mutex::new(manner) });
        let router =
            Router::new().route("/listener", post(take).delete(forget)).with_state(Arc::clone(&memory));
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let server = async move { axum::serve(listener, router).await.unwrap() };
        Self { memory, _server: AbortOnDropHandle::new(tokio::spawn(server)) }
    }

    fn slot(&self) -> Option<Value> {
        self.memory.slot.lock().unwrap().clone()
    }

    fn set_slot(&self, listener: Option<Value>) {
        *self.memory.slot.lock().unwrap() = listener;
    }

    async fn comes_to_know(&self, listener: &Value) {
        eventually(SOON, "the CMS knows the listener", async || match self.slot() {
            Some(known) if known == *listener => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

async fn take(State(memory): State<Arc<Memory>>, Json(listener): Json<Value>) -> Response {
    let manner = memory.manner.lock().unwrap().clone();
    match manner {
        Manner::Take => {
            *memory.slot.lock().unwrap() = Some(listener);
            Json(["Listener added"]).into_response()
        }
        // As FastAPI does, it repeats what it does not like.
        Manner::TurnAway => (StatusCode::UNPROCESSABLE_ENTITY, Json(listener)).into_response(),
        Manner::SendTo(elsewhere) => Redirect::temporary(&elsewhere).into_response(),
    }
}

async fn forget(State(memory): State<Arc<Memory>>) -> Json<[&'static str; 1]> {
    *memory.slot.lock().unwrap() = None;
    Json(["Removed added"])
}

/// Keeps what it is told.
#[derive(Default)]
struct Recorder {
    gaps: Mutex<Vec<Gap>>,
    registered: AtomicBool,
}

impl Observer for Recorder {
    fn gap(&self, gap: Gap) {
        self.gaps.lock().unwrap().push(gap);
    }

    fn registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::SeqCst);
    }
}

/// A leader that keeps itself registered with the CMS on a port.
struct Accord {
    database: TestDatabase,
    pipeline: i16,
    tokens: Arc<Tokens>,
    sender: Arc<Sender>,
    recorder: Arc<Recorder>,
    cms_port: u16,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Accord {
    async fn start(configure: impl FnOnce(&mut Register)) -> Self {
        let database = database().await;
        let pipeline = pipeline(&database).await;
        let cms_port = free_port();
        let tokens = Arc::new(Tokens::load(database.pool.clone(), pipeline, KEEP_ALIVE).await.unwrap());
        let sender = Arc::new(Sender::new(database.pool.clone(), pipeline, "fragrances", Arc::default()));
        let recorder = Arc::<Recorder>::default();
        let mut config = register_at(cms_port);
        configure(&mut config);
        let public_url = "http://smart_library:9099".parse().unwrap();
        let listener = Listener::new(&public_url, "/notifications", Some(Arc::clone(&tokens)));
        let observer = Arc::<Recorder>::clone(&recorder);
        let registrar = Registrar::new(config, listener, Arc::clone(&sender), observer).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move { registrar.run(stopped).await }));
        Self { database, pipeline, tokens, sender, recorder, cms_port, stop, task }
    }

    /// What a CMS that knows us has in its slot.
    fn registration(&self) -> Value {
        let endpoint = format!("/notifications/{}", self.tokens.current().expose());
        json!({"host": "http://smart_library", "port": 9099, "endpoint": endpoint})
    }

    fn gaps(&self) -> Vec<Gap> {
        self.recorder.gaps.lock().unwrap().clone()
    }

    /// What `accord status` reads in a process of its own.
    async fn comes_to(&self, what: &str, reached: impl Fn(&RegistrationState) -> bool) -> RegistrationState {
        eventually(SOON, what, async || {
            match stored::load(&self.database.pool, self.pipeline).await.unwrap() {
                Some(state) if reached(&state) => Ok(state),
                other => Err(other),
            }
        })
        .await
    }

    async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

fn register_at(port: u16) -> Register {
    let url: Url = format!("http://127.0.0.1:{port}/listener").parse().unwrap();
    Register {
        keep_alive: KEEP_ALIVE,
        backoff: Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(100) },
        ..Register::at(url.into())
    }
}

/// Accord's own tables with one pipeline.
pub(crate) async fn pipeline(database: &TestDatabase) -> i16 {
    sqlx::query("create schema if not exists accord").execute(&database.pool).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0001_accord.sql")).execute(&database.pool).await.unwrap();
    sqlx::query_scalar(
        "insert into accord.pipeline (name, tables) values ('fragrances', '{fragrances}') returning id",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn registers_when_the_cms_comes_up() {
    let accord = Accord::start(|_| {}).await;
    let waiting = accord.comes_to("an error is kept", |state| state.last_error.is_some()).await;
    assert_eq!(waiting.registered_since, None);
    assert!(waiting.last_error.unwrap().starts_with("the CMS cannot be reached: "));
    assert!(accord.gaps().is_empty());

    let cms = Cms::start(accord.cms_port, Manner::Take).await;
    cms.comes_to_know(&accord.registration()).await;
    accord.comes_to("registered", |state| state.registered_since.is_some()).await;
    assert!(accord.recorder.registered.load(Ordering::SeqCst));
    assert_eq!(accord.gaps(), [Gap::SenderBack]);
    accord.stop().await;
}

#[tokio::test]
async fn a_listener_that_is_forgotten_or_overwritten_is_registered_again() {
    let accord = Accord::start(|_| {}).await;
    let cms = Cms::start(accord.cms_port, Manner::Take).await;
    cms.comes_to_know(&accord.registration()).await;
    accord.comes_to("registered", |state| state.registered_since.is_some()).await;
    let gaps = accord.gaps();

    cms.set_slot(None);
    cms.comes_to_know(&accord.registration()).await;
    cms.set_slot(Some(json!({"host": "http://someone_else", "port": 80, "endpoint": "/"})));
    cms.comes_to_know(&accord.registration()).await;
    assert_eq!(accord.gaps(), gaps, "to keep a registration alive is no gap");
    accord.stop().await;
}

#[tokio::test]
async fn a_cms_that_was_away_is_registered_with_again_and_leaves_a_gap() {
    let accord = Accord::start(|_| {}).await;
    let cms = Cms::start(accord.cms_port, Manner::Take).await;
    let since =
        accord.comes_to("registered", |state| state.registered_since.is_some()).await.registered_since;
    let gaps = accord.gaps().len();

    drop(cms);
    accord.comes_to("noticed", |state| state.registered_since.is_none()).await;
    let cms = Cms::start(accord.cms_port, Manner::Take).await;
    cms.comes_to_know(&accord.registration()).await;
    let again = accord.comes_to("registered again", |state| state.registered_since.is_some()).await;
    assert!(again.registered_since > since);
    assert_eq!(accord.gaps()[gaps..], [Gap::SenderBack]);
    accord.stop().await;
}

#[tokio::test]
async fn a_cms_that_turns_us_away_is_asked_again_and_leaves_a_gap() {
    let accord = Accord::start(|_| {}).await;
    let cms = Cms::start(accord.cms_port, Manner::TurnAway).await;
    let answered = |state: &RegistrationState| {
        state.last_error.as_ref().is_some_and(|error| error.starts_with("the CMS answered 422 "))
    };
    let state = accord.comes_to("turned away", answered).await;
    assert_eq!(state.registered_since, None);
    *cms.memory.manner.lock().unwrap() = Manner::Take;
    cms.comes_to_know(&accord.registration()).await;
    accord.comes_to("registered", |state| state.registered_since.is_some()).await;
    assert_eq!(accord.gaps().len(), 1);
    accord.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere_port = free_port();
    let elsewhere = Cms::start(elsewhere_port, Manner::Take).await;
    let accord = Accord::start(|_| {}).await;
    let target = format!("http://127.0.0.1:{elsewhere_port}/listener");
    let _cms = Cms::start(accord.cms_port, Manner::SendTo(target)).await;
    accord
        .comes_to("the redirect is an error", |state| {
            state.last_error.as_ref().is_some_and(|error| error.contains("307"))
        })
        .await;
    assert_eq!(elsewhere.slot(), None, "the token went to another host");
    accord.stop().await;
}

#[tokio::test]
async fn the_registration_is_taken_back_only_when_opted_in() {
    for (opted_in, left) in [(false, true), (true, false)] {
        let accord = Accord::start(|config| config.deregister_on_shutdown = opted_in).await;
        let cms = Cms::start(accord.cms_port, Manner::Take).await;
        accord.comes_to("registered", |state| state.registered_since.is_some()).await;
        let (pool, pipeline) = (accord.database.pool.clone(), accord.pipeline);
        accord.stop().await;
        assert_eq!(cms.slot().is_some(), left, "opted in: {opted_in}");
        let state = stored::load(&pool, pipeline).await.unwrap().unwrap();
        assert_eq!(state.registered_since.is_some(), left, "opted in: {opted_in}");
    }
}

/// A log that can be read back.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_token_is_never_shown() {
    let log = Log::default();
    let writer = log.clone();
    // While there is one dispatcher only, the thread that meets a callsite first decides for all, and the other
    // tests' threads have no log.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    // The test's runtime has this one thread, so every task of the test logs here, libraries included.
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish(),
    );
    let accord = Accord::start(|config| config.deregister_on_shutdown = true).await;
    let cms = Cms::start(accord.cms_port, Manner::TurnAway).await;
    accord.comes_to("turned away", |state| state.last_error.is_some()).await;
    *cms.memory.manner.lock().unwrap() = Manner::Take;
    let state = accord.comes_to("registered", |state| state.registered_since.is_some()).await;
    drop(cms);
    let away = accord.comes_to("away", |state| state.registered_since.is_none()).await;

    let token = accord.tokens.current().expose().to_owned();
    let debug = format!("{:?} {:?} {:?}", accord.tokens, accord.tokens.current(), accord.sender);
    accord.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("registered with the CMS"), "the log was captured");
    assert!(log.contains("listener=http://smart_library:9099/notifications/***"), "the listener is shown");
    for (place, text) in [("log", log), ("debug", debug), ("state", format!("{state:?} {away:?}"))] {
        assert!(!text.contains(&token), "the token is in the {place}");
    }
}
