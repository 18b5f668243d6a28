//! `accord reconcile`, with and without a configuration.

use std::time::Duration;

use accord::reconcile::lock::LOCK;

use crate::harness::{Fragrances, Process, accord, database, eventually, fragrances, plant_fragrances};

async fn same_rows(both: &Fragrances) -> bool {
    fragrances(&both.cms.pool, None).await == fragrances(&both.library.pool, None).await
}

async fn drift(both: &Fragrances) {
    let drift = "update fragrances set cost = cost + 1 where fragrance_id in (3, 4);
                 delete from fragrances where fragrance_id = 5";
    sqlx::raw_sql(drift).execute(&both.cms.pool).await.unwrap();
}

#[tokio::test]
async fn it_needs_no_server_and_its_exit_code_tells_how_it_ended() {
    let both = Fragrances::seeded(20).await;
    let clean = accord(&both.config(), &["reconcile", "fragrances", "--json"]).await;
    assert_eq!((clean.code, &clean.json()["state"]), (Some(0), &"clean".into()), "{clean:?}");

    drift(&both).await;
    let seen = accord(&both.config(), &["reconcile", "fragrances", "--dry-run", "--json"]).await;
    assert_eq!((seen.code, &seen.json()["state"]), (Some(3), &"drift".into()), "{seen:?}");
    assert_eq!((&seen.json()["counts"]["stale"], &seen.json()["counts"]["orphan"]), (&2.into(), &1.into()));

    let held = accord(&both.config(), &["reconcile", "fragrances", "--max-deletes", "0", "--json"]).await;
    assert_eq!((held.code, &held.json()["state"]), (Some(4), &"held".into()), "{held:?}");
    assert!(!same_rows(&both).await, "nothing was written");
    let status = accord(&both.config(), &["status"]).await.stdout;
    let run = held.json()["id"].to_string();
    assert!(status.contains(&format!("held just now (run {run})")) || status.contains("held "), "{status}");
    assert!(status.contains(&format!("--release {run}")), "{status}");

    let release = ["reconcile", "fragrances", "--release", &run, "--reason", "it is right so"];
    let repaired = accord(&both.config(), &release).await;
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert!(repaired.stdout.contains("repaired"), "{repaired:?}");
    assert!(same_rows(&both).await);
    let again = accord(&both.config(), &release).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("was released already"), "{again:?}");
    let kept: String =
        sqlx::query_scalar("select release_reason from accord.reconciliation where releases is not null")
            .fetch_one(&both.library.pool)
            .await
            .unwrap();
    assert_eq!(kept, "it is right so");
    let gap: bool = sqlx::query_scalar("select gap_since is not null from accord.pipeline")
        .fetch_one(&both.library.pool)
        .await
        .unwrap();
    assert!(!gap, "a command that listens to nobody has missed nothing");
}

#[tokio::test]
async fn it_refuses_what_cannot_be_done_and_says_why() {
    let both = Fragrances::seeded(5).await;
    let unknown = accord(&both.config(), &["reconcile", "books"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is: fragrances"), "{unknown:?}");
    assert_eq!(accord(&both.config(), &["reconcile"]).await.code, Some(2));
    assert_eq!(accord(&both.config(), &["reconcile", "fragrances", "--release", "1"]).await.code, Some(2));

    assert_eq!(accord(&both.config(), &["reconcile", "fragrances"]).await.code, Some(0));
    // As a run in another process holds it.
    let mut other = both.library.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock($1, id) from accord.pipeline")
        .bind(LOCK)
        .execute(&mut *other)
        .await
        .unwrap();
    sqlx::query("update accord.reconciliation set state = 'running', finished_at = null")
        .execute(&mut *other)
        .await
        .unwrap();
    let busy = accord(&both.config(), &["reconcile", "fragrances"]).await;
    assert_eq!(busy.code, Some(1));
    assert!(busy.stderr.contains("reconciliation 1 of `fragrances` is running"), "{busy:?}");

    let status = accord(&both.config(), &["status"]).await.stdout;
    assert!(status.contains("running"), "{status}");
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut *other).await.unwrap();
    sqlx::query(
        "insert into accord.registration (pipeline, silent_since) select id, now() from accord.pipeline",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    let status = accord(&both.config(), &["status"]).await.stdout;
    assert!(status.contains("aborted") && !status.contains("running"), "nobody holds the lock: {status}");
    assert!(status.contains("is somebody else registered as its listener?"), "{status}");

    both.configure(|config| format!("{config}\n[pipeline.fragrances.reconcile]\non_drift = \"report\"\n"));
    let report = accord(&both.config(), &["reconcile", "fragrances"]).await;
    assert_eq!(report.code, Some(1));
    assert!(report.stderr.contains("on_drift"), "{report:?}");
}

#[tokio::test]
async fn it_can_be_stopped_and_says_so() {
    let both = Fragrances::seeded(5).await;
    sqlx::raw_sql("update fragrances set cost = cost + 1").execute(&both.cms.pool).await.unwrap();
    // It finds differences, and waits for hours whether they last.
    both.configure(|config| format!("{config}\n[pipeline.fragrances.reconcile]\ngrace = \"1h\"\n"));
    let (config, log) = (both.config(), both.config().with_extension("log"));
    let arguments = ["--config", config.to_str().unwrap(), "reconcile", "fragrances"];
    let mut process = Process::spawn(env!("CARGO_BIN_EXE_accord"), &arguments, &log);
    eventually(Duration::from_secs(30), "it tells how far it is", async || {
        let stage: Result<Option<String>, _> = sqlx::query_scalar(
            "select progress ->> 'stage' from accord.reconciliation where state = 'running'",
        )
        .fetch_optional(&both.library.pool)
        .await
        .map(Option::flatten);
        if stage.as_ref().is_ok_and(|stage| stage.as_deref() == Some("confirm")) {
            Ok(())
        } else {
            Err(stage)
        }
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(1), "{}", process.log());
    assert!(process.log().contains("reconciliation 1 is aborted"), "{}", process.log());
    let state: String = sqlx::query_scalar("select state from accord.reconciliation")
        .fetch_one(&both.library.pool)
        .await
        .unwrap();
    assert_eq!(state, "aborted", "by itself, not by whoever looks");
}

#[tokio::test]
async fn it_stands_alone() {
    let (source, target) = (database().await, database().await);
    for database in [&source, &target] {
        plant_fragrances(&database.pool).await;
    }
    sqlx::raw_sql("update fragrances set name = 'Another' where fragrance_id = 3; delete from fragrances where fragrance_id = 4")
        .execute(&target.pool)
        .await
        .unwrap();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let nowhere = std::path::Path::new("/nowhere/accord.toml");
    let alone =
        ["--json", "reconcile", "--contract", contract, "--source", &source.url, "--target", &target.url];
    let first = accord(nowhere, &alone).await;
    assert_eq!((first.code, &first.json()["counts"]["repaired"]), (Some(0), &2.into()), "{first:?}");
    assert!(first.stderr.contains("Schema `accord` is now in "), "{first:?}");
    assert_eq!(fragrances(&source.pool, None).await, fragrances(&target.pool, None).await);
    let written: i64 = sqlx::query_scalar("select count(*) from accord.ledger where origin = 'reconcile'")
        .fetch_one(&target.pool)
        .await
        .unwrap();
    assert_eq!(written, 2);
    let again = accord(nowhere, &alone).await;
    assert_eq!((again.code, &again.json()["state"]), (Some(0), &"clean".into()), "{again:?}");
    assert_eq!(again.stderr, "", "{again:?}");
}
