//! The corners of the rule of replay, one by one.

use accord::change::{Body, Change, Origin, Replay};
use accord::library::quarantine::close::{self, Decision};
use accord::library::quarantine::standing;

use super::Quarantine;
use crate::harness::{Waist, Wish, deletion};

const ROW: &str = "insert into item values (1, 'rose', 1, 'x', 'mine')";

/// Another try of an entry that says something else than its body: a deletion, say.
fn as_replay(entry: i64, change: Change) -> Change {
    Change { origin: Origin::Replay, replays: Some(Replay { entry, edited: false }), ..change }
}

async fn apply(q: &Quarantine, change: Change) -> &'static str {
    q.waist.applier.apply(vec![change]).await.unwrap()[0].outcome.as_str()
}

#[tokio::test]
async fn a_value_is_the_same_however_it_is_spelled() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"price":9"#).await;
    q.waist.sql("update item set price = 1.00").await;
    assert_eq!(q.replay(entry).await, "applied");
    assert_eq!(q.row().await, r#"["rose", 9, "x", "mine"]"#);
}

#[tokio::test]
async fn a_row_that_somebody_removed_is_not_made_again() {
    let q = Quarantine::new().await;
    let entry = q.refuse(r#""id":1,"name":"old","price":9,"tag":"old""#).await;
    // Made and removed by hand, but the sender has told of it in between.
    q.waist.sql(ROW).await;
    q.waist.send(r#"{"id":1,"price":2}"#).await;
    q.waist.sql("delete from item").await;
    assert_eq!(q.replay(entry).await, "stale");
    assert_eq!(q.waist.read("select count(*)::text from item").await, "0");
}

#[tokio::test]
async fn a_deletion_is_tried_again_only_if_the_whole_row_is_left_to_it() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"iris""#).await;
    q.waist.send(r#"{"id":1,"tag":"newer"}"#).await;
    assert_eq!(apply(&q, as_replay(entry, deletion(1))).await, "stale", "something newer named a column");

    let entry = q.refuse(r#""id":1,"name":"iris""#).await;
    q.waist.sql("update item set tag = 'by hand'").await;
    assert_eq!(apply(&q, as_replay(entry, deletion(1))).await, "stale", "somebody edited the row");

    let entry = q.refuse(r#""id":1,"name":"iris""#).await;
    let whole = q.refuse(r#""id":1,"name":"again","price":3,"tag":"z""#).await;
    assert_eq!(apply(&q, as_replay(entry, deletion(1))).await, "applied");
    assert_eq!(q.replay(whole).await, "applied", "what came after the deletion expects no row");
    assert_eq!(q.row().await, r#"["again", 3, "z", "own"]"#);
}

#[tokio::test]
async fn what_another_pipeline_says_of_the_same_table_counts_if_it_is_newer() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let other = Waist::on(&q.waist.url, q.waist.pool.clone(), Wish { name: "others", ..Wish::default() });
    other.send(r#"{"id":1,"name":"before"}"#).await;
    let entry = q.refuse(r#""id":1,"name":"old","price":9"#).await;
    other.send(r#"{"id":1,"price":1}"#).await;
    assert_eq!(q.replay(entry).await, "applied");
    assert_eq!(q.row().await, r#"["old", 1, "x", "mine"]"#);
    assert_eq!(q.state(entry).await, r#"released ["price"]"#);
}

#[tokio::test]
async fn an_entry_that_was_closed_meanwhile_stays_closed() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"iris""#).await;
    let body = Body::new(r#"{"id":1,"name":"iris"}"#, Vec::new());
    let change = as_replay(entry, q.waist.gate.judge_at(&body, "", Origin::Replay));
    let mut conn = q.waist.pool.acquire().await.unwrap();
    close::discard(&mut conn, entry, Decision { by: "test", reason: "enough" }).await.unwrap();
    assert_eq!(apply(&q, change).await, "stale");
    assert_eq!(q.row().await, r#"["rose", 1, "x", "mine"]"#);

    assert_eq!(standing::supersede(&mut *conn, &[entry], Some(9)).await.unwrap(), 0);
    assert_eq!(q.state(entry).await, "discarded");
}
