//! With the CMS's database as reference a payload is a hint: whatever it says, the row becomes the CMS's.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::harness::{
    Configure, Fault, Server, TcpProxy, database, eventually, fragrances, plant_fragrances, private_postgres,
};

const SOON: Duration = Duration::from_secs(30);

/// A server whose reference is the CMS's database, and that database.
struct Scene {
    server: Server,
    cms: PgPool,
}

impl Scene {
    async fn new(url: &str, cms: PgPool) -> Self {
        plant_fragrances(&cms).await;
        let server = Server::start(Configure { reference: Some(url), ..Configure::default() }).await;
        Self { server, cms }
    }

    /// An edit that the CMS tells nobody of.
    async fn edit(&self, sql: &'static str) {
        assert_eq!(sqlx::query(sql).execute(&self.cms).await.unwrap().rows_affected(), 1, "{sql}");
    }

    /// A change of the library's own row, made behind our back.
    async fn drift(&self, sql: &'static str) {
        let drifted = sqlx::query(sql).execute(&self.server.library.pool).await.unwrap();
        assert_eq!(drifted.rows_affected(), 1, "{sql}");
    }

    /// Delivers a delta; afterwards the library says of its row what the CMS says.
    async fn tell(&self, body: &str) -> String {
        let key = serde_json::from_str::<serde_json::Value>(body).unwrap()["fragrance_id"].as_i64();
        let reply = self.server.send(body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let key = key.map(|key| i32::try_from(key).unwrap());
        let library = fragrances(&self.server.library.pool, key).await;
        assert_eq!(library, fragrances(&self.cms, key).await, "after {body}");
        reply.outcome()
    }

    async fn is_in_accord(&self) {
        assert_eq!(fragrances(&self.server.library.pool, None).await, fragrances(&self.cms, None).await);
    }
}

#[tokio::test]
async fn whatever_a_payload_says_the_row_becomes_the_references() {
    let database = database().await;
    let scene = Scene::new(&database.url, database.pool.clone()).await;

    // Values that the CMS does not have, while the row is right and while it is not.
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "name": "A lie", "cost": 99999}"#).await, "stale");
    scene.edit("update fragrances set name = 'The truth', cost = 12.50 where fragrance_id = 1").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "name": "Another lie"}"#).await, "applied");

    // What is told is what the CMS has, and comes twice.
    scene.edit("update fragrances set forbidden = true where fragrance_id = 2").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 2, "forbidden": true}"#).await, "applied");
    assert_eq!(scene.tell(r#"{"fragrance_id": 2, "forbidden": true}"#).await, "unchanged");

    // The event of the first edit comes after that of the second.
    scene.edit("update fragrances set description = 'First' where fragrance_id = 3").await;
    scene.edit("update fragrances set description = 'Second' where fragrance_id = 3").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 3, "description": "Second"}"#).await, "applied");
    assert_eq!(scene.tell(r#"{"fragrance_id": 3, "description": "First"}"#).await, "stale");

    // A field that the event does not name was edited too.
    scene.edit("update fragrances set cost = null, description = null where fragrance_id = 4").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 4, "description": null}"#).await, "applied");

    // The CMS has deleted the row since.
    scene.edit("delete from fragrances where fragrance_id = 5").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 5, "name": "Ghost"}"#).await, "applied");
    assert_eq!(scene.tell(r#"{"fragrance_id": 5, "name": "Ghost"}"#).await, "stale");

    // The library lacks the row, and the delta alone could not make one.
    scene.drift("delete from fragrances where fragrance_id = 6").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 6, "cost": 1}"#).await, "applied");

    // Neither has it, although the event carries all that a row needs.
    let phantom =
        r#"{"fragrance_id": 4999, "name": "Phantom", "description": "", "cost": 1, "forbidden": false}"#;
    assert_eq!(scene.tell(phantom).await, "stale");

    // The library's row was altered behind our back.
    scene.drift("update fragrances set cost = 666 where fragrance_id = 7").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 7, "forbidden": false}"#).await, "applied");
    scene.is_in_accord().await;
}

#[tokio::test]
async fn a_batch_of_truth_lies_and_ghosts_ends_in_accord() {
    let database = database().await;
    let scene = Scene::new(&database.url, database.pool.clone()).await;
    scene.edit("update fragrances set name = 'Told' where fragrance_id = 10").await;
    scene.edit("delete from fragrances where fragrance_id = 11").await;
    scene.drift("delete from fragrances where fragrance_id = 12").await;
    let reply = scene
        .server
        .send(
            r#"[{"fragrance_id": 10, "name": "Old"}, {"fragrance_id": 10, "name": "Told"},
                {"fragrance_id": 11, "cost": 3}, {"fragrance_id": 12, "cost": 4}, {"fragrance_id": 13, "cost": 5}]"#,
        )
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let results = reply.json();
    let words: Vec<_> = results["results"].as_array().unwrap().iter().map(|r| r["outcome"].clone()).collect();
    assert_eq!(words, ["applied", "unchanged", "applied", "applied", "stale"]);
    scene.is_in_accord().await;
}

