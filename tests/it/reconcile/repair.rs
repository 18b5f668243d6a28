//! Drift of every kind is repaired through the waist, and what cannot be taken is kept aside once.

use std::time::Duration;

use accord::apply::{Applier, Mode, Settings, Stop};
use accord::reconcile::{Counts, Kind, Limits, Progress, State, Work, run};
use accord::telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, Setting};

#[tokio::test]
async fn drift_of_every_kind_is_repaired_and_stands_in_the_ledger() {
    for mode in [Mode::Refetch, Mode::Apply] {
        let both = "insert into item select i, 'n' || i, i, 't' from generate_series(1, 500) i";
        let scene = Scene::new(Setting { mode, both, ..Setting::default() }).await;
        scene
            .waist
            .sql(
                "delete from item where id % 100 = 7;
                 update item set price = price + 0.01, own = 'kept' where id % 100 = 8;
                 update item set tag = null where id = 9;
                 insert into item values (1001, 'orphan', 1, 'x'), (1002, 'orphan', 1, 'x');
                 update item set own = 'the library''s own' where id = 10",
            )
            .await;
        let report = scene.repair(Limits::default()).await;
        assert_eq!(report.state, State::Repaired, "{report:?}");
        assert_eq!(
            report.counts,
            Counts { missing: 5, stale: 6, orphan: 2, repaired: 13, ..Counts::default() },
            "{report:?}"
        );
        assert_eq!(report.exit_code(), 0);
        assert_eq!(report.drift.iter().filter(|drift| drift.kind == Kind::Orphan).count(), 2);
        let [source, library] = scene.contents().await;
        assert_eq!(source, library, "{mode:?}");
        assert_eq!(scene.waist.read("select count(*)::text from item where own = 'kept'").await, "5");
        let entries = scene
            .waist
            .read(
                "select json_agg(json_build_array(key, op, changes -> 'price') order by op <> 'insert', key desc)::text
                 from accord.ledger where origin = 'reconcile' and outcome = 'applied' and key in ('8', '7', '1001')",
            )
            .await;
        assert_eq!(
            entries,
            r#"[["7", "insert", [null, 7]], ["8", "update", [8.01, 8]], ["1001", "delete", [1, null]]]"#,
            "from → to"
        );
        let deletes_last = "select (min(position) filter (where op = 'delete')
                                  > max(position) filter (where op <> 'delete'))::text from accord.ledger";
        assert_eq!(scene.waist.read(deletes_last).await, "true");
        let again = scene.repair(Limits::default()).await;
        assert_eq!((again.state, again.counts), (State::Clean, Counts::default()));
        assert_eq!(scene.ledger().await, "13", "a clean run writes nothing");
    }
}

#[tokio::test]
async fn a_run_that_only_looks_writes_nothing_and_says_so() {
    let scene = Scene::new(Setting::default()).await;
    scene.at_source("insert into item select i, 'n', 1, 't' from generate_series(1, 30) i").await;
    let report = scene.look().await;
    assert_eq!((report.state, report.exit_code()), (State::Drift, 3));
    assert_eq!((report.counts.missing, report.drift.len()), (30, 20), "a sample of all");
    assert_eq!(scene.ledger().await, "0");
}

#[tokio::test]
async fn a_source_row_that_cannot_be_taken_is_quarantined_once_and_not_at_every_run() {
    let scene = Scene::new(Setting::default()).await;
    scene.waist.sql("alter table item add check (price >= 0)").await;
    scene
        .at_source("insert into item values (1, 'a name of more than twenty', 1, 't'), (2, 'b', -1, 't'), (3, 'c', 1, 't')")
        .await;
    let entries = async || {
        scene
            .waist
            .read(
                "select json_agg(json_build_array(key, reason, convert_from(bytes, 'utf8')) order by key, id)::text
                 from accord.quarantine join accord.body on hash = body",
            )
            .await
    };
    for round in 0..3 {
        let report = scene.repair(Limits::default()).await;
        assert_eq!((report.state, report.exit_code()), (State::Drift, 3), "round {round}: {report:?}");
        assert_eq!((report.counts.held, report.counts.repaired), (2, u64::from(round == 0)), "round {round}");
        assert!(report.reason.unwrap().contains("quarantine"));
    }
    let once = entries().await;
    assert_eq!(
        once,
        r#"[["1", "maxLength", "{\"id\":1,\"name\":\"a name of more than twenty\",\"price\":1,\"tag\":\"t\"}"], ["2", "check", "{\"id\":2,\"name\":\"b\",\"price\":-1,\"tag\":\"t\"}"]]"#
    );

    // Another bad value is another refusal; a good one ends it.
    scene
        .at_source("update item set price = -2 where id = 2; update item set name = 'short' where id = 1")
        .await;
    let report = scene.repair(Limits::default()).await;
    assert_eq!((report.counts.held, report.counts.repaired), (1, 1), "{report:?}");
    assert_eq!(entries().await.matches("check").count(), 2);
    scene.at_source("update item set price = 2 where id = 2").await;
    assert_eq!(scene.repair(Limits::default()).await.state, State::Repaired);
    let [source, library] = scene.contents().await;
    assert_eq!(source, library);
}

#[tokio::test]
async fn a_waist_that_is_stopping_leaves_the_run_inconclusive() {
    let scene = Scene::new(Setting::default()).await;
    scene.at_source("insert into item values (1, 'a', 1, 't')").await;
    let settings = Settings {
        name: "items".to_owned(),
        gate: scene.waist.gate.clone(),
        connect: scene.waist.url.parse().unwrap(),
        mode: Mode::Refetch,
        reference: None,
        max_batch: 10,
        max_held: 10,
        max_held_bytes: 1 << 20,
        hold: Duration::from_secs(10),
        metrics: Metrics::new().pipeline("items"),
    };
    let stop = Stop { asked: CancellationToken::new(), drain: CancellationToken::new() };
    let (applier, writer) = Applier::new(settings, stop);
    drop(writer);
    let work = Work { repair: Some(&applier), limits: Limits::default(), all_keys: false, quarantine: None };
    let report = run(&scene.plan, work, &Progress::default()).await;
    assert_eq!((report.state, report.counts.repaired), (State::Inconclusive, 0), "{report:?}");
    assert!(report.reason.unwrap().contains("shutting down"));
}
