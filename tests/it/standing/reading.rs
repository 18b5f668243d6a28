//! What is read of a pipeline: which runs count, and which do not.

use std::collections::BTreeMap;

use accord::reconcile::record::RunState;
use accord::standing::{Expected, Standing, read, read_all};

use crate::harness::{Waist, Wish};

/// A pipeline that its library knows.
async fn pipeline() -> Waist {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"name":"a","price":1,"note":"x"}"#).await;
    waist
}

async fn standing(waist: &Waist) -> Standing {
    let mut conn = waist.pool.acquire().await.unwrap();
    let mut standings = read_all(&mut conn, &BTreeMap::new()).await.unwrap();
    assert_eq!(standings.len(), 1);
    standings.remove(0)
}

#[tokio::test]
async fn a_run_whose_process_died_is_told_as_aborted() {
    let waist = pipeline().await;
    waist
        .sql(
            "insert into accord.reconciliation (pipeline, mode, trigger, state, started_at)
             select id, 'diff', 'manual', 'running', clock_timestamp() from accord.pipeline",
        )
        .await;
    assert_eq!(standing(&waist).await.reconciliation.unwrap().state, RunState::Aborted);
}

#[tokio::test]
async fn a_breaker_holds_until_a_later_run_made_up_for_it() {
    let waist = pipeline().await;
    for (mode, state, held) in [
        ("repair", "held", Some(1)),
        ("diff", "drift", Some(1)),
        ("repair", "inconclusive", Some(1)),
        ("repair", "held", Some(4)),
        ("repair", "drift", None),
        ("repair", "held", Some(6)),
        ("repair", "repaired", None),
        ("repair", "held", Some(8)),
        ("diff", "clean", None),
    ] {
        waist
            .sql(&format!(
                "insert into accord.reconciliation (pipeline, mode, trigger, state, started_at, finished_at)
                 select id, '{mode}', 'manual', '{state}', clock_timestamp(), clock_timestamp()
                 from accord.pipeline"
            ))
            .await;
        let standing = standing(&waist).await;
        assert_eq!(standing.held.map(|held| held.run), held, "after {mode} {state}");
    }
}

#[tokio::test]
async fn a_run_of_checks_that_gave_nothing_takes_nothing_back() {
    let waist = pipeline().await;
    let run = |error: &str, results: &str| {
        format!(
            "with run as (insert into accord.check_run (pipeline, contract, finished_at, error)
                          values ('items', '1', clock_timestamp(), {error}) returning id)
             insert into accord.check_result (run, n, rule, name, dimension, severity, outcome, unit, threshold,
                                              duration_ms, keys)
             select id, n, rule, rule, 'd', 'error', outcome, 'rows', '{{}}', 1, '{{}}'
             from run cross join (values {results}) as r(n, rule, outcome)"
        )
    };
    waist.sql(&run("null", "(1, 'good', 'passed'), (2, 'bad', 'failed')")).await;
    let first = standing(&waist).await.check.unwrap();
    assert_eq!((first.run, first.passed, first.failing), (1, 1, vec!["bad".to_owned()]));
    // It broke off: what it had by then says nothing.
    waist.sql(&run("'the database went away'", "(1, 'bad', 'passed')")).await;
    let then = standing(&waist).await.check.unwrap();
    assert_eq!(
        (then.run, then.failing, then.failing_since),
        (1, vec!["bad".to_owned()], first.failing_since)
    );
    // A run that ended without a failure in between begins the failure anew.
    waist.sql(&run("null", "(1, 'bad', 'warned')")).await;
    waist.sql(&run("null", "(1, 'bad', 'failed')")).await;
    let anew = standing(&waist).await.check.unwrap();
    assert_eq!((anew.run, anew.passed, anew.failed), (4, 1, 1));
    assert!(anew.failing_since > first.failing_since);
}

#[tokio::test]
async fn a_process_reads_its_own_pipelines_alone() {
    let waist = pipeline().await;
    let mut conn = waist.pool.acquire().await.unwrap();
    let of = |name: &str| BTreeMap::from([(name.to_owned(), Expected::default())]);
    assert_eq!(read(&mut conn, &of("items")).await.unwrap().len(), 1);
    assert_eq!(read(&mut conn, &of("others")).await.unwrap().len(), 0);
    assert_eq!(read_all(&mut conn, &of("others")).await.unwrap().len(), 1);
}
