//! Bodies that no sender should send: each gets a clear answer, and none of them disturbs its neighbours.

use serde_json::{Value, json};
use sqlx::Row as _;

use crate::harness::{Configure, Reply, Server};

/// What must become of a body.
#[derive(Clone, Copy)]
enum Fate {
    /// Quarantined whole, for breaking this rule at this place.
    Kept(&'static str, &'static str),
    /// An array with one record, quarantined for breaking this rule.
    OneKept(&'static str),
    /// Taken, with this outcome.
    Taken(&'static str),
}
use Fate::{Kept, OneKept, Taken};

/// A body with the fate it must meet.
type Case = (&'static str, Vec<u8>, Fate);

/// A neighbour, who must not notice: its cost is new each time.
const NEIGHBOUR: &str = "40";

#[tokio::test]
async fn a_value_that_is_not_its_columns_is_quarantined() {
    let field = |name: &'static str, value: &str, fate| {
        let key = if name == "fragrance_id" { String::new() } else { r#""fragrance_id": 1, "#.into() };
        (name, format!(r#"{{{key}"{name}": {value}}}"#).into_bytes(), fate)
    };
    let mut cases: Vec<Case> = Vec::new();
    for wrong in [r#""x""#, r#""""#, "1.5", "null", "true", "{}", "[]"] {
        cases.push(field("fragrance_id", wrong, Kept("/fragrance_id", "type")));
    }
    cases.push(field("fragrance_id", "-1", Kept("/fragrance_id", "minimum")));
    for large in ["2147483648", "1e400"] {
        cases.push(field("fragrance_id", large, Kept("/fragrance_id", "maximum")));
    }
    for wrong in ["5", "null", "true", "{}", r#"["a"]"#] {
        cases.push(field("name", wrong, Kept("/name", "type")));
    }
    cases.push(field("name", r#""""#, Kept("/name", "minLength")));
    cases.push(field("name", &text_of(151), Kept("/name", "maxLength")));
    cases.push(field("name", &text_of(150), Taken("applied")));
    cases.push(field("description", "5", Kept("/description", "type")));
    cases.push(field("description", r#"{"a": [null]}"#, Kept("/description", "type")));
    cases.push(field("description", &text_of(1025), Kept("/description", "maxLength")));
    for wrong in [r#""much""#, r#""""#, r#"" 1""#, r#""NaN""#, r#""Infinity""#, "true", "{}", "[]"] {
        cases.push(field("cost", wrong, Kept("/cost", "type")));
    }
    cases.push(field("cost", "-0.01", Kept("/cost", "minimum")));
    for wrong in [r#""yes""#, "1", "0", r#""""#, "[]", "{}"] {
        cases.push(field("forbidden", wrong, Kept("/forbidden", "type")));
    }
    cases.push(("no key", br#"{"name": "Nobody"}"#.to_vec(), Kept("", "required")));
    cases.push(("no field", b"{}".to_vec(), Kept("", "required")));
    cases.push(("a new row, incomplete", br#"{"fragrance_id": 777}"#.to_vec(), Kept("", "incomplete")));
    all_meet_their_fate(cases).await;
}

#[tokio::test]
async fn what_is_no_plain_json_record_is_quarantined_with_its_bytes() {
    let deep = |opening: &str, closing: &str| opening.repeat(100_000) + "1" + &closing.repeat(100_000);
    let in_field = |field: &str, value: &str| format!(r#"{{"fragrance_id": 1, "{field}": {value}}}"#);
    let json = Kept("", "json");
    let cases: Vec<Case> = [
        ("nothing", String::new(), json),
        ("white space", " \n\t".into(), json),
        ("null", "null".into(), Kept("", "type")),
        ("a text", r#""text""#.into(), Kept("", "type")),
        ("a number", "5".into(), Kept("", "type")),
        ("an array in an array", "[[]]".into(), OneKept("type")),
        ("null in an array", "[null]".into(), OneKept("type")),
        ("two documents", r#"{"fragrance_id": 1} {"fragrance_id": 1}"#.into(), json),
        ("cut off", r#"{"fragrance_id": 1, "name": "Ro"#.into(), json),
        ("an array cut off", r#"[{"fragrance_id": 1}"#.into(), json),
        ("a form", "fragrance_id=1&name=Rose".into(), json),
        ("an undefined value", in_field("name", "undefined"), json),
        ("a line break in a text", in_field("name", "\"a\nb\""), json),
        ("a comma too many", r#"{"fragrance_id": 1,}"#.into(), json),
        ("a byte order mark", "\u{feff}{\"fragrance_id\": 1}".into(), json),
        ("a lone surrogate", in_field("name", r#""\ud800""#), json),
        ("U+0000 escaped", in_field("name", r#""a\u0000b""#), Kept("/name", "nul")),
        ("U+0000 bare", in_field("name", "\"a\0b\""), json),
        ("a key twice", r#"{"fragrance_id": 1, "cost": 1, "cost": 2}"#.into(), json),
        ("a key twice, deeper", in_field("unknown", r#"{"a": 1, "a": 2}"#), json),
        ("arrays 100,000 deep", deep("[", "]"), OneKept("json")),
        ("arrays 100,000 deep, not closed", "[".repeat(100_000), json),
        ("objects 100,000 deep", in_field("name", &deep(r#"{"a":"#, "}")), json),
        ("an unknown field 100,000 deep", in_field("unknown", &deep("[", "]")), json),
        ("a number in disguise", in_field("cost", r#"{"$serde_json::private::Number": "5"}"#), json),
        ("an exponent of 999,999,999", in_field("cost", "1e999999999"), json),
        ("an exponent of -999,999,999", in_field("cost", "1e-999999999"), json),
        ("2,000 digits", in_field("cost", &"9".repeat(2000)), json),
        (
            "2,000 digits in a text",
            in_field("cost", &format!("\"{}\"", "9".repeat(2000))),
            Kept("/cost", "type"),
        ),
        ("no number of JSON", in_field("cost", "NaN"), json),
        ("a number with a plus", in_field("cost", "+1"), json),
        ("10,001 records", array_of(10_001), Kept("", "maxItems")),
    ]
    .map(|(name, body, fate)| (name, body.into_bytes(), fate))
    .into();
    let bytes: [Case; 3] = [
        ("no UTF-8", b"{\"fragrance_id\": 1, \"name\": \"\xff\"}".into(), json),
        ("UTF-16", "{\"fragrance_id\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect(), json),
        (
            "gzip",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00".into(),
            json,
        ),
    ];
    all_meet_their_fate(cases.into_iter().chain(bytes)).await;
}

#[tokio::test]
async fn numbers_keep_their_value_however_they_are_written() {
    let server = Server::start(Configure::default()).await;
    let long = "9".repeat(400);
    for number in ["1e400", "1e-400", "-0", "-0.0", "1E+2", "0.10", "12345678901234567890.123456789", &long] {
        for written in [number.to_owned(), format!("\"{number}\"")] {
            let reply =
                send_beside_neighbour(&server, format!(r#"{{"fragrance_id": 1, "cost": {written}}}"#)).await;
            assert_eq!(reply.status, 200, "{written}: {reply:?}");
            let exact: bool =
                sqlx::query_scalar("select cost = $1::text::numeric from fragrances where fragrance_id = 1")
                    .bind(number)
                    .fetch_one(&server.library.pool)
                    .await
                    .unwrap();
            assert!(exact, "{written}");
            assert_eq!(server.get("/fragrance/1").await.status, 200, "{written}");
        }
    }
    is_well(&server).await;
}

#[tokio::test]
async fn unknown_fields_are_left_out_and_counted_and_content_types_do_not_matter() {
    let server = Server::start(Configure::default()).await;
    let body = r#"{"fragrance_id": 1, "cost": 77, "notes": ["rose"], "Cost": 5, "": null}"#;
    assert_eq!(server.send(body).await.outcome(), "applied");
    assert_eq!(server.metric("unknown_fields_total", "").await, 3);
    assert_eq!(server.get("/fragrance/1").await.json()["cost"], 77);
    for content_type in [
        "text/html",
        "nonsense",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
    ] {
        let reply = server.send_with(&[("content-type", content_type)], body).await;
        assert_eq!((reply.status, reply.outcome().as_str()), (200, "unchanged"), "{content_type}");
    }
    assert_eq!(server.send_with(&[], body).await.outcome(), "unchanged", "without a content type");
    is_well(&server).await;
}

async fn all_meet_their_fate(cases: impl IntoIterator<Item = Case>) {
    let server = Server::start(Configure::default()).await;
    let mut kept = 0;
    for (name, body, fate) in cases {
        let reply = send_beside_neighbour(&server, body.clone()).await;
        assert_discreet(name, &reply);
        match fate {
            Taken(word) => {
                assert_eq!((reply.status, reply.outcome().as_str()), (200, word), "{name}: {reply:?}");
            }
            Kept(pointer, rule) => {
                assert_eq!(reply.status, 202, "{name}: {reply:?}");
                let answer = reply.json();
                is_kept(&server, name, &body, "", &answer).await;
                let first = &answer["violations"][0];
                assert_eq!(
                    (&first["pointer"], &first["rule"]),
                    (&json!(pointer), &json!(rule)),
                    "{name}: {first}"
                );
                kept += 1;
            }
            OneKept(rule) => {
                assert_eq!(reply.status, 202, "{name}: {reply:?}");
                let results = reply.json()["results"].clone();
                assert_eq!(results.as_array().map(Vec::len), Some(1), "{name}: {results}");
                is_kept(&server, name, &body, "/0", &results[0]).await;
                assert_eq!(results[0]["violations"][0]["rule"], rule, "{name}: {results}");
                kept += 1;
            }
        }
    }
    assert_eq!(server.counted("quarantined").await, kept);
    is_well(&server).await;
}

/// Delivers a body while a neighbour delivers one that is beyond reproach, and is served.
async fn send_beside_neighbour(server: &Server, body: impl Into<Vec<u8>>) -> Reply {
    let cost = uuid::Uuid::new_v4().as_u128();
    let good = format!(r#"{{"fragrance_id": {NEIGHBOUR}, "cost": {cost}}}"#);
    let (reply, neighbour) = tokio::join!(server.send(body), server.send(good));
    assert_eq!((neighbour.status, neighbour.outcome().as_str()), (200, "applied"), "{neighbour:?}");
    let row = server.get(&format!("/fragrance/{NEIGHBOUR}")).await;
    assert!(row.text.contains(&cost.to_string()), "the neighbour's change is there: {row:?}");
    reply
}

/// The entry holds what was sent, byte for byte, and what was answered.
async fn is_kept(server: &Server, name: &str, body: &[u8], pointer: &str, answer: &Value) {
    assert_eq!(answer["outcome"], "quarantined", "{name}");
    let entry = sqlx::query(
        "select b.bytes, q.violations, q.pointer, q.position, q.state
         from accord.quarantine q join accord.body b on b.hash = q.body where q.id = $1",
    )
    .bind(answer["id"].as_i64().unwrap())
    .fetch_one(&server.library.pool)
    .await
    .unwrap();
    assert!(entry.get::<Vec<u8>, _>("bytes") == body, "{name}: the bytes are kept as they came");
    assert_eq!(entry.get::<String, _>("pointer"), pointer, "{name}");
    assert_eq!(entry.get::<i64, _>("position"), answer["position"].as_i64().unwrap(), "{name}");
    assert_eq!(entry.get::<String, _>("state"), "open", "{name}");
    assert_eq!(entry.get::<Value, _>("violations"), answer["violations"], "{name}");
    let violations = answer["violations"].as_array().unwrap();
    assert!(!violations.is_empty(), "{name}: {answer}");
    for violation in violations {
        assert!(violation["pointer"].is_string(), "{name}: {violation}");
        for word in ["rule", "message"] {
            assert!(violation[word].as_str().is_some_and(|text| !text.is_empty()), "{name}: {violation}");
        }
        let shown = violation.get("value").map_or(0, |value| value.as_str().unwrap().chars().count());
        assert!(shown <= 200, "{name}: {shown} characters of the value are shown");
    }
}

/// An answer is never our fault, and tells nothing of our insides.
pub(super) fn assert_discreet(name: &str, reply: &Reply) {
    assert!(reply.status < 500, "{name}: {reply:?}");
    let text = reply.text.to_lowercase();
    for inside in ["sqlx", "panicked", "/src/", "select ", "insert into", "unnest", "accord.", "postgres://"]
    {
        assert!(!text.contains(inside), "{name} tells of `{inside}`: {}", reply.text);
    }
}

/// After all that, the process serves as if nothing had been.
pub(super) async fn is_well(server: &Server) {
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    let reply = server.send(r#"{"fragrance_id": 41, "name": "Well"}"#).await;
    assert_eq!((reply.status, reply.outcome().as_str()), (200, "applied"), "{reply:?}");
    let log = server.accord.process.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn text_of(characters: usize) -> String {
    format!("\"{}\"", "é".repeat(characters))
}

fn array_of(records: usize) -> String {
    format!("[{}]", vec![r#"{"fragrance_id": 1}"#; records].join(","))
}
