//! What an edit does: in the table, and to the listener.

use axum::http::StatusCode;
use cms_simulator::{Cms, Config, Event, Field, Fields, StoreError};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::postgres::Database;
use crate::support::{Ear, Running, config, config_without_database};

async fn row(connection: &mut PgConnection, key: i32) -> Value {
    sqlx::query_scalar("select to_jsonb(f) from fragrances f where fragrance_id = $1")
        .bind(key)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// The listener looks at the row while it is being called: the edit must be there already.
#[tokio::test]
async fn an_edit_is_committed_before_the_listener_hears_of_it() {
    let database = Database::with_fragrances(100).await;
    let cms = Running::start(config(&database)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cms.register(listener.local_addr().unwrap().port(), "/notifications").await;

    let editing = tokio::spawn({
        let cms = cms.cms.clone();
        async move { cms.edit(7, [(Field::Name, json!("Seen"))].into(), true).await }
    });
    let (_unanswered, _) = listener.accept().await.unwrap();
    assert_eq!(row(&mut database.connect().await, 7).await["name"], "Seen");
    assert!(!editing.is_finished());
    editing.abort();
}

#[tokio::test]
async fn the_listener_gets_the_delta_as_the_real_cms_sends_it() {
    let database = Database::with_fragrances(100).await;
    let cms = Running::start(config(&database)).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    cms.register(ear.port, "/notifications/token").await;

    let fields = [(Field::Forbidden, json!(true)), (Field::Name, json!("Crépuscule"))];
    cms.cms.edit(42, fields.into(), true).await.unwrap();

    let heard = ear.next().await;
    assert_eq!((heard.method.as_str(), heard.path.as_str()), ("POST", "/notifications/token"));
    assert_eq!(heard.headers["content-type"], "application/json");
    assert_eq!(heard.headers["user-agent"], "python-requests/2.34.2");
    assert_eq!(heard.text(), r#"{"fragrance_id": 42, "name": "Cr\u00e9puscule", "forbidden": true}"#);
}

#[tokio::test]
async fn an_edit_of_its_own_changes_exactly_what_the_delta_says() {
    let database = Database::with_fragrances(100).await;
    let mut connection = database.connect().await;
    let cms = Running::start(config(&database)).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    cms.register(ear.port, "/notifications").await;
    for _ in 0..50 {
        let before: Vec<(i32, Value)> = sqlx::query_as("select fragrance_id, to_jsonb(f) from fragrances f")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let event = cms.cms.edit_once().await.unwrap();
        let key = event.key().unwrap();
        let delta = ear.next().await.json();
        let (_, mut expected) = before.into_iter().find(|(edited, _)| *edited == key).unwrap();
        let unedited = expected.clone();
        for (field, value) in delta.as_object().unwrap() {
            expected[field] = value.clone();
        }
        assert_eq!(row(&mut connection, key).await, expected);
        assert_ne!(unedited, expected, "the edit changed nothing");
    }
}

#[tokio::test]
async fn the_same_seed_on_the_same_data_makes_the_same_edits() {
    async fn story(seed: u64) -> Vec<Event> {
        let database = Database::with_fragrances(100).await;
        let mut story = Vec::new();
        let config = Config { seed, inserts: 0.1, deletes: 0.1, ..config(&database) };
        let cms = Cms::new(config, None).unwrap();
        for _ in 0..60 {
            story.push(cms.edit_once().await.unwrap());
        }
        story
    }
    let (first, again, other) = tokio::join!(story(1), story(1), story(2));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.iter().any(|event| matches!(event, Event::Inserted { .. })));
    assert!(first.iter().any(|event| matches!(event, Event::Deleted { .. })));
}

#[tokio::test]
async fn the_last_listener_is_the_only_one() {
    let database = Database::with_fragrances(10).await;
    let mut cms = Running::start(config(&database)).await;
    let (mut first, mut second) =
        (Ear::answering(StatusCode::OK).await, Ear::answering(StatusCode::OK).await);
    cms.register(first.port, "/first/s3cret").await;
    cms.register(second.port, "/second/s3cret").await;
    cms.cms.edit_once().await.unwrap();
    second.next().await;
    assert!(first.heard_nothing_more());

    reqwest::Client::new().delete(format!("{}/listener", cms.url)).send().await.unwrap();
    cms.cms.edit_once().await.unwrap();
    assert!(second.heard_nothing_more());
    let story = cms.story();
    assert!(story.iter().any(|event| matches!(event, Event::Unheard { .. })), "{story:?}");
    assert!(!format!("{story:?}").contains("s3cret"), "the token is shown: {story:?}");
}

#[tokio::test]
async fn a_restart_forgets_the_listener() {
    let database = Database::with_fragrances(10).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = format!(r#"{{"host":"http://127.0.0.1","port":{},"endpoint":"/n"}}"#, ear.port);

    let shutdown = CancellationToken::new();
    let running = tokio::spawn(cms_simulator::run(listener, config(&database), None, shutdown.clone()));
    reqwest::Client::new().post(format!("http://{address}/listener")).body(body).send().await.unwrap();
    ear.next().await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    while !ear.heard_nothing_more() {}

    let (events, mut story) = tokio::sync::broadcast::channel(64);
    let shutdown = CancellationToken::new();
    let listener = TcpListener::bind(address).await.unwrap();
    let running =
        tokio::spawn(cms_simulator::run(listener, config(&database), Some(events), shutdown.clone()));
    while !matches!(story.recv().await.unwrap(), Event::Unheard { .. }) {}
    assert!(ear.heard_nothing_more());
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn whatever_the_answer_there_is_one_attempt() {
    let database = Database::with_fragrances(10).await;
    let mut cms = Running::start(config(&database)).await;
    let mut ear = Ear::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    cms.register(ear.port, "/notifications").await;
    cms.story();
    let key = cms.cms.edit_once().await.unwrap().key().unwrap();
    ear.next().await;
    assert!(ear.heard_nothing_more());
    assert_eq!(cms.story()[1..], [Event::Called { key, status: 500 }]);
}

#[tokio::test]
async fn an_unreachable_listener_is_only_told_of() {
    let database = Database::with_fragrances(10).await;
    let mut cms = Running::start(config(&database)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    cms.register(closed, "/notifications/s3cret").await;
    cms.cms.edit_once().await.unwrap();
    let story = cms.story();
    assert!(
        matches!(story.last(), Some(Event::Unreachable { reason, .. }) if reason.contains("refused")),
        "{story:?}"
    );
    assert!(!format!("{story:?}").contains("s3cret"));
}

#[tokio::test]
async fn added_and_deleted_rows_are_announced_only_on_request() {
    let database = Database::with_fragrances(10).await;
    let cms = Running::start(config(&database)).await;
    let mut ear = Ear::answering(StatusCode::OK).await;
    cms.register(ear.port, "/notifications").await;
    let fields = Fields::from([(Field::Name, json!("New")), (Field::Cost, json!(5))]);

    let key = cms.cms.insert(fields.clone(), false).await.unwrap().key().unwrap();
    cms.cms.delete(key, false).await.unwrap();
    assert!(ear.heard_nothing_more());

    let key = cms.cms.insert(fields, true).await.unwrap().key().unwrap();
    assert_eq!(ear.next().await.text(), format!(r#"{{"fragrance_id": {key}, "name": "New", "cost": 5}}"#));
    let expected =
        json!({ "fragrance_id": key, "name": "New", "description": null, "cost": 5, "forbidden": false });
    assert_eq!(row(&mut database.connect().await, key).await, expected);
    cms.cms.delete(key, true).await.unwrap();
    assert_eq!(ear.next().await.text(), format!(r#"{{"fragrance_id": {key}, "operation": "delete"}}"#));
}

#[tokio::test]
async fn an_edit_can_set_null_and_exact_numbers_and_is_refused_by_the_table_alone() {
    let database = Database::with_fragrances(10).await;
    let mut connection = database.connect().await;
    let cms = Running::start(config(&database)).await;
    let exact: Value = serde_json::from_str("12345678901234567890.50").unwrap();
    cms.cms.edit(3, [(Field::Cost, exact.clone()), (Field::Name, Value::Null)].into(), false).await.unwrap();
    let edited = row(&mut connection, 3).await;
    assert_eq!((&edited["cost"], &edited["name"]), (&exact, &Value::Null));

    let refused = cms.cms.edit(3, [(Field::Name, json!("x".repeat(151)))].into(), false).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    let missing = cms.cms.edit(99, Fields::new(), false).await;
    assert!(matches!(missing, Err(StoreError::NoSuchRow { key: 99 })), "{missing:?}");
}

#[tokio::test]
async fn a_database_that_is_away_does_not_stop_the_cms() {
    let cms = Running::start(config_without_database()).await;
    assert!(matches!(cms.cms.edit_once().await, Err(StoreError::Database(_))));
    let answer = reqwest::get(format!("{}/healthcheck", cms.url)).await.unwrap();
    assert_eq!(answer.status(), 200);
}
