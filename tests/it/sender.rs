//! What replicas share about a webhook and its sender: the tokens, and what each saw.

use std::sync::Arc;
use std::time::Duration;

use accord::library::registration as stored;
use accord::source::sender::Sender;
use accord::source::token::Tokens;
use accord::source::webhook::WebhookStats;
use tokio_util::sync::CancellationToken;

use crate::harness::database;
use crate::registration::pipeline;

/// Longer than any test: nobody waits for it.
const RELOAD_EVERY: Duration = Duration::from_mins(1);

#[tokio::test]
async fn replicas_that_start_together_make_one_token() {
    let database = database().await;
    let pipeline = pipeline(&database).await;
    let starts = (0..8).map(|_| {
        let pool = database.pool.clone();
        tokio::spawn(async move { Tokens::load(pool, pipeline, RELOAD_EVERY).await.unwrap() })
    });
    let starts: Vec<_> = starts.collect();
    let mut replicas = Vec::new();
    for start in starts {
        replicas.push(start.await.unwrap());
    }

    let token = replicas[0].current().expose().to_owned();
    assert!(
        replicas
            .iter()
            .all(|replica| replica.current().expose() == token && replica.accepted().accepts(&token))
    );
    assert!(!replicas[0].accepted().accepts("") && !replicas[0].accepted().accepts(&token[1..]));
    let kept: Vec<String> =
        sqlx::query_scalar("select token from accord.webhook_token").fetch_all(&database.pool).await.unwrap();
    assert_eq!(kept, [token]);
}

#[tokio::test]
async fn a_rotated_token_is_told_when_all_know_it_and_the_old_one_still_gets_in() {
    let database = database().await;
    let pipeline = pipeline(&database).await;
    let load = || Tokens::load(database.pool.clone(), pipeline, RELOAD_EVERY);
    let (here, there) = (load().await.unwrap(), load().await.unwrap());
    let old = here.current().expose().to_owned();

    here.rotate().await.unwrap();
    let new: String = sqlx::query_scalar("select token from accord.webhook_token where retired_at is null")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(here.accepted().accepts(&old) && here.accepted().accepts(&new));
    assert_eq!(here.current().expose(), old, "the other replica does not know the new one yet");
    assert!(!there.accepted().accepts(&new));
    there.reload().await.unwrap();
    assert!(there.accepted().accepts(&old) && there.accepted().accepts(&new));

    sqlx::query("update accord.webhook_token set created_at = created_at - interval '1 hour'")
        .execute(&database.pool)
        .await
        .unwrap();
    here.reload().await.unwrap();
    assert_eq!(here.current().expose(), new);
    assert!(here.accepted().accepts(&old));

    sqlx::query("update accord.webhook_token set retired_at = retired_at - interval '8 days'")
        .execute(&database.pool)
        .await
        .unwrap();
    here.reload().await.unwrap();
    assert!(!here.accepted().accepts(&old), "a retired token expires");
    assert!(here.accepted().accepts(&new));
}

#[tokio::test]
async fn tokens_stay_in_force_while_the_library_is_away() {
    let database = database().await;
    let pipeline = pipeline(&database).await;
    let tokens = Tokens::load(database.pool.clone(), pipeline, RELOAD_EVERY).await.unwrap();
    let token = tokens.current().expose().to_owned();
    database.pool.close().await;
    assert!(tokens.reload().await.is_err());
    assert!(tokens.accepted().accepts(&token));
}

#[tokio::test]
async fn what_each_replica_saw_adds_up() {
    let database = database().await;
    let pipeline = pipeline(&database).await;
    let replica = || {
        let seen: Arc<WebhookStats> = Arc::default();
        (Arc::new(Sender::new(database.pool.clone(), pipeline, "fragrances", Arc::clone(&seen))), seen)
    };
    let ((here, seen_by_us), (there, seen_by_them)) = (replica(), replica());
    for _ in 0..3 {
        seen_by_us.count_unauthorized();
    }
    seen_by_them.count_unauthorized();
    seen_by_them.saw(chrono::Utc::now());
    assert_eq!(here.state().unauthorized, 3, "known here before it is shared");

    let stopped = CancellationToken::new();
    stopped.cancel();
    for sender in [&here, &there, &here, &here] {
        sender.keep_shared(None, RELOAD_EVERY, stopped.clone()).await;
    }
    let state = stored::load(&database.pool, pipeline).await.unwrap().unwrap();
    assert_eq!(state.unauthorized, 4, "each call counts once, however often it is shared");
    assert_eq!(state.last_webhook_at, there.state().last_webhook_at);
    assert!(state.last_webhook_at.is_some());
    assert_eq!(here.state(), state);
}
