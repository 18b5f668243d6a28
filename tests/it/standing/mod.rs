//! How pipelines stand, as an operator sees it: each condition begins and ends for all to see, and the log tells it
//! once each way.

mod away;
mod conditions;
mod reading;
mod replicas;

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;

use crate::harness::{Process, Server, eventually};

const SOON: Duration = Duration::from_secs(30);
const VIEW: &str = "/api/v1/pipelines/fragrances";

/// Waits until the condition holds, in API and metrics; gives it as the API has it.
async fn holds(server: &Server, kind: &str) -> Value {
    let condition = eventually(SOON, &format!("{kind} holds"), async || {
        let view = server.get(VIEW).await.json();
        find(&view["conditions"], kind).cloned().ok_or(view)
    })
    .await;
    metric_is(server, kind, 1).await;
    condition
}

/// Waits until the condition is over, in API and metrics.
async fn is_over(server: &Server, kind: &str) {
    eventually(SOON, &format!("{kind} is over"), async || {
        let view = server.get(VIEW).await.json();
        if find(&view["conditions"], kind).is_none() { Ok(()) } else { Err(view) }
    })
    .await;
    metric_is(server, kind, 0).await;
}

async fn metric_is(server: &Server, kind: &str, expected: u64) {
    eventually(SOON, &format!("the metric of {kind} is {expected}"), async || {
        let value = server.metric("condition", &format!(",condition=\"{kind}\"")).await;
        if value == expected { Ok(()) } else { Err(value) }
    })
    .await;
}

fn find<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions.as_array()?.iter().find(|condition| condition["condition"] == kind)
}

/// What the log says of a condition: the messages of its beginnings, and of its ends.
fn logged(process: &Process, kind: &str) -> (Vec<String>, Vec<String>) {
    let lines = process.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_kind = lines.filter(|line| line["condition"] == kind && line["pipeline"] == "fragrances");
    let messages = of_kind.map(|line| line["message"].as_str().unwrap().to_owned());
    messages.partition(|message| !message.starts_with("recovered: "))
}

/// Waits until the log has told so many beginnings and ends of a condition, and sees that it stays at that.
async fn is_told(process: &Process, kind: &str, begins: usize, ends: usize) {
    let told = || {
        let (begun, ended) = logged(process, kind);
        if (begun.len(), ended.len()) == (begins, ends) { Ok(()) } else { Err((begun, ended, process.log())) }
    };
    eventually(SOON, &format!("{kind} is told"), async || told()).await;
    // Several rounds of whoever tells.
    tokio::time::sleep(Duration::from_secs(2)).await;
    told().unwrap();
}

/// Sees that the condition is printed by `accord status`, or that it is not, and how it stands in `--json`.
async fn status_shows(server: &Server, kind: &str, shown: bool) -> String {
    let told = server.command(&["status"]).await;
    assert_eq!(told.stdout.contains(&format!("{kind}, ")), shown, "{}", told.stdout);
    let json = server.command(&["status", "--json"]).await.json();
    assert_eq!(find(&json["pipelines"][0]["conditions"], kind).is_some(), shown, "{json}");
    told.stdout
}

async fn sql(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}
