//! What looks like a broken reference, or like too much at once, is held before anything is written.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use accord::reconcile::{Limits, Report, State};
use sqlx::postgres::PgConnectOptions;

use super::scene::{Scene, Setting};
use crate::harness::{Fault, TcpProxy, database};

const BOTH: &str = "insert into item select i, 'n' || i, i, 't' from generate_series(1, 2000) i";

/// A thousand rows and more, the same on both sides.
async fn in_accord() -> Scene {
    Scene::new(Setting { both: BOTH, ..Setting::default() }).await
}

/// Repairs, and makes sure that nothing was written.
async fn nothing_is_written(scene: &Scene, limits: Limits, state: State) -> Report {
    let before = scene.library().await;
    let report = scene.repair(limits).await;
    assert_eq!((report.state, report.exit_code()), (state, 4), "{report:?}");
    assert_eq!(report.counts.repaired, 0);
    assert!(report.reason.is_some());
    assert_eq!(scene.library().await, before);
    assert_eq!(scene.ledger().await, "0", "the waist was not even asked");
    report
}

#[tokio::test]
async fn an_emptied_reference_is_held() {
    let scene = in_accord().await;
    scene.at_source("truncate item").await;
    let report = nothing_is_written(&scene, Limits::default(), State::Held).await;
    assert_eq!((report.counts.orphan, report.counts.held), (2000, 2000));
    assert!(report.reason.unwrap().contains("empty"));
    // Higher limits do not lift it; an operator's word does.
    let high = Limits { max_deletes: Some(5000), max_changes: Some(5000), ..Limits::default() };
    nothing_is_written(&scene, high, State::Held).await;
    let lifted = scene.repair(Limits { lifted: true, ..Limits::default() }).await;
    assert_eq!((lifted.state, lifted.counts.repaired), (State::Repaired, 2000), "{lifted:?}");
    assert_eq!(scene.contents().await, ["", ""]);
}

#[tokio::test]
async fn a_truncated_reference_is_held_by_its_last_good_count_and_by_the_deletes() {
    let scene = in_accord().await;
    scene.at_source("delete from item where id > 1700").await;
    let known = Limits { max_deletes: Some(5000), last_good_source_rows: Some(2000), ..Limits::default() };
    let report = nothing_is_written(&scene, known, State::Held).await;
    assert!(report.reason.unwrap().contains("1700 rows"));
    let report = nothing_is_written(&scene, Limits::default(), State::Held).await;
    assert!(report.reason.unwrap().contains("300 rows would be deleted"));
}

#[tokio::test]
async fn deletes_at_the_limit_are_done_and_one_more_is_held() {
    let scene = in_accord().await;
    scene.at_source("delete from item where id <= 51").await;
    nothing_is_written(&scene, Limits::default(), State::Held).await;
    scene.at_source("insert into item values (1, 'n1', 1, 't')").await;
    let report = scene.repair(Limits::default()).await;
    assert_eq!((report.state, report.counts.repaired), (State::Repaired, 50), "{report:?}");
}

#[tokio::test]
async fn more_changes_than_allowed_are_held_whatever_they_are() {
    let scene = in_accord().await;
    scene.at_source("update item set price = price + 1 where id <= 1001").await;
    nothing_is_written(&scene, Limits::default(), State::Held).await;
    let allowed = Limits { max_changes: Some(1001), ..Limits::default() };
    let report = scene.repair(allowed).await;
    assert_eq!((report.state, report.counts.repaired), (State::Repaired, 1001), "{report:?}");
}

#[tokio::test]
async fn a_renamed_column_is_inconclusive() {
    let scene = in_accord().await;
    scene.at_source("update item set price = 5 where id = 1; alter table item rename price to cost").await;
    nothing_is_written(&scene, Limits::default(), State::Inconclusive).await;
}

#[tokio::test]
async fn a_reference_that_dies_while_it_is_scanned_is_inconclusive() {
    let source = database().await;
    let options: PgConnectOptions = source.url.parse().unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, options.get_port()));
    let proxy = TcpProxy::in_front_of(target).await;
    let reach = source.url.replace(&target.to_string(), &proxy.address().to_string());
    let scene =
        Scene::with_source(source, Setting { both: BOTH, reach: Some(&reach), ..Setting::default() }).await;
    scene.at_source("update item set price = 5 where id = 1; delete from item where id = 2").await;

    // At every stage of a scan, and by every means.
    for millis in [0, 2, 5, 10, 20] {
        proxy.set(Fault::HoldReplies).await;
        let cut = async {
            tokio::time::sleep(Duration::from_millis(50 + millis)).await;
            proxy.cut();
            proxy.set(Fault::Refuse).await;
        };
        tokio::join!(nothing_is_written(&scene, Limits::default(), State::Inconclusive), cut);
        proxy.set(Fault::None).await;
    }
    // While its rows are held back by a lock, its server is told to end.
    let mut lock = scene.source.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table item in access exclusive mode").execute(&mut *lock).await.unwrap();
    let end = async {
        let ended =
            crate::harness::eventually(Duration::from_secs(20), "a scan waits for the lock", async || {
                let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
                match sqlx::query_scalar::<_, i64>(sql).fetch_one(&scene.source.pool).await.unwrap() {
                    0 => Err("nobody waits"),
                    ended => Ok(ended),
                }
            });
        ended.await;
    };
    let (report, ()) = tokio::join!(scene.repair(Limits::default()), end);
    assert_eq!((report.state, report.exit_code()), (State::Inconclusive, 4), "{report:?}");
    lock.rollback().await.unwrap();
    assert_eq!(scene.ledger().await, "0");

    let report = scene.repair(Limits::default()).await;
    assert_eq!((report.state, report.counts.repaired), (State::Repaired, 2), "once it is back: {report:?}");
}

#[tokio::test]
async fn a_reference_that_dies_before_the_repair_is_inconclusive_and_nothing_is_written() {
    let scene = in_accord().await;
    // The waist's own way to the reference is cut, the comparison's is not.
    let nobody = super::scene::reference("postgres://accord@127.0.0.1:1/nobody");
    let wish = crate::harness::Wish {
        mode: accord::apply::Mode::Refetch,
        reference: Some(nobody),
        ..Default::default()
    };
    let waist = crate::harness::Waist::on(&scene.waist.url, scene.waist.pool.clone(), wish);
    scene.at_source("update item set price = 5 where id = 1; delete from item where id = 2").await;
    let before = scene.library().await;
    let work = accord::reconcile::Work {
        repair: Some(&waist.applier),
        limits: Limits::default(),
        all_keys: false,
        quarantine: None,
    };
    let report = accord::reconcile::run(&scene.plan, work, &accord::reconcile::Progress::default()).await;
    assert_eq!((report.state, report.counts.repaired), (State::Inconclusive, 0), "{report:?}");
    assert!(report.reason.unwrap().contains("the reference did not answer"));
    assert_eq!(scene.library().await, before);
}
