//! What a sender is answered, and what the library's readers see of it.

use serde_json::{Value, json};

use crate::harness::{Configure, FRAGRANCES, Reply, Server};

/// Bodies of the real CMS, byte for byte, with the columns that each of them sets. Their keys lie beyond the
/// rows that a test's library begins with.
const CAPTURED: [(&str, &[&str]); 6] = [
    (
        r#"{"fragrance_id": 4254, "name": "GrandevalHOOOOOOOOOOLAAA", "description": "Of great age; ancient  blabla...", "forbidden": true}"#,
        &["name", "description", "forbidden"],
    ),
    (
        r#"{"fragrance_id": 1136, "name": "CamacaHOOOOOOOOOOLAAA", "description": "Fine silk fabric  blabla...", "forbidden": true, "cost": 102}"#,
        &["name", "description", "cost", "forbidden"],
    ),
    (
        r#"{"fragrance_id": 1361, "description": "Hinged painting with three panels  blabla...", "forbidden": true}"#,
        &["description", "forbidden"],
    ),
    (
        r#"{"fragrance_id": 1624, "description": "Hebrew religious song sung at Sabbath meals  blabla...", "forbidden": true, "cost": 52}"#,
        &["description", "cost", "forbidden"],
    ),
    (
        r#"{"fragrance_id": 3723, "name": "XeniumHOOOOOOOOOOLAAA", "description": "Gift made to a guest or ambassador; any compulsory gift  blabla...", "forbidden": true}"#,
        &["name", "description", "forbidden"],
    ),
    (
        r#"{"fragrance_id": 1999, "description": "Guide for fixing a pottery mould for plates  blabla...", "forbidden": true, "cost": 38}"#,
        &["description", "cost", "forbidden"],
    ),
];

#[tokio::test]
async fn a_record_is_answered_with_what_became_of_it_and_counted() {
    let server = Server::start(Configure::default()).await;
    let edit = r#"{"fragrance_id": 1, "name": "New", "cost": 12.50}"#;
    let reply = server.send(edit).await;
    assert_eq!((reply.status, reply.content_type()), (200, "application/json"));
    assert_eq!(reply.json(), json!({"outcome": "applied", "position": 1, "changed": ["name", "cost"]}));
    let reply = server.send(edit).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"outcome": "unchanged", "position": 2})));

    let reply = server.send(r#"{"fragrance_id": 1, "cost": "much"}"#).await;
    assert_eq!(reply.status, 202);
    let id = reply.json()["id"].as_i64().unwrap();
    let (state, key): (String, String) =
        sqlx::query_as("select state, key from accord.quarantine where id = $1 and position = 3")
            .bind(id)
            .fetch_one(&server.library.pool)
            .await
            .unwrap();
    assert_eq!((reply.outcome().as_str(), state.as_str(), key.as_str()), ("quarantined", "open", "1"));

    let reply = server
        .send(r#"[{"fragrance_id": 2, "cost": 1.5}, {"fragrance_id": 2, "cost": 1.5}, {"cost": 3}]"#)
        .await;
    assert_eq!((reply.status, outcomes(&reply)), (202, words(["applied", "unchanged", "quarantined"])));
    let reply = server.send(r#"[{"fragrance_id": 2, "cost": 2.5}]"#).await;
    assert_eq!((reply.status, outcomes(&reply)), (200, words(["applied"])));
    let reply = server.send("[]").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"results": []})));

    for (outcome, count) in [("applied", 3), ("unchanged", 2), ("stale", 0), ("quarantined", 2)] {
        assert_eq!(server.counted(outcome).await, count, "{outcome}");
    }
    let ledger: i64 = sqlx::query_scalar("select count(*) from accord.ledger")
        .fetch_one(&server.library.pool)
        .await
        .unwrap();
    assert_eq!(ledger, 7, "one entry a record");
}

