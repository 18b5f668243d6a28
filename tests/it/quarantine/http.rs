//! `/api/v1/quarantine`, on the real server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Configure, Reply, Server, eventually};

const JSON: &str = "application/json";
const SOON: Duration = Duration::from_secs(30);

/// A server with these entries: 1 and 2 in one body, about rows 1 and 2; 3 is no JSON.
async fn quarantined() -> Server {
    let server = Server::start(Configure::default()).await;
    let two = r#"[{"fragrance_id":1,"cost":-1},{"fragrance_id":2,"cost":-2,"name":"Two"}]"#;
    assert_eq!(server.send(two).await.status, 202);
    assert_eq!(server.send("{nonsense").await.status, 202);
    server
}

async fn post(server: &Server, path: &str, body: &str) -> (Reply, Option<String>) {
    server.post(&format!("/api/v1/quarantine{path}"), JSON, body).await
}

async fn ids(server: &Server, query: &str) -> Vec<i64> {
    let page = server.get(&format!("/api/v1/quarantine{query}")).await;
    assert_eq!(page.status, 200, "{page:?}");
    page.json()["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn entries_are_listed_by_what_they_are_asked_for() {
    let server = quarantined().await;
    assert_eq!(ids(&server, "").await, [3, 2, 1]);
    for (query, found) in [
        ("?pipeline=fragrances", vec![3, 2, 1]),
        ("?pipeline=others", vec![]),
        ("?reason=minimum", vec![2, 1]),
        ("?rule=json", vec![3]),
        ("?rule=none", vec![]),
        ("?key=2", vec![2]),
        ("?older_than=1h", vec![]),
        ("?newer_than=1h", vec![3, 2, 1]),
        ("?newer_than=1h&rule=minimum&key=1&state=open", vec![1]),
        ("?state=released", vec![]),
        ("?state=any", vec![3, 2, 1]),
    ] {
        assert_eq!(ids(&server, query).await, found, "{query}");
    }
    sqlx::raw_sql("update accord.quarantine set at = at - interval '1 day' where id = 1")
        .execute(&server.library.pool)
        .await
        .unwrap();
    assert_eq!(ids(&server, "?older_than=1h").await, [1]);
    assert_eq!(ids(&server, "?newer_than=1h").await, [3, 2]);

    let first = server.get("/api/v1/quarantine?limit=2&rule=minimum&state=any").await.json();
    assert_eq!(first["next"], json!(null), "two there are");
    let mut next = "/api/v1/quarantine?limit=1&state=any".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let page = server.get(&next).await.json();
        seen.push(page["data"][0]["id"].clone());
        next = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((Value::from(seen), next.as_str()), (json!([3, 2, 1]), ""));
}

#[tokio::test]
async fn an_entry_shows_all_that_is_kept_of_it() {
    let server = quarantined().await;
    server.send(r#"{"fragrance_id":2,"name":"Later"}"#).await;
    let entry = server.get("/api/v1/quarantine/2").await.json();
    assert_eq!(
        entry["payload"],
        json!({"text": r#"{"fragrance_id":2,"cost":-2,"name":"Two"}"#}),
        "its record alone"
    );
    let violation = json!({"pointer": "/cost", "rule": "minimum", "value": "-2"});
    for (name, value) in violation.as_object().unwrap() {
        assert_eq!(&entry["violations"][0][name], value);
    }
    for (name, value) in [
        ("pipeline", json!("fragrances")),
        ("state", json!("open")),
        ("contract", json!("1.0.0")),
        ("origin", json!("webhook")),
        ("key", json!("2")),
        ("pointer", json!("/1")),
        ("position", json!(2)),
        ("masked", json!(false)),
    ] {
        assert_eq!(entry[name], value, "{name}");
    }
    assert!(entry["row"]["name"].is_string(), "the row as it was");
    let outcomes: Vec<_> = entry["history"].as_array().unwrap().iter().map(|e| &e["outcome"]).collect();
    assert_eq!(outcomes, ["quarantined", "applied"]);
}

#[tokio::test]
async fn an_entry_is_replayed_as_it_is_or_edited() {
    let server = quarantined().await;
    let (reply, _) = post(&server, "/2/replay", "{}").await;
    assert_eq!((reply.status, &reply.json()["result"]["outcome"]), (200, &json!("quarantined")));
    server.send(r#"{"fragrance_id":2,"name":"Later"}"#).await;
    let edited = r#"{"payload": {"fragrance_id":2,"cost":2.50,"name":"Two"}}"#;
    let (reply, _) = post(&server, "/2/replay", edited).await;
    let told = reply.json();
    assert_eq!((&told["state"], &told["left_over"]), (&json!("released"), &json!(["name"])));
    assert_eq!(told["result"]["changed"], json!(["cost"]));
    let row = server.get("/fragrance/2").await.text;
    assert!(row.contains(r#""name":"Later""#) && row.contains(r#""cost":2.50"#), "{row}");
    let entry = server.get("/api/v1/quarantine/2").await.json();
    assert_eq!(entry["edit"]["payload"]["text"], r#"{"fragrance_id":2,"cost":2.50,"name":"Two"}"#);
    assert_eq!(entry["payload"]["text"], r#"{"fragrance_id":2,"cost":-2,"name":"Two"}"#);
    assert_eq!(post(&server, "/2/replay", "{}").await.0.status, 409);
}

#[tokio::test]
async fn what_is_purged_leaves_a_mark_and_nothing_else() {
    let server = quarantined().await;
    let (reply, _) = post(&server, "/1/purge", r#"{"reason": "erasure request"}"#).await;
    assert_eq!((reply.status, &reply.json()["bytes_shared_with"]), (200, &json!(1)), "{reply:?}");
    let (reply, _) = post(&server, "/2/discard", r#"{"reason": " a test "}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let entry = server.get("/api/v1/quarantine/2").await.json();
    assert_eq!((&entry["state"], &entry["closed_reason"]), (&json!("discarded"), &json!("a test")));
    assert_eq!(post(&server, "/2/discard", r#"{"reason": "again"}"#).await.0.status, 409);
    let (reply, _) = post(&server, "/2/purge", r#"{"reason": "erasure request"}"#).await;
    assert_eq!((reply.status, &reply.json()["bytes_shared_with"]), (200, &json!(0)));
    assert_eq!(post(&server, "/2/purge", r#"{"reason": "again"}"#).await.0.status, 409);
    let entry = server.get("/api/v1/quarantine/2").await.json();
    for gone in ["payload", "row", "edit", "last_violations"] {
        assert_eq!(entry[gone], json!(null), "{gone}");
    }
    assert_eq!(entry["violations"], json!([{"pointer": "/cost", "rule": "minimum", "message": "purged"}]));
    assert_eq!((&entry["closed_by"], &entry["closed_reason"]), (&json!("api"), &json!("erasure request")));
    let before = &entry["closed_before"];
    assert_eq!(
        (&before["state"], &before["by"], &before["reason"]),
        (&json!("discarded"), &json!("api"), &json!("a test")),
        "who put it aside, and why, is kept"
    );
    let entry = server.get("/api/v1/quarantine/1").await.json();
    assert_eq!((&entry["state"], &entry["closed_before"]), (&json!("purged"), &json!(null)), "it was open");
    let bytes: i64 =
        sqlx::query_scalar("select count(*) from accord.body where convert_from(bytes, 'utf8') like '%Two%'")
            .fetch_one(&server.library.pool)
            .await
            .unwrap();
    assert_eq!(bytes, 0);
}

#[tokio::test]
async fn a_replay_of_many_is_a_resource() {
    let mut server = quarantined().await;
    let (reply, location) = post(&server, "/replays", r#"{"filter": {"rule": "minimum"}}"#).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let location = location.unwrap();
    let ended = eventually(SOON, "the replay ends", async || {
        let bulk = server.get(&location).await.json();
        if bulk["state"] == "running" { Err(bulk) } else { Ok(bulk) }
    })
    .await;
    assert_eq!((&ended["state"], &ended["total"], &ended["refused"]), (&json!("done"), &json!(2), &json!(2)));

    let died = "insert into accord.replay (filter, requested_by, total, seen_at)
                values ('{}', 'test', 9, now() - interval '1 hour')";
    sqlx::query(died).execute(&server.library.pool).await.unwrap();
    server.restart().await;
    assert_eq!(server.get(&location).await.json()["state"], "done", "it survives a restart");
    assert_eq!(server.get("/api/v1/quarantine/replays/2").await.json()["state"], "aborted");
}

#[tokio::test]
async fn bad_input_is_answered_with_what_would_be_good() {
    let server = quarantined().await;
    for query in [
        "?limit=0",
        "?limit=501",
        "?limit=x",
        "?state=closed",
        "?unknown=1",
        "?before=x",
        "?older_than=soon",
        "?older_than=900000000years",
        "?key=%00",
        "?raw=maybe",
    ] {
        let reply = server.get(&format!("/api/v1/quarantine{query}")).await;
        assert_eq!(
            (reply.status, reply.content_type()),
            (400, "application/problem+json"),
            "{query}: {reply:?}"
        );
    }
    for path in ["/77", "/x", "/99999999999999999999", "/replays/77", "/replays/x"] {
        let reply = server.get(&format!("/api/v1/quarantine{path}")).await;
        assert_eq!(
            (reply.status, reply.content_type()),
            (404, "application/problem+json"),
            "{path}: {reply:?}"
        );
    }
    for (path, body, status) in [
        ("/77/replay", "{}", 404),
        ("/x/replay", "{}", 404),
        ("/1/replay", "", 400),
        ("/1/replay", "{", 400),
        ("/1/replay", r#"{"paylod": {}}"#, 422),
        ("/1/replay", "[]", 422),
        ("/1/replay", "null", 422),
        ("/1/replay", r#"[{"fragrance_id":1}]"#, 422),
        ("/1/discard", r#"["a list is no object"]"#, 422),
        ("/replays", "[{}]", 422),
        ("/replays", r#"{"filter": []}"#, 422),
        ("/1/discard", "{}", 422),
        ("/1/discard", r#"{"reason": " "}"#, 422),
        ("/1/discard", r#"{"reason": "\u0000"}"#, 422),
        ("/1/discard", r#"{"reason": "x", "more": 1}"#, 422),
        ("/77/discard", r#"{"reason": "x"}"#, 404),
        ("/1/purge", r#"{"reason": ""}"#, 422),
        ("/77/purge", r#"{"reason": "x"}"#, 404),
        ("/replays", "{}", 422),
        ("/replays", r#"{"filter": {"state": "released"}}"#, 422),
        ("/replays", r#"{"filter": {"pipeline": "none"}}"#, 422),
        ("/replays", r#"{"filter": {"older_than": "soon"}}"#, 422),
        ("/replays", r#"{"filter": {"key": "\u0000"}}"#, 422),
        ("/replays", r#"{"filter": {"id": 1}}"#, 422),
    ] {
        let (reply, _) = post(&server, path, body).await;
        assert_eq!(
            (reply.status, reply.content_type()),
            (status, "application/problem+json"),
            "{path} {body}: {reply:?}"
        );
    }
    for path in ["/1/replay", "/1/discard", "/1/purge", "/replays"] {
        let form = "application/x-www-form-urlencoded";
        let (reply, _) = server.post(&format!("/api/v1/quarantine{path}"), form, "{}").await;
        assert_eq!(reply.status, 415, "{path}");
    }
    for odd in [r#"{"payload": []}"#, r#"{"payload": 7}"#, r#"{"payload": "\u0000"}"#, r#"{"payload": null}"#]
    {
        let (reply, _) = post(&server, "/1/replay", odd).await;
        assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("open")), "{odd}: {reply:?}");
    }
    assert_eq!(ids(&server, "").await, [3, 2, 1], "nothing was lost on the way");
}

#[tokio::test]
async fn a_list_is_taken_for_an_object_nowhere() {
    let server = Server::start(Configure::default()).await;
    for (path, body) in [
        ("/checks", r#"["fragrances"]"#),
        ("/reconciliations", r#"["fragrances", "diff"]"#),
        ("/reconciliations/1/release", r#"["a reason"]"#),
        ("/pipelines/fragrances/pause", r#"["a reason"]"#),
        ("/pipelines/fragrances/resume", "[]"),
    ] {
        let (reply, _) = server.post(&format!("/api/v1{path}"), JSON, body).await;
        assert_eq!(
            (reply.status, reply.content_type()),
            (422, "application/problem+json"),
            "{path}: {reply:?}"
        );
        assert!(reply.text.contains("expected an object"), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn the_next_page_asks_for_the_same_and_begins_where_the_last_one_ended() {
    let server = quarantined().await;
    // Beside its first reason, entry 4 breaks a second rule.
    assert_eq!(server.send(r#"{"fragrance_id":4,"cost":-4,"forbidden":"perhaps"}"#).await.status, 202);
    assert_eq!(ids(&server, "?rule=type").await, [4]);
    assert_eq!(ids(&server, "?rule=minimum").await, [4, 2, 1]);
    assert_eq!(post(&server, "/2/discard", r#"{"reason": "a test"}"#).await.0.status, 200);

    for (asked, found) in [
        ("rule=minimum", vec![4, 1]),
        ("rule=minimum&state=any&pipeline=fragrances&newer_than=1h", vec![4, 2, 1]),
        ("state=discarded&key=2&reason=minimum", vec![2]),
    ] {
        let mut next = format!("/api/v1/quarantine?limit=1&{asked}");
        let mut seen = Vec::new();
        while !next.is_empty() && seen.len() < 10 {
            let page = server.get(&next).await.json();
            seen.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()));
            // What comes in meanwhile is newer than any page that is still to come.
            assert_eq!(server.send(r#"{"fragrance_id":5,"cost":-5}"#).await.status, 202);
            next = page["next"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(seen, found, "{asked}");
        sqlx::raw_sql("delete from accord.quarantine where key = '5'")
            .execute(&server.library.pool)
            .await
            .unwrap();
    }
}
