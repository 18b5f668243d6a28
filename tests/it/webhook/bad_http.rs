//! Requests that no client should make: each is answered or cut off, and the next one is served.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bad_input::{assert_discreet, is_well};
use crate::harness::{Configure, Server, eventually, free_port};

const SOON: Duration = Duration::from_secs(30);

/// A server that does not wait long for a slow client.
const IMPATIENT: Configure<'_> = Configure {
    http: "header_timeout = \"1s\"\nbody_timeout = \"1s\"",
    cms_port: None,
    reference: None,
    reconcile: None,
    keep_alive: None,
    more: "",
};

/// The delta that well-formed requests carry.
const DELTA: &str = r#"{"fragrance_id": 1, "cost": 77}"#;

/// What the client does once it has sent what it has to send.
#[derive(Clone, Copy)]
enum Then {
    /// Keeps the connection open, and waits.
    Waits,
    /// Says that nothing more will come.
    Ends,
}

/// Sends bytes as they are, and gives all that came back before the server closed the connection.
async fn exchange(server: &Server, bytes: &[u8], then: Then) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may have closed before all is sent: what it answered still counts.
    let _ = stream.write_all(bytes).await;
    if let Then::Ends = then {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    match read.expect("the server closes the connection") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8(answer).unwrap()
}

/// The statuses of the answers on one connection, in order.
fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.")
        .skip(1)
        .map(|answer| answer.split(' ').nth(1).unwrap().parse().unwrap())
        .collect()
}

/// A request to deliver the delta, with more headers.
fn post(path: &str, headers: &str) -> String {
    let length = DELTA.len();
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {length}\r\n\r\n{DELTA}")
}

