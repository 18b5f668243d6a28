//! A replay of many: what it takes, in which order, and what is known of it meanwhile.

use accord::library::quarantine::close::{self, Decision};
use accord::library::quarantine::read::Filter;
use accord::quarantine::bulk::{self, Progress};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::Quarantine;

/// More than one transaction takes.
const MANY: i64 = 250;

#[tokio::test(flavor = "multi_thread")]
async fn many_are_tried_once_from_the_oldest_on_and_their_progress_is_seen() {
    let q = Quarantine::new().await;
    q.waist.sql("insert into item select i, 'rose', 1, 'x', 'mine' from generate_series(1, 300) i").await;
    let refused = (1..=MANY).map(|id| format!(r#"{{"id":{id},"name":"iris","unknown":1}}"#));
    q.strict.send(&format!("[{}]", refused.collect::<Vec<_>>().join(","))).await;
    // One that is closed, one that newer data has settled, and one that is refused again.
    let mut conn = q.waist.pool.acquire().await.unwrap();
    close::discard(&mut conn, 3, Decision { by: "test", reason: "enough" }).await.unwrap();
    q.waist.send(r#"{"id":1,"name":"newer"}"#).await;
    q.waist.sql("alter table item add check (id <> 2 or name = 'rose')").await;

    let filter = Filter { rule: Some("additionalProperties".to_owned()), ..Filter::default() };
    let asked = bulk::request(&q.waist.pool, &filter, "test").await.unwrap();
    assert_eq!((asked.state.as_str(), asked.total), ("running", MANY - 1));

    let mut told = Vec::new();
    let replayers = [q.replayer.clone()];
    let ended = bulk::run(&q.waist.pool, &asked, &replayers, |progress| {
        told.push(progress);
        if told.len() > 1 {
            return;
        }
        block_in_place(|| {
            Handle::current().block_on(async {
                let seen = bulk::get(&q.waist.pool, asked.id).await.unwrap().unwrap();
                assert_eq!((seen.state.as_str(), seen.progress), ("running", progress), "others see it too");
                let tried = "select concat(min(id), ' ', max(id)) from accord.quarantine where attempts > 0";
                assert_eq!(q.waist.read(tried).await, "1 201", "the oldest come first");
                // What is kept from now on is for the next request.
                q.refuse(r#""id":290,"name":"iris""#).await;
            });
        });
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended, Progress { released: 247, superseded: 1, refused: 1 });
    assert_eq!(told, [Progress { released: 198, superseded: 1, refused: 1 }, ended]);
    let seen = bulk::get(&q.waist.pool, asked.id).await.unwrap().unwrap();
    assert_eq!((seen.state.as_str(), seen.progress, seen.finished_at.is_some()), ("done", ended, true));
    let untried =
        "select string_agg(id || ' ' || state, ', ' order by id) from accord.quarantine where attempts = 0";
    assert_eq!(q.waist.read(untried).await, "3 discarded, 251 open");
}
