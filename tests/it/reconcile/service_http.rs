//! Reconciliations as resources: asked for, looked at, refused, released.

use serde_json::{Value, json};

use super::service::{ROOT, SOON, Service};
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_asked_for_looked_at_and_survives_a_restart() {
    let mut service =
        Service::start(None, "update fragrances set cost = cost + 0.01 where fragrance_id in (3, 5)").await;
    let diff = service.run("diff").await;
    let found = service.ended(&diff).await;
    assert_eq!((&found["state"], &found["counts"]["stale"]), (&json!("drift"), &json!(2)), "{found}");
    assert_eq!(found["report"]["drift"][0]["columns"][0]["name"], "cost");
    assert_eq!(found["trigger"], "manual");
    assert!(!service.is_in_accord().await, "a diff writes nothing");

    let repair = service.run("repair").await;
    let repaired = service.ended(&repair).await;
    assert_eq!(
        (&repaired["state"], &repaired["report"]["counts"]["repaired"]),
        (&json!("repaired"), &json!(2))
    );
    assert!(service.is_in_accord().await);
    let origin = service.ask("select to_jsonb(array_agg(distinct origin)) from accord.ledger").await;
    assert_eq!(origin, json!(["reconcile"]));

    service.server.restart().await;
    assert_eq!(service.server.get(&repair).await.json(), repaired);
    let list = service.server.get(&format!("{ROOT}?pipeline=fragrances&limit=1")).await.json();
    assert_eq!(list["data"][0]["id"], repaired["id"], "newest first");
    assert!(list["data"][0].get("report").is_none());
    let next = service.server.get(list["next"].as_str().unwrap()).await.json();
    assert_eq!((&next["data"][0]["id"], &next["next"]), (&found["id"], &Value::Null));
    let drifted = service.server.get(&format!("{ROOT}?state=drift")).await.json();
    assert_eq!(drifted["data"].as_array().map(Vec::len), Some(1));

    assert_eq!(service.server.metric("silent_source", "").await, 0);
    service
        .at_library(
            "insert into accord.registration (pipeline, silent_since) select id, now() from accord.pipeline
             on conflict (pipeline) do update set silent_since = now()",
        )
        .await;
    let shown = eventually(SOON, "the silence is shown", async || {
        let pipeline = service.server.get("/api/v1/pipelines/fragrances").await.json();
        if pipeline["silent_since"].is_string() { Ok(pipeline) } else { Err(pipeline) }
    })
    .await;
    assert_eq!(shown["reconciliation"]["state"], "repaired", "{shown}");
    assert_eq!(service.server.metric("silent_source", "").await, 1);
    assert_eq!(service.server.metric("reconciliation_drift_rows", ",kind=\"stale\"").await, 2);
    assert_eq!(
        service.server.get("/readyz").await.status,
        200,
        "the sender's state is no reason to take us out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_refused_with_a_way_out() {
    let service = Service::start(Some("on_drift = \"report\""), "").await;
    let wanted = r#"{"pipeline": "fragrances", "mode": "diff"}"#;
    for (content_type, body, status, way_out) in [
        ("text/plain", wanted, 415, "Content-Type: application/json"),
        ("application/x-www-form-urlencoded", wanted, 415, "Content-Type: application/json"),
        ("application/json", "{", 400, r#""mode": "diff""#),
        ("application/json", r#"{"pipeline": "fragrances", "mode": "wipe"}"#, 422, "`diff`"),
        (
            "application/json",
            r#"{"pipeline": "fragrances", "mode": "diff", "force": 1}"#,
            422,
            "unknown field `force`",
        ),
        ("application/json", r#"{"pipeline": "books", "mode": "diff"}"#, 404, "/api/v1/pipelines"),
        ("application/json", r#"{"pipeline": "fragrances", "mode": "repair"}"#, 422, "on_drift"),
    ] {
        let (reply, _) = service.server.post(ROOT, content_type, body).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(way_out), "{body}: {detail}");
    }
    for (path, status) in [
        ("/api/v1/reconciliations/4711", 404),
        ("/api/v1/reconciliations/x", 404),
        ("/api/v1/reconciliations?state=lost", 400),
        ("/api/v1/reconciliations?limit=0", 400),
        ("/api/v1/reconciliations?pipeline=%00", 400),
        ("/api/v1/reconciliations?sort=id", 400),
    ] {
        assert_eq!(service.server.get(path).await.status, status, "{path}");
    }
    let without = crate::harness::Server::start(crate::harness::Configure::default()).await;
    let (reply, _) = without.post(ROOT, "application/json", wanted).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text.contains("pipeline.fragrances.reference.postgres"), "{}", reply.text);
}

/// Hours of grace: a run that found a difference does not end by itself.
const ENDLESS: &str = "grace = \"1h\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_runs_at_a_time_and_a_stopped_or_killed_one_is_aborted() {
    let drift = "update fragrances set cost = cost + 1 where fragrance_id = 3";
    let mut service = Service::start(Some(ENDLESS), drift).await;
    let first = service.newest("it runs", |run| run["state"] == "running").await;
    let first = format!("{ROOT}/{}", first["id"]);
    let wanted = r#"{"pipeline": "fragrances", "mode": "diff"}"#;
    let (reply, location) = service.server.post(ROOT, "application/json", wanted).await;
    assert_eq!((reply.status, location.as_deref()), (409, Some(first.as_str())));

    eventually(SOON, "it tells how far it is", async || {
        let run = service.server.get(&first).await.json();
        if run["progress"]["stage"] == "confirm" && run["progress"]["rows"] == 100 {
            Ok(())
        } else {
            Err(run)
        }
    })
    .await;

    // Nothing is cleaned up by a process that is killed.
    service.server.accord.process.kill9();
    assert_eq!(service.ask("select to_jsonb(state) from accord.reconciliation").await, "running");
    service.server.crash().await;
    assert_eq!(service.server.get(&first).await.json()["state"], "aborted");

    let second = service.newest("it is made up for", |run| run["state"] == "running").await;
    let second = format!("{ROOT}/{}", second["id"]);
    assert_ne!(first, second);
    service.server.restart().await;
    let stopped = service.server.get(&second).await.json();
    assert_eq!((&stopped["state"], &stopped["report"]), (&json!("aborted"), &Value::Null));
    assert!(!service.is_in_accord().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_run_is_released_once_with_a_reason_that_is_kept() {
    let service = Service::start(None, "delete from fragrances").await;
    let held = service.run("repair").await;
    let run = service.ended(&held).await;
    assert_eq!(run["state"], "held", "{run}");
    assert!(run["reason"].is_string(), "{run}");
    assert_eq!(service.ask("select to_jsonb(count(*)) from fragrances").await, 50, "nothing is deleted");

    let release = format!("{held}/release");
    for body in ["{}", r#"{"reason": " "}"#] {
        assert_eq!(service.server.post(&release, "application/json", body).await.0.status, 422);
    }
    let reason = r#"{"reason": "the CMS was cleared on purpose"}"#;
    assert_eq!(service.server.post(&release, "text/plain", reason).await.0.status, 415);
    let (reply, location) = service.server.post(&release, "application/json", reason).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let released = location.unwrap();
    let run = service.ended(&released).await;
    assert_eq!((&run["state"], &run["trigger"]), (&json!("repaired"), &json!("release")), "{run}");
    assert_eq!(run["release_reason"], "the CMS was cleared on purpose");
    assert_eq!(service.ask("select to_jsonb(count(*)) from fragrances").await, 0);

    let (reply, location) = service.server.post(&release, "application/json", reason).await;
    assert_eq!((reply.status, location.as_deref()), (409, Some(released.as_str())));
    let (reply, _) = service.server.post(&format!("{released}/release"), "application/json", reason).await;
    assert_eq!(reply.status, 409);
    assert!(reply.text.contains("repaired"), "{}", reply.text);
    let (reply, _) = service.server.post(&format!("{ROOT}/4711/release"), "application/json", reason).await;
    assert_eq!(reply.status, 404);
}
