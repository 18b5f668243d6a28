use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
/// Far longer than anything here takes: its end is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

async fn run(router: Router, limits: Limits) -> Running {
    run_behind(Door::open(router), limits).await
}

async fn run_behind(door: Door, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, door, limits, stop.clone()));
    Running { address, stop, server }
}

impl Running {
    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, request: &str) -> String {
        rest(self.open(request).await).await
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the connection must end").unwrap();
    text
}

fn hello() -> Router {
    Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
}

/// A route that says when it was entered and answers when told to.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "held"
    };
    (Router::new().route("/", get(handler)), entered, release)
}

#[tokio::test]
async fn a_request_is_answered_and_its_peer_known() {
    let server = run(hello(), Limits::default()).await;
    let answer = server.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = run(hello(), Limits::default()).await;
    let answer = server.ask(&format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{GET}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[tokio::test]
async fn a_sender_of_slow_headers_is_cut() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = run(hello(), limits).await;
    assert_eq!(server.ask("GET / HTTP/1.1\r\nhost:").await, "");
    assert!(server.ask(GET).await.contains("200 OK"));
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let server = run(hello(), Limits::default()).await;
    let mut stream = server.open("GET / HTTP/1.1\r\n").await;
    let line = format!("x-filler: {}\r\n", "x".repeat(8000));
    let mut answer = [0; 12];
    let flood = async {
        // Writing fails once we are cut off, which is as good.
        while stream.write_all(line.as_bytes()).await.is_ok() {
            if let Ok(Ok(12)) = timeout(Duration::from_millis(20), stream.read_exact(&mut answer)).await {
                return;
            }
        }
    };
    timeout(PATIENCE, flood).await.expect("headers must not be taken without end");
    assert!([*b"HTTP/1.1 431", [0; 12]].contains(&answer), "{answer:?}");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let server = run(hello(), Limits { connections: 1, ..Limits::default() }).await;
    let first = server.open("GET / HTTP/1.1\r\n").await;
    let mut second = server.open(GET).await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(200), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "the second connection was served beside the first");
    drop(first);
    assert!(rest(second).await.contains("200 OK"));
}

#[tokio::test]
async fn stopping_finishes_the_request_in_flight_and_accepts_no_more() {
    let (router, entered, release) = held();
    let server = run(router, Limits { header_timeout: 10 * PATIENCE, ..Limits::default() }).await;
    let in_flight = server.open("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let idle = server.open("").await;
    entered.notified().await;
    server.stop.cancel();
    assert_eq!(rest(idle).await, "", "an idle connection is closed");
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.server.is_finished(), "a request is in flight");
    release.notify_one();
    let answer = rest(in_flight).await;
    assert!(answer.contains("200 OK") && answer.ends_with("held"), "{answer}");
    timeout(PATIENCE, server.server).await.expect("the server must end").unwrap();
}

#[tokio::test]
async fn dropping_the_server_cuts_what_is_in_flight() {
    let (router, entered, _release) = held();
    let server = run(router, Limits::default()).await;
    let in_flight = server.open(GET).await;
    entered.notified().await;
    server.server.abort();
    assert_eq!(rest(in_flight).await, "");
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let panics: fn() -> std::future::Ready<&'static str> = || panic!("on purpose");
    let server = run(hello().route("/panic", get(panics)), Limits::default()).await;
    let answer = server.ask(&format!("GET /panic HTTP/1.1\r\nhost: x\r\n\r\n{GET}")).await;
    let (first, second) = answer.split_once("HTTP/1.1 200").expect("the connection goes on");
    assert!(first.starts_with("HTTP/1.1 500") && first.contains("application/problem+json"), "{first}");
    assert!(!answer.contains("on purpose"), "{answer}");
    assert!(second.ends_with("127.0.0.1"));
}

/// A route that answers with a word.
fn says(word: &'static str) -> Router {
    Router::new().route("/", get(async move || word))
}

#[tokio::test]
async fn a_shut_door_keeps_callers_waiting_until_the_next_router_answers_them() {
    let (router, entered, release) = held();
    let door = Door::open(router);
    let server = run_behind(door.clone(), Limits::default()).await;
    let inside = server.open(GET).await;
    entered.notified().await;
    // Open before the door is shut, and used afterwards: no connection is closed for that.
    let mut kept = TcpStream::connect(server.address).await.unwrap();

    let shut = door.shut();
    kept.write_all(GET.as_bytes()).await.unwrap();
    let mut outside = server.open(GET).await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(200), outside.read_exact(&mut byte)).await;
    assert!(early.is_err(), "somebody was let in by a shut door");
    assert!(timeout(Duration::from_millis(100), shut.emptied()).await.is_err(), "somebody is still inside");
    release.notify_one();
    timeout(PATIENCE, shut.emptied()).await.expect("nobody is inside any more");
    assert!(rest(inside).await.ends_with("held"));

    shut.open(says("next"));
    for stream in [kept, outside] {
        assert!(rest(stream).await.ends_with("next"));
    }
}

#[tokio::test]
async fn when_nothing_comes_any_more_those_who_wait_are_told() {
    let door = Door::open(says("hello"));
    let server = run_behind(door.clone(), Limits::default()).await;
    let shut = door.shut();
    let waiting = server.open(GET).await;
    drop(shut);
    let answer = rest(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(server.ask(GET).await.starts_with("HTTP/1.1 503"));
}