#[tokio::test]
async fn a_reference_row_that_breaks_the_contract_goes_to_quarantine_with_its_violation() {
    let database = database().await;
    let scene = Scene::new(&database.url, database.pool.clone()).await;
    let before = fragrances(&scene.server.library.pool, Some(1)).await;
    for (sql, pointer, rule) in [
        ("update fragrances set cost = -1 where fragrance_id = 1", "/cost", "minimum"),
        ("update fragrances set cost = 1, name = '' where fragrance_id = 1", "/name", "minLength"),
        ("update fragrances set name = null where fragrance_id = 1", "/name", "type"),
    ] {
        scene.edit(sql).await;
        // The payload itself is beyond reproach.
        let reply = scene.server.send(r#"{"fragrance_id": 1, "forbidden": true}"#).await;
        assert_eq!((reply.status, reply.outcome().as_str()), (202, "quarantined"), "{reply:?}");
        let violations = reply.json()["violations"].clone();
        assert_eq!(violations.as_array().unwrap().len(), 1, "{violations}");
        assert_eq!((&violations[0]["pointer"], &violations[0]["rule"]), (&json!(pointer), &json!(rule)));
        assert_eq!(fragrances(&scene.server.library.pool, Some(1)).await, before, "nothing of it is applied");
    }
    scene.edit("update fragrances set name = 'Mended' where fragrance_id = 1").await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "name": "Mended"}"#).await, "applied");
    scene.is_in_accord().await;
}

#[tokio::test]
async fn without_its_reference_a_payload_is_applied_and_a_gap_marked_until_it_is_back() {
    let mut postgres = private_postgres().await;
    postgres.create_database("cms").await.unwrap();
    let url = postgres.url("cms");
    let scene = Scene::new(&url, PgPool::connect(&url).await.unwrap()).await;
    let has_gap = async || scene.server.gap_reasons().await.iter().any(|reason| reason == "reference");
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "name": "A lie"}"#).await, "stale");
    assert!(!has_gap().await);

    postgres.stop_immediate().await.unwrap();
    let reply = scene.server.send(r#"{"fragrance_id": 1, "name": "Unverified"}"#).await;
    assert_eq!((reply.status, reply.outcome().as_str()), (200, "applied"), "{reply:?}");
    assert_eq!(scene.server.get("/fragrance/1").await.json()["name"], "Unverified");
    assert!(has_gap().await, "the gap commits with the change");
    assert_eq!(scene.server.get("/readyz").await.status, 200, "the reference is not ours");

    postgres.start_again().await.unwrap();
    eventually(SOON, "the reference is asked again", async || {
        let reply = scene.server.send(r#"{"fragrance_id": 1, "name": "Unverified"}"#).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let library = fragrances(&scene.server.library.pool, Some(1)).await;
        if library[0].contains("Unverified") { Err(library) } else { Ok(()) }
    })
    .await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "name": "A lie again"}"#).await, "stale");
    scene.is_in_accord().await;
}

/// An editor at the CMS, and a messenger who now and then lies, repeats himself, or dawdles; in the end he gets
/// every message there.
async fn edit_and_tell(scene: &Scene, keys: Vec<i32>, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut late = Vec::new();
    for _ in 0..30 {
        let key = keys[dice.random_range(0..keys.len())];
        let cost = dice.random_range(0..1000);
        // A row may be gone by now: then there is nothing to edit, and still something to tell.
        let edit = match dice.random_range(0..10) {
            0 => sqlx::query("delete from fragrances where fragrance_id = $1").bind(key),
            _ => sqlx::query("update fragrances set cost = $2 where fragrance_id = $1").bind(key).bind(cost),
        };
        edit.execute(&scene.cms).await.unwrap();
        let truth = json!({"fragrance_id": key, "cost": cost}).to_string();
        let lie = json!({"fragrance_id": key, "name": "A lie", "cost": 5000}).to_string();
        let messages = match dice.random_range(0..4) {
            0 => vec![lie],
            1 => vec![truth.clone(), lie, truth],
            2 => {
                late.push(truth);
                late.drain(..late.len() / 2).collect()
            }
            _ => vec![truth],
        };
        for message in messages {
            assert_eq!(scene.server.send(message).await.status, 200);
        }
    }
    for message in late {
        assert_eq!(scene.server.send(message).await.status, 200);
    }
}

#[tokio::test]
async fn in_a_throng_of_edits_lies_and_stragglers_the_library_ends_in_accord() {
    let database = database().await;
    let scene = Scene::new(&database.url, database.pool.clone()).await;
    // Each key belongs to two editors, so that messages of one cross edits of the other.
    let editors = (0..8).map(|n| {
        let keys = (0..40).filter(|key| [n % 4, (n + 1) % 4].contains(&(key % 4))).collect();
        edit_and_tell(&scene, keys, n.unsigned_abs().into())
    });
    futures_util::future::join_all(editors).await;
    scene.is_in_accord().await;
}

/// A reference that hangs is worse than one that is gone: everybody waits for it, unless we stop waiting.
#[tokio::test]
async fn a_reference_that_hangs_holds_nobody_up_for_long() {
    let database = database().await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, options.get_port()));
    let proxy = TcpProxy::in_front_of(target).await;
    let (from, to) = (target.to_string(), proxy.address().to_string());
    let scene = Scene::new(&database.url.replace(&from, &to), database.pool.clone()).await;
    assert_eq!(scene.tell(r#"{"fragrance_id": 1, "cost": 5000}"#).await, "stale");

    proxy.set(Fault::Hold).await;
    for key in 1..4 {
        let reply = scene.server.send(json!({"fragrance_id": key, "cost": 5000}).to_string()).await;
        assert_eq!((reply.status, reply.outcome().as_str()), (200, "applied"), "{reply:?}");
    }
    assert!(scene.server.gap_reasons().await.iter().any(|reason| reason == "reference"));

    proxy.set(Fault::None).await;
    eventually(SOON, "the reference is asked again", async || {
        let reply = scene.server.send(r#"{"fragrance_id": 1, "cost": 6000}"#).await;
        let library = fragrances(&scene.server.library.pool, Some(1)).await;
        if library == fragrances(&scene.cms, Some(1)).await { Ok(()) } else { Err(reply) }
    })
    .await;
}
