use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures_util::{FutureExt, StreamExt, stream};

use super::*;
use crate::http::path::RoutePath;
use crate::telemetry::metrics::Metrics;

const TOKEN: Option<&str> = Some("s3cret");

struct Door {
    intake: Intake,
    missed: Arc<AtomicU64>,
    metrics: Metrics,
}

fn door(change: impl FnOnce(&mut Settings)) -> Door {
    let mut settings = Settings::new(RoutePath::new("/notifications").unwrap());
    change(&mut settings);
    let tokens = Accepted::default();
    tokens.replace(vec!["s3cret".into(), "the one before".into()]);
    let missed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&missed);
    let metrics = Metrics::new();
    let intake = Intake {
        settings,
        tokens,
        stats: Arc::default(),
        metrics: metrics.pipeline("fragrances"),
        on_missed: Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }),
    };
    Door { intake, missed, metrics }
}

impl Door {
    fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn has_metric(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|l| l == line)
    }
}

fn post(body: impl Into<Incoming>, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::new(body.into());
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// A body in pieces, of undeclared length.
fn pieces(pieces: &[&'static str]) -> Incoming {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, Infallible>(*piece)).collect();
    Incoming::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn a_call_without_the_right_token_is_401_and_counted_but_nothing_is_missed() {
    let door = door(|_| {});
    let calls = [(None, None), (Some("wrong"), None), (Some(""), None), (None, Some("Bearer wrong"))];
    for (token, authorization) in calls {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let problem = door.intake.take(token, post("{}", &headers)).await.unwrap_err();
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    assert_eq!(
        (door.intake.stats.unauthorized(), door.intake.stats.last_seen(), door.missed()),
        (4, None, 0)
    );
    assert!(door.has_metric(r#"accord_refused_requests_total{pipeline="fragrances",status="401"} 4"#));
}

#[tokio::test]
async fn the_token_lets_in_as_a_segment_or_as_a_bearer_token() {
    let door = door(|_| {});
    let bearer = [("authorization", "Bearer the one before")];
    for (token, headers) in [(TOKEN, &[][..]), (None, &bearer[..])] {
        let call = door.intake.take(token, post("{}", headers)).await.unwrap();
        assert_eq!(call.body.bytes, "{}");
        assert_eq!(
            door.intake.stats.last_seen().map(|seen| seen.timestamp_millis()),
            Some(call.body.received_at.timestamp_millis())
        );
    }
    assert_eq!(door.missed(), 0);
}

#[tokio::test]
async fn without_authentication_everybody_is_let_in() {
    let door = door(|settings| settings.auth = Auth::None);
    for token in [None, Some("whatever")] {
        assert!(door.intake.take(token, post("{}", &[])).await.is_ok());
    }
}

#[tokio::test]
async fn a_body_arrives_whole_whatever_its_pieces() {
    let door = door(|settings| settings.body_limit = 6);
    let call = door.intake.take(TOKEN, post(pieces(&["[1", ",2", "3]"]), &[])).await.unwrap();
    assert_eq!(call.body.bytes, "[1,23]");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_missed() {
    let door = door(|settings| settings.body_limit = 6);
    let bodies = [Incoming::from("1234567"), pieces(&["1234", "567"]), pieces(&["1234567", "1234567"])];
    for body in bodies {
        let problem = door.intake.take(TOKEN, post(body, &[])).await.unwrap_err();
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.headers()["connection"], "close");
    }
    assert_eq!(door.missed(), 3);
    assert!(door.has_metric(r#"accord_missed_bodies_total{pipeline="fragrances"} 3"#));
    assert!(door.has_metric(r#"accord_refused_requests_total{pipeline="fragrances",status="413"} 3"#));
}

#[tokio::test]
async fn a_body_that_trickles_is_408_and_missed() {
    let door = door(|settings| settings.body_timeout = Duration::from_millis(20));
    let trickle = stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending());
    let problem = door.intake.take(TOKEN, post(Incoming::from_stream(trickle), &[])).await.unwrap_err();
    assert_eq!((problem.status(), door.missed()), (StatusCode::REQUEST_TIMEOUT, 1));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_missed() {
    let door = door(|_| {});
    let broken = stream::iter([Ok("{"), Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let problem = door.intake.take(TOKEN, post(Incoming::from_stream(broken), &[])).await.unwrap_err();
    assert_eq!((problem.status(), door.missed()), (StatusCode::BAD_REQUEST, 1));
}

#[tokio::test]
async fn a_sender_that_leaves_while_its_body_is_read_is_missed() {
    let door = door(|_| {});
    let endless = Incoming::from_stream(stream::pending::<Result<&str, Infallible>>());
    let taking = door.intake.take(TOKEN, post(endless, &[]));
    assert!(taking.now_or_never().is_none(), "it waits for the body, and is dropped here");
    assert_eq!(door.missed(), 1);
    assert_eq!(door.intake.stats.last_seen(), None);
}

#[tokio::test]
async fn secrets_among_the_headers_are_not_kept() {
    let door = door(|_| {});
    let headers = [
        ("content-type", "text/plain"),
        ("user-agent", "python-requests/2.32"),
        ("authorization", "Bearer s3cret"),
        ("proxy-authorization", "Basic s3cret"),
        ("cookie", "session=s3cret"),
        ("webhook-id", "msg_1"),
        ("webhook-signature", "v1,s3cret"),
        ("x-hub-signature-256", "s3cret"),
        ("x-api-key", "s3cret"),
        ("x-token", "s3cret"),
    ];
    let call = door.intake.take(None, post("{}", &headers)).await.unwrap();
    let kept: Vec<_> =
        call.body.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        kept,
        [("content-type", "text/plain"), ("user-agent", "python-requests/2.32"), ("webhook-id", "msg_1")]
    );
}

#[tokio::test]
async fn the_event_id_comes_from_the_first_header_that_may_carry_it() {
    let door = door(|_| {});
    let long = "x".repeat(EVENT_ID_LIMIT + 1);
    let id =
        async |headers: &[(&str, &str)]| door.intake.take(TOKEN, post("{}", headers)).await.unwrap().event_id;
    assert_eq!(id(&[]).await, None);
    assert_eq!(id(&[("webhook-id", "")]).await, None);
    assert_eq!(id(&[("svix-id", "a")]).await.as_deref(), Some("a"));
    assert_eq!(id(&[("svix-id", "a"), ("webhook-id", "b")]).await.as_deref(), Some("b"));
    let digest = id(&[("webhook-id", &long)]).await.unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() < EVENT_ID_LIMIT, "{digest}");
    assert_eq!(id(&[("webhook-id", &long)]).await, Some(digest));
}
