//! What an error of the database means, by SQLSTATE: retried, waited for, or quarantined.

use std::time::Duration;

use accord::apply::Health;

use crate::harness::{ITEM_TABLE, Waist, Wish, eventually};

/// A trigger that fails with `code` the first `times` times that price 13 is written, and lets it pass from then on.
fn failing(code: &str, times: u32) -> String {
    format!(
        "{ITEM_TABLE};
         insert into item values (1, 'a', 1, 'x'), (2, 'b', 1, 'x');
         create sequence failures;
         create function fail() returns trigger language plpgsql as $$
             begin
                 if new.price = 13 and nextval('failures') <= {times} then
                     raise exception 'as wished' using errcode = '{code}';
                 end if;
                 return new;
             end $$;
         create trigger fail before update on item for each row execute function fail();"
    )
}

/// What becomes of the change that fails, and of its neighbour in the same batch.
async fn outcome(code: &str, times: u32) -> (Vec<&'static str>, Waist) {
    let table = failing(code, times);
    let waist = Waist::new(Wish { table: &table, ..Wish::default() }).await;
    let answers = waist.send(r#"[{"id":2,"price":2},{"id":1,"price":13}]"#).await;
    (answers.iter().map(|answer| answer.outcome.as_str()).collect(), waist)
}

#[tokio::test]
async fn what_may_heal_is_tried_again_and_only_data_errors_quarantine() {
    const ALWAYS: u32 = 1_000_000;
    for (code, times, expected) in [
        ("22012", ALWAYS, "quarantined"), // division by zero: the data's
        ("23514", ALWAYS, "quarantined"), // check
        ("54000", ALWAYS, "quarantined"), // too large for an index
        ("P0001", ALWAYS, "quarantined"), // raised by a trigger
        ("57014", ALWAYS, "quarantined"), // cancelled again and again
        ("57014", 2, "applied"),          // cancelled, then not
        ("40001", 4, "applied"),          // serialization failure
        ("40P01", 4, "applied"),          // deadlock
        ("55P03", 4, "applied"),          // lock timeout
        ("53100", 3, "applied"),          // disk full, for a while
        ("57P03", 3, "applied"),          // cannot connect now
        ("25006", 3, "applied"),          // read-only: a fail-over under way
        ("42501", 2, "applied"),          // a grant was missing, and came
        ("XX000", 2, "applied"),          // the server's own trouble
    ] {
        let (words, waist) = outcome(code, times).await;
        assert_eq!(words, ["applied", expected], "{code} {times} times");
        assert_eq!(waist.read("select count(*)::text from accord.ledger").await, "2", "{code}: once each");
        assert_eq!(waist.applier.health(), Health::Ready, "{code}");
    }
}

#[tokio::test]
async fn what_is_our_fault_halts_and_says_why() {
    let table = failing("42883", 1_000_000);
    let waist = Waist::new(Wish { table: &table, hold: Duration::from_secs(2), ..Wish::default() }).await;
    let refused = waist.applier.apply(waist.judge(r#"{"id":1,"price":13}"#)).await.unwrap_err();
    assert_eq!(refused, accord::apply::Refused::TimedOut);
    let Health::Halted { reason, .. } = waist.applier.health() else {
        panic!("{:?}", waist.applier.health())
    };
    assert!(reason.contains("as wished"), "{reason}");

    waist.sql("drop trigger fail on item").await;
    // The writer may just have begun its longest pause, which is as long as a change is held here.
    eventually(Duration::from_secs(20), "it recovers by itself", async || {
        waist.applier.apply(waist.judge(r#"{"id":2,"price":3}"#)).await
    })
    .await;
    let rows = waist.read("select string_agg(price::text, ' ' order by id) from item").await;
    assert_eq!(rows, "13 3", "what waited was applied first");
    let gap = waist.read("select gap_reasons::text from accord.pipeline").await;
    assert!(gap.contains("outage") && gap.contains("refused"), "{gap}");
}
