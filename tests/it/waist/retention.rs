//! Retention: what goes, and what must not.

use std::time::Duration;

use accord::library::retention::{Policy, Swept, sweep};

use crate::harness::{Waist, Wish};

const DAY: Duration = Duration::from_hours(24);
const POLICY: Policy =
    Policy { ledger: DAY, quarantine: DAY, event_id: DAY, reconciliation: DAY, check: DAY };

#[tokio::test]
async fn the_ledger_is_never_cut_past_the_oldest_open_quarantine_entry() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item values (1, 'a', 1, 'x')").await;
    for price in ["2", "true", "3", "false", "4"] {
        waist.send(&format!(r#"{{"id":1,"price":{price}}}"#)).await;
    }
    let mut conn = waist.pool.acquire().await.unwrap();
    assert_eq!(sweep(&mut conn, POLICY).await.unwrap(), Swept::default(), "all of it is young");

    let age = "update accord.ledger set at = at - interval '2 days';
               update accord.quarantine set at = at - interval '2 days';
               update accord.body set received_at = received_at - interval '2 days';
               insert into accord.event_id values (1, 'old', '{}', now() - interval '2 days'), (1, 'new', '{}', now())";
    waist.sql(age).await;
    let swept = sweep(&mut conn, POLICY).await.unwrap();
    assert_eq!(swept, Swept { ledger: 1, event_ids: 1, ..Swept::default() });
    assert_eq!(
        waist.read("select min(position)::text from accord.ledger").await,
        "2",
        "the first open entry's"
    );

    waist.sql("update accord.quarantine set state = 'discarded' where position = 2").await;
    let swept = sweep(&mut conn, POLICY).await.unwrap();
    assert_eq!(swept, Swept { ledger: 2, quarantine: 1, bodies: 1, ..Swept::default() });
    let left =
        waist.read("select string_agg(position::text, ' ' order by position) from accord.ledger").await;
    assert_eq!(left, "4 5");
    assert_eq!(
        waist.read("select count(*)::text from accord.body").await,
        "1",
        "an open entry keeps its bytes"
    );

    waist.send(r#"{"id":1,"price":5}"#).await;
    assert_eq!(waist.read("select max(position)::text from accord.ledger").await, "6", "positions go on");
}

#[tokio::test]
async fn old_reconciliations_go_but_the_newest_that_counted_rows_stays() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"name":"a","price":1,"tag":null}"#).await;
    // By age in days: only what is older than one, and has a successor that counted rows, may go.
    waist
        .sql(
            "insert into accord.reconciliation (pipeline, mode, trigger, state, finished_at)
             select 1, 'repair', 'schedule', state, now() - make_interval(days => age)
             from (values (1, 'held', 5), (2, 'clean', 4), (3, 'repaired', 3), (4, 'inconclusive', 2),
                          (5, 'aborted', 0)) as r(n, state, age)
             order by n;
             update accord.reconciliation set releases = 1 where state = 'repaired'",
        )
        .await;
    let mut conn = waist.pool.acquire().await.unwrap();
    let swept = sweep(&mut conn, POLICY).await.unwrap();
    assert_eq!(swept, Swept { reconciliations: 2, ..Swept::default() });
    let left = waist.read("select string_agg(state, ' ' order by id) from accord.reconciliation").await;
    assert_eq!(left, "repaired inconclusive aborted", "the run that was released may go before its release");
}

#[tokio::test]
async fn a_closed_entry_is_kept_from_when_it_was_closed() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"price":true}"#).await;
    waist
        .sql(
            "update accord.quarantine
             set state = 'purged', at = now() - interval '9 days', closed_at = now() - interval '1 hour'",
        )
        .await;
    let mut conn = waist.pool.acquire().await.unwrap();
    assert_eq!(sweep(&mut conn, POLICY).await.unwrap(), Swept::default(), "the mark is an hour old");
    waist.sql("update accord.quarantine set closed_at = now() - interval '2 days'").await;
    assert_eq!(sweep(&mut conn, POLICY).await.unwrap().quarantine, 1);
}

