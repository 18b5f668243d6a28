//! What was kept is replayed once the pause has ended, and never before.

use std::time::Duration;

use accord::apply::{Mode, ReferenceSettings};
use accord::contract::Identifier;

use super::Pausable;
use crate::harness::{Wish, database};

const FULL: &str = r#"{"id":1,"name":"A","price":1,"tag":"x"}"#;

#[tokio::test]
async fn it_is_replayed_in_the_order_in_which_it_came() {
    let mut p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.pause().await;
    // Each stands on the one before it, and two batches of the sweep are needed.
    for n in 0..150 {
        let body = format!(r#"[{{"id":1,"price":{n}}},{{"id":{},"name":"n","price":0,"tag":"t"}}]"#, n + 100);
        assert_eq!(p.send(&body).await, ["paused", "paused"]);
    }
    assert_eq!(p.send(r#"{"id":7,"name":"new","price":1,"tag":"x"}"#).await, ["paused"]);
    assert_eq!(p.send(r#"{"id":7,"name":"newer"}"#).await, ["paused"]);
    p.sweep().await;
    assert_eq!(p.waist.read("select count(*)::text from item").await, "1", "not while it is paused");
    assert_eq!(p.waist.read("select sum(attempts)::text from accord.quarantine").await, "0");
    p.resume().await;
    p.sweep().await;
    let states = "select string_agg(distinct state, ' ') from accord.quarantine";
    assert_eq!(p.waist.read(states).await, "released");
    let rows = "select string_agg(concat_ws(':', id, name, price), ' ' order by id) from item where id < 100";
    assert_eq!(p.waist.read(rows).await, "1:A:149 7:newer:1");
    assert_eq!(p.waist.read("select count(*)::text from item").await, "152");
    let order = "select bool_and(quarantine > before)::text from (
                     select quarantine, lag(quarantine, 1, 0::int8) over (order by position) as before
                     from accord.ledger where origin = 'replay') replays";
    assert_eq!(p.waist.read(order).await, "true");
}

#[tokio::test]
async fn what_came_after_the_pause_wins_over_what_was_kept_in_it() {
    let mut p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.pause().await;
    p.send(r#"{"id":1,"name":"B","tag":"kept"}"#).await;
    p.send(r#"{"id":1,"name":"C"}"#).await;
    p.resume().await;
    assert_eq!(p.send(r#"{"id":1,"name":"D"}"#).await, ["applied"]);
    p.sweep().await;
    assert_eq!(p.rows().await, "1:D:1:kept");
    assert_eq!(p.states().await, "released superseded");
}

#[tokio::test]
async fn in_refetch_mode_the_reference_has_the_say() {
    let source = database().await;
    let table = "create table item (id integer primary key, name text, price numeric, tag text);
                 insert into item values (1, 'A', 1, 'x')";
    sqlx::raw_sql(table).execute(&source.pool).await.unwrap();
    let reference = ReferenceSettings {
        connect: source.url.parse().unwrap(),
        schema: None,
        table: Identifier::new("item").unwrap(),
        timeout: Duration::from_secs(5),
    };
    let wish = Wish { mode: Mode::Refetch, reference: Some(reference), ..Wish::default() };
    let mut p = Pausable::new(wish).await;
    let at_source = async |name: &'static str| {
        sqlx::query("update item set name = $1").bind(name).execute(&source.pool).await.unwrap();
    };
    p.send(FULL).await;
    p.pause().await;
    at_source("B").await;
    p.send(r#"{"id":1,"name":"B"}"#).await;
    at_source("C").await;
    p.send(r#"{"id":1,"name":"C"}"#).await;
    assert_eq!(p.rows().await, "1:A:1:x", "the reference is not followed either");
    p.resume().await;
    at_source("D").await;
    assert_eq!(p.send(r#"{"id":1,"name":"D"}"#).await, ["applied"]);
    p.sweep().await;
    assert_eq!(p.rows().await, "1:D:1:x");
    assert_eq!(p.states().await, "superseded superseded");

    p.pause().await;
    at_source("E").await;
    p.send(r#"{"id":1,"name":"E"}"#).await;
    p.resume().await;
    p.sweep().await;
    assert_eq!(p.rows().await, "1:E:1:x");
}

#[tokio::test]
async fn what_is_due_stays_when_its_pipeline_is_paused_again() {
    let mut p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.send(r#"{"id":2,"price":3}"#).await;
    p.pause().await;
    p.send(r#"{"id":1,"price":2}"#).await;
    p.waist.sql("update accord.quarantine set next_attempt_at = now() where reason = 'incomplete'").await;
    p.resume().await;
    p.pause().await;
    p.sweep().await;
    assert_eq!((p.states().await, p.rows().await), ("open open".into(), "1:A:1:x".into()));
    p.send(r#"{"id":1,"price":3}"#).await;
    p.resume().await;
    p.sweep().await;
    assert_eq!((p.states().await, p.rows().await), ("open released released".into(), "1:A:3:x".into()));
}

#[tokio::test]
async fn what_is_refused_for_a_reason_of_its_own_stays_with_it() {
    let mut p = Pausable::new(Wish::default()).await;
    p.waist.sql("alter table item add check (price >= 0)").await;
    p.send(FULL).await;
    p.pause().await;
    p.send(r#"[{"id":1,"price":-1},{"id":2,"price":5},{"id":1,"tag":"z"}]"#).await;
    p.resume().await;
    p.sweep().await;
    let kept = "select string_agg(concat_ws(' ', state, last_violations -> 0 ->> 'rule', next_attempt_at > now()), ', '
                                  order by id) from accord.quarantine";
    let found = p.waist.read(kept).await;
    assert_eq!(found, "open check, open incomplete t, released", "a delta for no row may still heal");
    p.send(r#"{"id":2,"name":"late","price":0,"tag":"y"}"#).await;
    p.waist
        .sql("update accord.quarantine set next_attempt_at = now() where next_attempt_at is not null")
        .await;
    p.sweep().await;
    assert_eq!(p.rows().await, "1:A:1:z 2:late:0:y");
    assert_eq!(p.states().await, "open superseded released", "the record that came later says its price");
}

#[tokio::test]
async fn superseding_goes_on_while_a_pipeline_is_paused() {
    let mut p = Pausable::new(Wish::default()).await;
    p.send(FULL).await;
    p.send(r#"{"id":1,"price":true}"#).await;
    p.send(r#"{"id":1,"price":2}"#).await;
    p.pause().await;
    p.sweep().await;
    assert_eq!(p.states().await, "superseded");
}