#[tokio::test]
async fn an_event_id_that_came_before_gets_the_original_outcome_also_after_a_restart() {
    let mut server = Server::start(Configure::default()).await;
    let first = deliver(&server, "msg_1", r#"{"fragrance_id": 1, "name": "First"}"#).await;
    let refused = deliver(&server, "msg_2", r#"{"fragrance_id": 1, "name": 5}"#).await;
    let batch = deliver(&server, "msg_3", r#"[{"fragrance_id": 2, "cost": 77777}, {"cost": 1}]"#).await;
    assert_eq!((first.status, refused.status, batch.status), (200, 202, 202));
    assert_eq!(first.json().get("duplicate"), None);
    // Newer than what is repeated below.
    server.send(r#"{"fragrance_id": 1, "name": "Second"}"#).await;

    for round in ["at once", "after a restart"] {
        for (id, original) in [("msg_1", &first), ("msg_2", &refused)] {
            let repeat = deliver(&server, id, r#"{"fragrance_id": 1, "name": "First"}"#).await;
            let mut expected = original.json();
            expected["duplicate"] = json!(true);
            assert_eq!((repeat.status, repeat.json()), (original.status, expected), "{id} {round}");
        }
        let repeat = deliver(&server, "msg_3", r#"[{"fragrance_id": 2, "cost": 77777}, {"cost": 1}]"#).await;
        let mut expected = batch.json();
        for result in expected["results"].as_array_mut().unwrap() {
            result["duplicate"] = json!(true);
        }
        assert_eq!((repeat.status, repeat.json()), (202, expected), "{round}");
        assert_eq!(server.get("/fragrance/1").await.json()["name"], "Second", "{round}");
        server.restart().await;
    }
    let other = deliver(&server, "msg_4", r#"{"fragrance_id": 1, "name": "Third"}"#).await;
    assert_eq!((other.outcome().as_str(), &other.json()["position"]), ("applied", &json!(6)));
}

#[tokio::test]
async fn an_event_that_many_deliver_at_once_is_applied_once() {
    let server = Server::start(Configure::default()).await;
    let edit = r#"{"fragrance_id": 1, "name": "New"}"#;
    let deliveries = (0..50).map(|_| deliver(&server, "msg_1", edit));
    let replies = futures_util::future::join_all(deliveries).await;
    let original = |reply: &&Reply| reply.json().get("duplicate").is_none();
    assert_eq!(replies.iter().filter(original).count(), 1);
    assert!(replies.iter().all(|r| r.status == 200 && r.outcome() == "applied" && r.json()["position"] == 1));
    assert_eq!((server.counted("applied").await, server.counted("duplicate").await), (1, 49));
}

#[tokio::test]
async fn a_body_in_quarantine_keeps_what_its_headers_say_of_it_and_no_secret() {
    let server = Server::start(Configure::default()).await;
    let kept = [
        ("content-encoding", "gzip"),
        ("content-type", "application/x-nonsense"),
        ("user-agent", "python-requests/2.34.2"),
        ("x-request-id", "call-7"),
    ];
    let secret = [("authorization", "Bearer s3cret"), ("cookie", "s3cret"), ("x-api-key", "s3cret")];
    let reply = server.send_with(&[&kept[..], &secret[..]].concat(), b"\x1f\x8b\x08\x00".to_vec()).await;
    assert_eq!((reply.status, reply.outcome().as_str()), (202, "quarantined"));
    let headers: Value =
        sqlx::query_scalar("select headers from accord.body").fetch_one(&server.library.pool).await.unwrap();
    for (name, value) in kept {
        assert!(headers.as_array().unwrap().contains(&json!([name, value])), "{name} in {headers}");
    }
    assert!(!headers.to_string().contains("s3cret"), "{headers}");
}

#[tokio::test]
async fn the_bodies_that_the_real_cms_sends_are_applied_as_they_are() {
    let server = Server::start(Configure::default()).await;
    for (body, changed) in CAPTURED {
        let delta: Value = serde_json::from_str(body).unwrap();
        let key = i32::try_from(delta["fragrance_id"].as_i64().unwrap()).unwrap();
        sqlx::query("insert into fragrances values ($1, 'Plain', 'Before', 101, false)")
            .bind(key)
            .execute(&server.library.pool)
            .await
            .unwrap();
        let headers = [("content-type", "application/json"), ("user-agent", "python-requests/2.34.2")];
        let reply = server.send_with(&headers, body).await;
        assert_eq!((reply.status, reply.outcome().as_str()), (200, "applied"), "{body}");
        let mut told: Vec<_> = reply.json()["changed"].as_array().unwrap().clone();
        let mut expected: Vec<Value> = changed.iter().map(|name| json!(name)).collect();
        told.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(told, expected, "{body}");

        let mut row = json!({"fragrance_id": key, "name": "Plain", "description": "Before", "cost": 101, "forbidden": false});
        for (field, value) in delta.as_object().unwrap() {
            row[field] = value.clone();
        }
        assert_eq!(server.get(&format!("/fragrance/{key}")).await.json(), row, "after {body}");
    }
}

#[tokio::test]
async fn readers_find_the_rows_as_the_smart_library_served_them() {
    let server = Server::start(Configure::default()).await;
    server.send(r#"{"fragrance_id": 3, "name": "Süß \"3\"", "cost": 12.50, "forbidden": true}"#).await;

    let list = server.get("/fragrances").await;
    assert_eq!((list.status, list.content_type()), (200, "application/json"));
    let document = list.json();
    let rows = document["data"].as_array().unwrap();
    assert_eq!(document.as_object().unwrap().len(), 1, "`data` alone");
    assert_eq!(rows.len(), usize::try_from(FRAGRANCES).unwrap());
    for row in rows {
        let item = server.get(&format!("/fragrance/{}", row["fragrance_id"])).await;
        assert_eq!((item.status, item.content_type(), &item.json()), (200, "application/json", row));
        let fields: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.len(), 5, "{fields:?}");
        assert!(row["fragrance_id"].is_i64() && row["name"].is_string() && row["description"].is_string());
        assert!(row["cost"].is_number() && row["forbidden"].is_boolean(), "{row}");
    }
    let edited = rows.iter().find(|row| row["fragrance_id"] == 3).unwrap();
    assert_eq!((&edited["name"], edited["cost"].to_string()), (&json!("Süß \"3\""), "12.50".to_owned()));

    for (path, status) in
        [("/fragrance/4999", 404), ("/fragrance/99999999999999999999", 404), ("/fragrance/rose", 400)]
    {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.content_type()), (status, "application/problem+json"), "{path}");
        let problem = reply.json();
        assert_eq!(problem["status"], status, "{path}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
        }
    }
}

async fn deliver(server: &Server, id: &str, body: &str) -> Reply {
    server.send_with(&[("content-type", "application/json"), ("webhook-id", id)], body).await
}

fn outcomes(reply: &Reply) -> Vec<Value> {
    let document = reply.json();
    document["results"].as_array().unwrap().iter().map(|result| result["outcome"].clone()).collect()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<Value> {
    words.map(Value::from).into()
}
