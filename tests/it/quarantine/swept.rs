//! What the leader does with the quarantine by itself, and what it leaves alone.

use std::time::Duration;

use accord::apply::{Applier, Mode, Settings, Stop};
use accord::quarantine::Replayer;
use accord::quarantine::sweep::Sweep;
use accord::telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::{Quarantine, replayer};
use crate::harness::{ITEM, Waist, Wish};

const ROW: &str = "insert into item values (1, 'rose', 1, 'x', 'mine')";

/// One round of a leader that has just begun to lead.
async fn round(waist: &Waist) {
    Sweep::default().round(&waist.pool, &[replayer(waist)]).await.unwrap();
}

#[tokio::test]
async fn a_new_leader_makes_up_for_what_came_before_it() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"old""#).await;
    q.waist.send(r#"{"id":1,"name":"new"}"#).await;
    round(&q.waist).await;
    assert_eq!(q.state(entry).await, "superseded");
}

#[tokio::test]
async fn the_replay_of_an_older_entry_settles_nothing() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let older = q.refuse(r#""id":1,"name":"first""#).await;
    let newer = q.refuse(r#""id":1,"name":"second""#).await;
    assert_eq!(q.replay(older).await, "applied");
    round(&q.waist).await;
    assert_eq!(q.state(newer).await, "open");
}

#[tokio::test]
async fn a_row_that_was_made_anew_settles_every_column() {
    let defaults = format!("{ITEM}customProperties: [{{property: accord.insert, value: defaults}}]\n");
    let q = Quarantine::new().await;
    let wish = Wish { contract: &defaults, ..Wish::default() };
    let defaults = Waist::on(&q.waist.url, q.waist.pool.clone(), wish);
    let entry = q.refuse(r#""id":1,"price":9"#).await;
    defaults.send(r#"{"id":1,"name":"new"}"#).await;
    round(&defaults).await;
    assert_eq!(q.state(entry).await, "superseded");
}

#[tokio::test]
async fn an_entry_of_which_nothing_can_be_read_is_left_to_people() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1"#).await;
    q.waist.send(r#"{"id":1,"name":"new","price":2,"tag":"y"}"#).await;
    round(&q.waist).await;
    assert_eq!(q.state(entry).await, "open");
}

#[tokio::test]
async fn nothing_is_tried_before_its_time_and_a_pause_is_a_day_at_most() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"price":2}"#).await;
    waist
        .sql("update accord.quarantine set next_attempt_at = now() + interval '1 hour', attempts = 40")
        .await;
    round(&waist).await;
    let attempts = "select attempts::text from accord.quarantine";
    assert_eq!(waist.read(attempts).await, "40");

    waist.sql("update accord.quarantine set next_attempt_at = now()").await;
    round(&waist).await;
    let pause = "select extract(epoch from next_attempt_at - attempted_at)::int::text from accord.quarantine";
    assert_eq!((waist.read(attempts).await, waist.read(pause).await), ("41".to_owned(), "86400".to_owned()));
}

#[tokio::test]
async fn what_no_waiting_heals_is_not_tried_again_by_itself() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"price":"much""#).await;
    assert_eq!(q.replay(entry).await, "quarantined");
    let next = "select (next_attempt_at is null)::text from accord.quarantine";
    assert_eq!(q.waist.read(next).await, "true");
}

#[tokio::test]
async fn only_rows_of_the_parents_table_wake_what_waits_for_a_parent() {
    let contract = ITEM.replace(
        "tag, logicalType: string, physicalType: text",
        "parent, logicalType: integer, physicalType: integer",
    );
    let table = "create table parent (id integer primary key);
                 create table item (id integer primary key, name text, price numeric,
                                    parent integer references parent)";
    let child = Waist::new(Wish { contract: &contract, table, ..Wish::default() }).await;
    child.sql("alter table item alter name type varchar(20)").await;
    child.send(r#"{"id":1,"name":"a","price":1,"parent":7}"#).await;
    child.sql("update accord.quarantine set next_attempt_at = now() + interval '1 day'").await;
    child.send(r#"{"id":2,"name":"b","price":1,"parent":null}"#).await;
    round(&child).await;
    assert_eq!(child.read("select attempts::text from accord.quarantine").await, "0");
}

#[tokio::test]
async fn a_pipeline_that_takes_nothing_holds_up_no_other() {
    let waist = Waist::new(Wish::default()).await;
    let other = Waist::on(&waist.url, waist.pool.clone(), Wish { name: "others", ..Wish::default() });
    for waist in [&waist, &other] {
        waist.send(r#"{"id":1,"price":2}"#).await;
    }
    let settings = Settings {
        name: "others".to_owned(),
        gate: other.gate.clone(),
        connect: other.url.parse().unwrap(),
        mode: Mode::Apply,
        reference: None,
        max_batch: 1,
        max_held: 1,
        max_held_bytes: 1024,
        hold: Duration::from_secs(1),
        metrics: Metrics::new().pipeline("others"),
    };
    let stop = Stop { asked: CancellationToken::new(), drain: CancellationToken::new() };
    let (nobody, _) = Applier::new(settings, stop);
    let stuck = Replayer::new("others", other.gate.clone(), nobody, other.pool.clone());
    waist.sql("update accord.quarantine set next_attempt_at = now()").await;
    Sweep::default().round(&waist.pool, &[stuck, replayer(&waist)]).await.unwrap();
    let attempts = "select string_agg(concat(p.name, ' ', q.attempts), ', ' order by p.name)
                    from accord.quarantine q join accord.pipeline p on p.id = q.pipeline";
    assert_eq!(waist.read(attempts).await, "items 1, others 0");
}

#[tokio::test]
async fn newer_data_of_another_pipeline_of_the_table_settles_an_entry() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let other = Waist::on(&q.waist.url, q.waist.pool.clone(), Wish { name: "others", ..Wish::default() });
    let others = || Replayer::new("others", other.gate.clone(), other.applier.clone(), other.pool.clone());
    other.send(r#"{"id":1,"name":"before"}"#).await;
    let first = q.refuse(r#""id":1,"name":"old""#).await;
    let second = q.refuse(r#""id":1,"name":"old","price":9"#).await;
    let mut sweep = Sweep::default();
    sweep.round(&q.waist.pool, &[replayer(&q.waist), others()]).await.unwrap();
    assert_eq!(q.state(first).await, "open", "what came before it settles nothing");

    // A leader that knew of all before, and one that begins to lead only now.
    other.send(r#"{"id":1,"name":"new"}"#).await;
    sweep.round(&q.waist.pool, &[replayer(&q.waist), others()]).await.unwrap();
    assert_eq!(q.state(first).await, "superseded");
    assert_eq!(q.state(second).await, "open", "its price is still its own");
    other.send(r#"{"id":1,"price":2}"#).await;
    Sweep::default().round(&q.waist.pool, &[replayer(&q.waist)]).await.unwrap();
    assert_eq!(q.state(second).await, "superseded");
    let place = "select count(*)::text from accord.quarantine where closed_position is not null";
    assert_eq!(q.waist.read(place).await, "0", "a place in another ledger is none in its own");
}