#[tokio::test]
async fn malformed_requests_are_answered_or_cut_off() {
    let server = Server::start(IMPATIENT).await;
    let hook = server.hook().await;
    let head = |headers: &str| format!("POST {hook} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let many_headers = "x: y\r\n".repeat(2000);
    for (name, bytes, expected) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), &[400][..]),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00".to_owned(), &[400]),
        ("empty lines", "\r\n\r\n\r\n".to_owned(), &[]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[]),
        ("no version", format!("POST {hook}\r\n\r\n"), &[400]),
        ("a header without a name", head(": x\r\n"), &[400]),
        ("a header that is no header", head("x y z\r\n"), &[400]),
        ("a flood of headers", head(&many_headers), &[431]),
        ("a header of 1 MiB", head(&format!("x: {}\r\n", "y".repeat(1 << 20))), &[431]),
        ("a path of 1 MiB", format!("POST /{} HTTP/1.1\r\n\r\n", "y".repeat(1 << 20)), &[431]),
        ("a length below zero", head("content-length: -1\r\n"), &[400]),
        ("a length that is no number", head("content-length: much\r\n"), &[400]),
        ("two lengths", head("content-length: 2\r\ncontent-length: 3\r\n"), &[400]),
        ("a chunk that is no chunk", format!("{}zz\r\n", head("transfer-encoding: chunked\r\n")), &[400]),
        ("an unknown coding", format!("{}{{}}", head("transfer-encoding: gzip\r\n")), &[400]),
        ("slow headers", format!("POST {hook} HTTP/1.1\r\nhost: a\r\n"), &[]),
        ("a slow body", format!("{}{{", head("content-length: 9\r\n")), &[408]),
        ("a slow chunk", format!("{}1\r\n{{\r\n", head("transfer-encoding: chunked\r\n")), &[408]),
    ] {
        let answers = exchange(&server, bytes.as_bytes(), Then::Waits).await;
        assert_eq!(statuses(&answers), expected, "{name}: {answers}");
        assert!(!answers.contains("panicked") && !answers.contains("/src/"), "{name}: {answers}");
        assert_eq!(server.get("/readyz").await.status, 200, "after {name}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn unusual_requests_are_served_as_http_has_it() {
    let server = Server::start(IMPATIENT).await;
    let hook = server.hook().await;
    let length = DELTA.len();
    let old = format!("POST {hook} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{DELTA}");
    assert_eq!(statuses(&exchange(&server, old.as_bytes(), Then::Waits).await), [200], "HTTP/1.0");

    let chunked = format!(
        "POST {hook} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{DELTA}\r\n0\r\n\r\n"
    );
    assert_eq!(statuses(&exchange(&server, chunked.as_bytes(), Then::Waits).await), [200], "chunks");

    let pipelined = [post(&hook, ""), post("/nowhere", ""), post(&hook, "connection: close\r\n")].concat();
    let answers = exchange(&server, pipelined.as_bytes(), Then::Waits).await;
    assert_eq!(statuses(&answers), [200, 404, 200], "in their order: {answers}");

    let patient = format!(
        "POST {hook} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let answers = exchange(&server, (patient + DELTA).as_bytes(), Then::Waits).await;
    assert_eq!(statuses(&answers), [100, 200], "{answers}");
    is_well(&server).await;
}

#[tokio::test]
async fn a_body_that_was_not_taken_whole_marks_a_gap() {
    for (name, request, expected) in [
        ("a body that ends early", "content-length: 100\r\n\r\n{\"fragrance_id\"", &[400][..]),
        ("a chunk that is cut off", "transfer-encoding: chunked\r\n\r\n20\r\n{\"fragrance_id\"", &[400]),
        ("chunks without the last", "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", &[400]),
    ] {
        let server = Server::start(IMPATIENT).await;
        let bytes = format!("POST {} HTTP/1.1\r\nhost: a\r\n{request}", server.hook().await);
        let answers = exchange(&server, bytes.as_bytes(), Then::Ends).await;
        // Whoever ends in the middle of a body has usually gone; an answer is a courtesy.
        assert!(statuses(&answers).is_empty() || statuses(&answers) == expected, "{name}: {answers}");
        has_missed(&server, name).await;
    }
    let server = Server::start(IMPATIENT).await;
    let body = vec![b' '; (1 << 20) + 1];
    let reply = server.send(body.clone()).await;
    assert_discreet("1 MiB + 1", &reply);
    assert_eq!((reply.status, reply.content_type()), (413, "application/problem+json"), "{reply:?}");
    has_missed(&server, "1 MiB + 1").await;
    // One byte less is taken, and found to be no JSON.
    assert_eq!(server.send(&body[1..]).await.status, 202);
    is_well(&server).await;
}

async fn has_missed(server: &Server, name: &str) {
    eventually(SOON, "the miss is counted and the gap written", async || {
        let (missed, reasons) = (server.metric("missed_bodies_total", "").await, server.gap_reasons().await);
        let has_gap = reasons.iter().any(|reason| reason == "refused");
        if missed == 1 && has_gap { Ok(()) } else { Err((missed, reasons)) }
    })
    .await;
    let rows: i64 = sqlx::query_scalar("select count(*) from accord.ledger")
        .fetch_one(&server.library.pool)
        .await
        .unwrap();
    assert_eq!(rows, 0, "nothing of {name} was taken");
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn strangers_are_counted_and_turned_away() {
    // With a CMS that never comes up, for what is known of the sender is shown where there is one.
    let server = Server::start(Configure { cms_port: Some(free_port()), ..IMPATIENT }).await;
    let token = server.hook().await.replace("/notifications/", "");
    let (wrong, no_utf8) = ("x".repeat(token.len()), "/notifications/%ff");
    let post = |path: &str, headers: &str| post(path, &format!("connection: close\r\n{headers}"));
    let strangers = [
        post("/notifications", ""),
        post("/notifications/wrong", ""),
        post(&format!("/notifications/{wrong}"), ""),
        post(&format!("/notifications/{}", &token[1..]), ""),
        post(no_utf8, ""),
        post("/notifications", "authorization: Bearer wrong\r\n"),
        post("/notifications", &format!("authorization: Basic {token}\r\n")),
        post("/notifications/wrong", &format!("authorization: Bearer {token}\r\n")),
    ];
    for request in &strangers {
        let answer = exchange(&server, request.as_bytes(), Then::Waits).await;
        assert_eq!(statuses(&answer), [401], "{request}\n{answer}");
        assert!(answer.contains("www-authenticate: Bearer") && !answer.contains(&token), "{answer}");
    }
    let count = u64::try_from(strangers.len()).unwrap();
    assert_eq!(server.metric("refused_requests_total", ",status=\"401\"").await, count);
    eventually(SOON, "the strangers are shown", async || {
        let pipeline = server.get("/api/v1/pipelines/fragrances").await.json();
        if pipeline["registration"]["unauthorized"] == json!(count) { Ok(()) } else { Err(pipeline) }
    })
    .await;

    let entitled = post("/notifications", &format!("authorization: Bearer {token}\r\n"));
    assert_eq!(statuses(&exchange(&server, entitled.as_bytes(), Then::Waits).await), [200]);
    assert!(!server.accord.process.log().contains(&token), "the token is not logged");
    is_well(&server).await;
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_so() {
    let server = Server::start(IMPATIENT).await;
    let hook = server.hook().await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} {hook} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(&server, request.as_bytes(), Then::Waits).await;
        assert_eq!(statuses(&answer), [405], "{method}: {answer}");
        assert!(answer.to_lowercase().contains("allow: post\r\n"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    for path in [
        "/",
        "//",
        "/notification",
        "/Notifications",
        "/notifications/",
        "/notifications/a/b",
        "/notifications%2Fa",
        "/../../etc/passwd",
        "/%00",
        "/%ff%fe",
        "/fragrances/",
        "/api",
        "/api/v1/pipelines/none",
        "/*",
        "/.git/config",
        "/?x=/notifications",
    ] {
        let answer = exchange(&server, post(path, "connection: close\r\n").as_bytes(), Then::Waits).await;
        let expected = if path == "/api/v1/pipelines/none" { 405 } else { 404 };
        assert_eq!(statuses(&answer), [expected], "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn three_hundred_connections_at_once_are_all_served() {
    const CONNECTIONS: usize = 300;
    let server = Server::start(Configure::default()).await;
    let request = post(&server.hook().await, "connection: close\r\n");
    let mut streams = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        streams.push(TcpStream::connect(server.address).await.unwrap());
    }
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    for mut stream in streams {
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(statuses(&answer), [200], "{answer}");
    }
    assert_eq!(server.counted("applied").await, 1, "the first one changes the row");
    assert_eq!(server.counted("unchanged").await, 299);
    is_well(&server).await;
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out_for_long() {
    let idle = async |server: &Server, count: usize| {
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            idle.push(TcpStream::connect(server.address).await.unwrap());
        }
        idle
    };
    let server = Server::start(Configure::default()).await;
    let _idle = idle(&server, 500).await;
    is_well(&server).await;

    // More of them than are let in: a good caller waits until they are cut off, and no longer.
    let http = "header_timeout = \"1s\"\nmax_connections = 16";
    let server = Server::start(Configure { http, ..Configure::default() }).await;
    let _idle = idle(&server, 100).await;
    tokio::time::timeout(SOON, is_well(&server)).await.expect("a good caller is served");
}
