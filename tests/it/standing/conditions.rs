//! Each condition: how it begins, what it says, and how it ends.

use serde_json::{Value, json};

use super::{SOON, VIEW, find, holds, is_over, is_told, logged, sql, status_shows};
use crate::harness::{Configure, Server, database, eventually, plant_fragrances};

/// Runs the checks by the API, to their end.
async fn check(server: &Server) -> Value {
    let (asked, location) =
        server.post("/api/v1/checks", "application/json", r#"{"pipeline": "fragrances"}"#).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    eventually(SOON, "the check ends", async || {
        let run = server.get(location.as_deref().unwrap()).await.json();
        if run["state"] == "done" { Ok(run) } else { Err(run) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_fail() {
    let server = Server::start(Configure::default()).await;
    check(&server).await;
    let spoil = "update fragrances set cost = -1 where fragrance_id = 3";
    sql(&server.library.pool, spoil).await;
    let spoilt = check(&server).await;
    let condition = holds(&server, "checks_failed").await;
    assert_eq!(condition["severity"], "error");
    assert_eq!(
        condition["message"],
        "1 rule is broken in the library (cost.minimum): `accord check fragrances` shows the rows"
    );
    assert_eq!(condition["since"].as_str().unwrap()[..19], spoilt["finished_at"].as_str().unwrap()[..19]);
    assert_eq!(server.metric("checks", ",outcome=\"failed\"").await, 1);

    // Failing once more is no news, and a check of another rule alone does not hide it.
    check(&server).await;
    let one = server.command(&["check", "fragrances", "--rule", "not-empty"]).await;
    assert_eq!(one.code, Some(0), "{one:?}");
    eventually(SOON, "the newest run is known", async || {
        let view = server.get(VIEW).await.json();
        if view["check"]["run"] == 4 { Ok(()) } else { Err(view) }
    })
    .await;
    assert_eq!(holds(&server, "checks_failed").await["since"], condition["since"]);
    status_shows(&server, "checks_failed", true).await;

    sql(&server.library.pool, "update fragrances set cost = 1 where fragrance_id = 3").await;
    check(&server).await;
    is_over(&server, "checks_failed").await;
    assert_eq!(server.metric("checks", ",outcome=\"failed\"").await, 0);
    status_shows(&server, "checks_failed", false).await;
    is_told(&server.accord.process, "checks_failed", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_the_contract_in_force_does_not_have_fails_no_more() {
    let server = Server::start(Configure::default()).await;
    sql(&server.library.pool, "update fragrances set cost = -1 where fragrance_id = 3").await;
    check(&server).await;
    holds(&server, "checks_failed").await;

    let shipped = include_str!("../../../contracts/fragrances.yaml");
    let least = "physicalType: numeric\n        logicalTypeOptions:\n          minimum: 0\n";
    assert!(shipped.contains(least));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        shipped.replace(least, "physicalType: numeric\n").replace("version: 1.0.0", "version: 1.1.0"),
    )
    .unwrap();
    let activate = ["contract", "activate", "fragrances", file.path().to_str().unwrap()];
    let told = server.command(&activate).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    eventually(SOON, "it is taken up", async || {
        let view = server.get(VIEW).await.json();
        if view["contract"]["version"] == "1.1.0" { Ok(()) } else { Err(view) }
    })
    .await;
    holds(&server, "checks_failed").await;
    check(&server).await;
    is_over(&server, "checks_failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_that_grows() {
    let more = "\n[pipeline.fragrances.quarantine]\ngrowth = 3\nwithin = \"1h\"\n";
    let server = Server::start(Configure { more, ..Configure::default() }).await;
    let send_bad = async |key: u32| {
        let reply = server.send(format!(r#"{{"fragrance_id": {key}, "cost": -1}}"#)).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
    };
    for key in 0..4 {
        send_bad(key).await;
    }
    // What waits because of a pause does not count, nor does what was kept before the window.
    sql(&server.library.pool, "update accord.quarantine set reason = 'paused' where id = 1").await;
    sql(&server.library.pool, "update accord.quarantine set at = at - interval '2 hours' where id = 2").await;
    eventually(SOON, "two are counted", async || {
        let view = server.get(VIEW).await.json();
        let seen = &view["quarantine"];
        if (&seen["open"], &seen["growth"]) == (&json!(4), &json!(2)) { Ok(()) } else { Err(view) }
    })
    .await;
    assert_eq!(server.metric("condition", ",condition=\"quarantine_growing\"").await, 0);

    send_bad(4).await;
    let condition = holds(&server, "quarantine_growing").await;
    assert_eq!(condition["severity"], "warning");
    assert_eq!(
        condition["message"],
        "the quarantine grows: 3 more within 1h, 5 open (minimum 4, paused 1): \
         `accord quarantine list --pipeline fragrances` shows them"
    );
    assert_eq!(server.metric("quarantine_open", "").await, 5);
    assert_eq!(server.metric("quarantine_growth", "").await, 3);
    assert_eq!(server.metric("quarantine_open_by_reason", ",reason=\"minimum\"").await, 4);
    status_shows(&server, "quarantine_growing", true).await;

    for entry in ["2", "3", "4", "5"] {
        let told = server.command(&["quarantine", "discard", entry, "--because", "a test"]).await;
        assert_eq!(told.code, Some(0), "{told:?}");
    }
    is_over(&server, "quarantine_growing").await;
    let text = server.get("/metrics").await.text;
    for series in [
        "accord_quarantine_open_by_reason{pipeline=\"fragrances\",reason=\"minimum\"} 0",
        "accord_quarantine_open_by_reason{pipeline=\"fragrances\",reason=\"paused\"} 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
    }
    status_shows(&server, "quarantine_growing", false).await;
    // It could be back any moment: that it is over is told later.
    is_told(&server.accord.process, "quarantine_growing", 1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_holds_and_a_gap_that_lasts_as_long() {
    let cms = database().await;
    plant_fragrances(&cms.pool).await;
    sql(&cms.pool, "delete from fragrances").await;
    let server = Server::start(Configure { reference: Some(&cms.url), ..Configure::default() }).await;
    let reconcile = async |mode: &str| {
        let body = json!({"pipeline": "fragrances", "mode": mode}).to_string();
        let (asked, location) = server.post("/api/v1/reconciliations", "application/json", &body).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        eventually(SOON, "the run ends", async || {
            let run = server.get(location.as_deref().unwrap()).await.json();
            if run["finished_at"].is_string() { Ok(run) } else { Err(run) }
        })
        .await
    };
    // A start is a gap, and nothing makes up for it here but an operator.
    let gap = holds(&server, "possible_gap").await;
    let message = "changes may have been missed (start): `accord reconcile fragrances` makes up for them";
    assert_eq!(gap["message"], message);

    assert_eq!(reconcile("repair").await["state"], "held");
    let first = holds(&server, "breaker_held").await;
    let reason = "reconciliation 1 is held: the reference is empty, while the library has 50 rows: see whether it is \
                  the right database and whole; if it is, release the run: \
                  `accord reconcile fragrances --release 1 --reason …`";
    assert_eq!(first["message"], reason);
    // A comparison decides nothing, and a second run that is held is no news.
    assert_eq!(reconcile("diff").await["state"], "drift");
    assert_eq!(reconcile("repair").await["state"], "held");
    let second = eventually(SOON, "the newer run is told of", async || {
        let view = server.get(VIEW).await.json();
        let held = find(&view["conditions"], "breaker_held").cloned().unwrap_or_default();
        if held["message"].as_str().is_some_and(|m| m.contains("--release 3 ")) {
            Ok(held)
        } else {
            Err(view)
        }
    })
    .await;
    assert_eq!(second["since"], first["since"]);
    let shown = status_shows(&server, "breaker_held", true).await;
    assert_eq!(shown.matches("--release 3 --reason").count(), 2, "in the condition, and at the run: {shown}");
    status_shows(&server, "possible_gap", true).await;

    let release = ["reconcile", "fragrances", "--release", "3", "--reason", "it was really cleared"];
    let told = server.command(&release).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    is_over(&server, "breaker_held").await;
    is_over(&server, "possible_gap").await;
    let shown = server.command(&["status"]).await.stdout;
    assert!(shown.contains("\nfragrances: all is well\n"), "{shown}");
    assert_eq!(server.get(VIEW).await.json()["conditions"], json!([]));
    is_told(&server.accord.process, "breaker_held", 1, 1).await;
    is_told(&server.accord.process, "possible_gap", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_silent() {
    let server = Server::start(Configure::default()).await;
    let silent =
        "insert into accord.registration (pipeline, silent_since) select id, now() from accord.pipeline
                  on conflict (pipeline) do update set silent_since = now()";
    sql(&server.library.pool, silent).await;
    let condition = holds(&server, "silent_source").await;
    assert!(condition["message"].as_str().unwrap().contains("listener is lost or taken"), "{condition}");
    status_shows(&server, "silent_source", true).await;
    sql(&server.library.pool, "update accord.registration set silent_since = null").await;
    is_over(&server, "silent_source").await;
    is_told(&server.accord.process, "silent_source", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_wait_for_a_locked_table() {
    let server = Server::start(Configure::default()).await;
    assert_eq!(server.get(VIEW).await.json()["lag_ms"], 0);
    let mut other = server.library.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table fragrances in exclusive mode").execute(&mut *other).await.unwrap();
    let told = async {
        let condition = holds(&server, "lagging").await;
        assert!(condition["message"].as_str().unwrap().contains("pg_stat_activity"), "{condition}");
        let text = server.get("/metrics").await.text;
        let lag =
            text.lines().find_map(|line| line.strip_prefix("accord_lag_seconds{pipeline=\"fragrances\"} "));
        assert!(lag.unwrap().parse::<f64>().unwrap() > 5.0, "{text}");
        assert!(server.get(VIEW).await.json()["lag_ms"].as_u64().unwrap() > 5000);
        status_shows(&server, "lagging", true).await;
        sqlx::raw_sql("rollback").execute(&mut *other).await.unwrap();
    };
    let (reply, ()) = tokio::join!(server.send(r#"{"fragrance_id": 3, "cost": 17}"#), told);
    assert_eq!(reply.status, 200, "{}", reply.text);
    is_over(&server, "lagging").await;
    assert_eq!(server.get(VIEW).await.json()["lag_ms"], 0);
    is_told(&server.accord.process, "lagging", 1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause() {
    let server = Server::start(Configure::default()).await;
    let pause =
        "update accord.pipeline set paused_since = now(), paused_by = 'anna', paused_reason = 'moving house'";
    sql(&server.library.pool, pause).await;
    let paused = holds(&server, "paused").await;
    assert_eq!(paused["severity"], "info");
    let message = "paused by anna, “moving house”: changes go to quarantine until `accord resume fragrances`";
    assert_eq!(paused["message"], message);
    status_shows(&server, "paused", true).await;
    sql(&server.library.pool, "update accord.pipeline set paused_since = null").await;
    is_over(&server, "paused").await;
    is_told(&server.accord.process, "paused", 1, 1).await;
    let (_, ended) = logged(&server.accord.process, "paused");
    assert!(ended[0].starts_with("recovered: the pipeline goes on, after "), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_is_not_in_force() {
    let server = Server::start(Configure::default()).await;
    // It says the same; only its bytes, and with them its hash, are others.
    let other = "insert into accord.contract (name, version, hash, source)
                 select name, version, encode(sha256(convert_to(source || E'\\n# 2', 'UTF8')), 'hex'), source || E'\\n# 2'
                 from accord.contract;
                 insert into accord.activation (pipeline, contract, activated_by)
                 select p.id, c.id, 'bert' from accord.pipeline p, accord.contract c where c.source like '%# 2'";
    sql(&server.library.pool, other).await;
    let other = holds(&server, "contract_not_active").await;
    let message = "the configured contract is not in force, fragrances 1.0.0 is, by the word of bert: \
                   `accord contract activate fragrances` shows what the \
                   configured one would mean, and puts it in force";
    assert_eq!(other["message"], message);
    status_shows(&server, "contract_not_active", true).await;
    is_told(&server.accord.process, "contract_not_active", 1, 0).await;
    assert_eq!(logged(&server.accord.process, "contract_not_active").0, [message]);

    let ours = "insert into accord.activation (pipeline, contract, activated_by)
                select p.id, c.id, 'bert' from accord.pipeline p, accord.contract c where c.source not like '%# 2'";
    sql(&server.library.pool, ours).await;
    is_over(&server, "contract_not_active").await;
    // Though the server was renewed meanwhile, twice.
    is_told(&server.accord.process, "contract_not_active", 1, 1).await;
}
