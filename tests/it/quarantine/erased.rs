//! What is purged is gone: from every table of schema `accord`, and from every answer.

use accord::library::quarantine::close::{self, Decided, Decision};
use serde_json::json;

use super::Quarantine;
use crate::harness::{Configure, Server, Waist, Wish};

const SECRET: &str = "s3cr3t-0f-a-person";

/// The tables of schema `accord` in which a text still stands, as text or in bytes.
async fn tables_with(pool: &sqlx::PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'accord' order by 1")
            .fetch_all(pool)
            .await
            .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let stands = format!(
            "select exists (select from accord.{table} t
                            where strpos(t::text, $1) > 0 or strpos(t::text, encode(convert_to($1, 'utf8'), 'hex')) > 0)"
        );
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(stands)).bind(text);
        if query.fetch_one(pool).await.unwrap() {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn purging_leaves_nothing_of_what_was_sent_in_any_table() {
    let server = Server::start(Configure::default()).await;
    let body = format!(r#"{{"fragrance_id":1,"cost":"{SECRET}","name":"{SECRET}"}}"#);
    let event = [("content-type", "application/json"), ("webhook-id", "e-1")];
    assert_eq!(server.send_with(&event, body.as_str()).await.status, 202);
    let attempt = async |body: String| {
        let path = "/api/v1/quarantine/1/replay";
        assert_eq!(server.post(path, "application/json", &body).await.0.status, 200);
    };
    attempt("{}".to_owned()).await;
    // Two edits, one after the other: the first one is replaced, and must not outlive the entry.
    attempt(format!(r#"{{"payload":{{"fragrance_id":1,"cost":"{SECRET} 1"}}}}"#)).await;
    attempt(format!(r#"{{"payload":{{"fragrance_id":1,"cost":"{SECRET} 2"}}}}"#)).await;
    assert_eq!(tables_with(&server.library.pool, SECRET).await, ["body", "event_id", "quarantine"]);

    let reason = r#"{"reason":"erasure request"}"#;
    let (reply, _) = server.post("/api/v1/quarantine/1/purge", "application/json", reason).await;
    assert_eq!((reply.status, &reply.json()["bytes_shared_with"]), (200, &json!(0)));
    assert_eq!(tables_with(&server.library.pool, SECRET).await, Vec::<String>::new());

    let again = server.send_with(&event, body).await.json();
    assert_eq!((&again["duplicate"], &again["violations"]), (&json!(true), &json!([])), "{again}");
}

#[tokio::test]
async fn bytes_that_another_entry_needs_stay_until_the_last_one_goes() {
    let q = Quarantine::new().await;
    let edit = |entry| q.replayer.one(entry, Some(br#"{"id":7}"#.to_vec()));
    let first = q.refuse(r#""id":1,"tag":"one""#).await;
    let second = q.refuse(r#""id":2,"tag":"two""#).await;
    // The same edit beside both.
    for entry in [first, second] {
        edit(entry).await.unwrap();
    }
    let mut conn = q.waist.pool.acquire().await.unwrap();
    let decision = Decision { by: "test", reason: "erasure" };
    for (entry, others, bodies) in [(first, 1, "2"), (second, 0, "0")] {
        let decided = close::purge(&mut conn, entry, decision).await.unwrap();
        assert_eq!(decided, Decided::Done { bytes_shared_with: others });
        assert_eq!(q.waist.read("select count(*)::text from accord.body").await, bodies);
    }
}

#[tokio::test]
async fn what_is_put_aside_is_not_tried_again() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"price":2}"#).await;
    let mut conn = waist.pool.acquire().await.unwrap();
    close::discard(&mut conn, 1, Decision { by: "test", reason: "enough" }).await.unwrap();
    let kept =
        "select concat_ws(' ', state, closed_by, closed_reason, next_attempt_at) from accord.quarantine";
    assert_eq!(waist.read(kept).await, "discarded test enough");
    let again = close::discard(&mut conn, 1, Decision { by: "other", reason: "twice" }).await.unwrap();
    assert!(matches!(again, Decided::Not(_)), "{again:?}");
}
