//! While a pipeline is paused nothing is repaired or filled, by nobody; comparing is allowed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Configure, Fragrances, Server, TestDatabase, accord, database, eventually, fragrances, plant_fragrances,
};

const SOON: Duration = Duration::from_secs(30);
const ROOT: &str = "/api/v1/reconciliations";
const JSON: &str = "application/json";

/// A server whose library follows a CMS's database.
struct Followed {
    server: Server,
    cms: TestDatabase,
}

impl Followed {
    async fn start(reconcile: &str) -> Self {
        let cms = database().await;
        plant_fragrances(&cms.pool).await;
        let configure =
            Configure { reference: Some(&cms.url), reconcile: Some(reconcile), ..Configure::default() };
        Self { server: Server::start(configure).await, cms }
    }

    async fn at_cms(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.cms.pool).await.unwrap();
    }

    async fn is_in_accord(&self) -> bool {
        fragrances(&self.cms.pool, None).await == fragrances(&self.server.library.pool, None).await
    }

    /// Waits for a run like this among the newest.
    async fn run(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(SOON, what, async || {
            let runs = self.server.get(ROOT).await.json();
            let found = runs["data"].as_array().unwrap().iter().find(|run| wanted(run)).cloned();
            found.ok_or(runs)
        })
        .await
    }

    /// Runs that began in the pause, but for those that somebody asked for.
    async fn began_in_the_pause(&self) -> i64 {
        sqlx::query_scalar(
            "select count(*) from accord.reconciliation r join accord.pipeline p on p.id = r.pipeline
             where r.started_at > p.paused_since and r.trigger <> 'manual'",
        )
        .fetch_one(&self.server.library.pool)
        .await
        .unwrap()
    }

    async fn ask(&self, path: &str, body: Value) -> (u16, String) {
        let (reply, _) = self.server.post(path, JSON, &body.to_string()).await;
        (reply.status, reply.text)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_begins_by_itself_and_what_was_missed_is_made_up_for() {
    let followed = Followed::start("grace = \"10ms\"\nschedule = \"* * * * * *\"").await;
    followed.run("the schedule works", |run| run["trigger"] == "schedule" && run["state"] == "clean").await;
    super::pause(&followed.server.library.pool, "fragrances").await;
    followed.at_cms("update fragrances set cost = cost + 1 where fragrance_id = 3").await;
    // What may have been missed is a reason for a run, too.
    assert_eq!(followed.server.send(vec![b' '; 2 << 20]).await.status, 413);
    let (status, text) = followed.ask(ROOT, json!({"pipeline": "fragrances", "mode": "repair"})).await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("/api/v1/pipelines/fragrances/resume"), "{text}");

    // A scheduled run may have been queued right before the pause: then it waits.
    sqlx::query("delete from accord.reconciliation where state = 'queued'")
        .execute(&followed.server.library.pool)
        .await
        .unwrap();
    let diff = eventually(SOON, "a comparison is taken", async || {
        let (status, text) = followed.ask(ROOT, json!({"pipeline": "fragrances", "mode": "diff"})).await;
        if status == 202 { Ok(text) } else { Err(text) }
    })
    .await;
    let id = serde_json::from_str::<Value>(&diff).unwrap()["id"].clone();
    followed.run("the comparison ends", |run| run["id"] == id && run["state"] == "drift").await;
    // One that was asked for right before the pause waits for its end.
    sqlx::query(
        "insert into accord.reconciliation (pipeline, mode, trigger) select id, 'repair', 'schedule' from accord.pipeline",
    )
    .execute(&followed.server.library.pool)
    .await
    .unwrap();
    // Long enough for the schedule to have come round.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(followed.began_in_the_pause().await, 0);
    assert!(!followed.is_in_accord().await);

    super::resume(&followed.server.library.pool, "fragrances").await;
    followed
        .run("it is repaired", |run| run["id"].as_i64() > id.as_i64() && run["state"] == "repaired")
        .await;
    assert!(followed.is_in_accord().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_for_the_end_of_the_pause_and_so_does_the_release_of_a_held_run() {
    let followed = Followed::start("grace = \"10ms\"\nmax_changes = 1").await;
    followed.run("the start's gap is looked into", |run| run["state"] == "clean").await;
    followed.at_cms("update fragrances set cost = cost + 1 where fragrance_id < 5").await;
    let repair = json!({"pipeline": "fragrances", "mode": "repair"});
    assert_eq!(followed.ask(ROOT, repair).await.0, 202);
    let held = followed.run("the limit holds it", |run| run["state"] == "held").await;
    super::pause(&followed.server.library.pool, "fragrances").await;
    let release = format!("{ROOT}/{}/release", held["id"]);
    let (status, text) = followed.ask(&release, json!({"reason": "it is meant"})).await;
    assert_eq!(status, 409, "{text}");
    assert_eq!(followed.server.send(vec![b' '; 2 << 20]).await.status, 413);
    // Gaps are looked into within three seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(followed.began_in_the_pause().await, 0);
    super::resume(&followed.server.library.pool, "fragrances").await;
    followed
        .run("the gap is looked into", |run| {
            run["trigger"] == "gap" && run["id"].as_i64() > held["id"].as_i64() && run["state"] == "held"
        })
        .await;
    assert_eq!(followed.ask(&release, json!({"reason": "it is meant"})).await.0, 202);
    eventually(SOON, "both are in accord", async || {
        if followed.is_in_accord().await { Ok(()) } else { Err("not yet") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_repair_or_fill_are_refused_and_comparing_is_not() {
    let library = Fragrances::seeded(5).await;
    let command = async |arguments: &[&str]| accord(&library.config(), arguments).await;
    sqlx::query("delete from fragrances").execute(&library.library.pool).await.unwrap();
    assert_eq!(command(&["reconcile", "fragrances", "--dry-run"]).await.code, Some(3));
    super::pause(&library.library.pool, "fragrances").await;
    for arguments in [&["reconcile", "fragrances"][..], &["backfill", "fragrances"]] {
        let told = command(arguments).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(told.stderr.contains("is paused since") && told.stderr.contains("accord resume"), "{told:?}");
    }
    for arguments in [&["reconcile", "fragrances", "--dry-run"][..], &["diff", "fragrances"]] {
        let told = command(arguments).await;
        assert_eq!(told.code, Some(3), "{told:?}");
    }
    let left =
        "select concat_ws(' ', (select count(*) from fragrances), (select count(*) from accord.quarantine),
                                 (select count(*) from accord.ledger))";
    let left: String = sqlx::query_scalar(left).fetch_one(&library.library.pool).await.unwrap();
    assert_eq!(left, "0 0 0", "nothing was written");
    assert_eq!(command(&["resume", "fragrances"]).await.code, Some(0));
    let told = command(&["backfill", "fragrances"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(fragrances(&library.cms.pool, None).await, fragrances(&library.library.pool, None).await);
}