#[tokio::test]
async fn old_runs_of_checks_go_with_their_results() {
    let waist = Waist::new(Wish::default()).await;
    waist
        .sql(
            "insert into accord.check_run (pipeline, contract, started_at)
             values ('items', '1', now() - interval '2 days'), ('items', '1', now());
             insert into accord.check_result
                 (run, n, rule, name, dimension, severity, outcome, unit, threshold, duration_ms, keys)
             select run, 1, 'r', 'r', 'd', 'error', 'passed', 'rows', '{}', 1, '{}' from generate_series(1, 2) run",
        )
        .await;
    let mut conn = waist.pool.acquire().await.unwrap();
    assert_eq!(sweep(&mut conn, POLICY).await.unwrap(), Swept { checks: 1, ..Swept::default() });
    assert_eq!(waist.read("select string_agg(run::text, ' ') from accord.check_result").await, "2");
}

#[tokio::test]
async fn replays_of_many_entries_go_when_they_are_old() {
    let waist = Waist::new(Wish::default()).await;
    // By the age of their end in days; one that died never ended.
    waist
        .sql(
            "insert into accord.replay (filter, requested_by, total, state, requested_at, seen_at, finished_at)
             select '{}', by, 0, 'running', now() - interval '3 days', now() - seen, now() - ended
             from (values ('ended long ago', interval '2 days', interval '2 days'),
                          ('ended lately', interval '2 hours', interval '2 hours'),
                          ('died', interval '2 days', null), ('goes on', interval '1 second', null))
                 as r(by, seen, ended)",
        )
        .await;
    let mut conn = waist.pool.acquire().await.unwrap();
    let swept = sweep(&mut conn, POLICY).await.unwrap();
    assert_eq!(swept, Swept { replays: 2, ..Swept::default() });
    let left = waist.read("select string_agg(requested_by, ', ' order by id) from accord.replay").await;
    assert_eq!(left, "ended lately, goes on");
}

#[tokio::test]
async fn what_an_entry_is_judged_by_stays_in_the_ledgers_of_all_pipelines_of_its_table() {
    let waist = Waist::new(Wish::default()).await;
    let other = Waist::on(&waist.url, waist.pool.clone(), Wish { name: "others", ..Wish::default() });
    let elsewhere = Wish {
        name: "elsewhere",
        contract: &crate::harness::ITEM.replace("name: item", "name: thing"),
        ..Wish::default()
    };
    waist.sql("create table thing (like item including all); insert into item values (1, 'a', 1, 'x')").await;
    let elsewhere = Waist::on(&waist.url, waist.pool.clone(), elsewhere);
    other.send(r#"{"id":1,"price":2}"#).await;
    elsewhere.send(r#"{"id":1,"name":"a","price":2,"tag":"x"}"#).await;
    waist.send(r#"{"id":1,"price":true}"#).await;
    other.send(r#"{"id":1,"price":3}"#).await;
    elsewhere.send(r#"{"id":1,"price":3}"#).await;
    waist
        .sql(
            "update accord.ledger set at = at - interval '2 days';
             update accord.quarantine set at = at - interval '2 days'",
        )
        .await;
    let mut conn = waist.pool.acquire().await.unwrap();
    sweep(&mut conn, POLICY).await.unwrap();
    let left = "select string_agg(concat(p.name, ' ', l.position), ', ' order by p.name, l.position)
                from accord.ledger l join accord.pipeline p on p.id = l.pipeline";
    assert_eq!(
        waist.read(left).await,
        "items 1, others 2",
        "what is newer than the open entry, of its table"
    );

    waist.sql("update accord.quarantine set state = 'discarded', closed_at = now()").await;
    sweep(&mut conn, POLICY).await.unwrap();
    assert_eq!(waist.read(left).await, "");
}
