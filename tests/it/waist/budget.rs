//! What a waist holds in memory has a bound.

use std::time::Duration;

use accord::apply::{Applier, Mode, Refused, Settings, Stop};
use accord::change::{Body, Change, Origin};
use accord::contract::Contract;
use accord::contract::gate::Gate;
use accord::telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::harness::ITEM;

/// A waist that holds 8 KiB, and whose writer has ended: what it takes it cannot settle.
fn stopping(gate: &Gate) -> Applier {
    let settings = Settings {
        name: "items".to_owned(),
        gate: gate.clone(),
        connect: "postgres://nobody@127.0.0.1:1/none".parse().unwrap(),
        mode: Mode::Apply,
        reference: None,
        max_batch: 1,
        max_held: 8,
        max_held_bytes: 8 * 1024,
        hold: Duration::from_secs(1),
        metrics: Metrics::new().pipeline("items"),
    };
    let (applier, _) =
        Applier::new(settings, Stop { asked: CancellationToken::new(), drain: CancellationToken::new() });
    applier
}

#[tokio::test]
async fn every_body_of_a_request_counts_and_each_of_them_once() {
    let contract = Contract::parse(ITEM, "test contract", None).unwrap();
    let gate = Gate::new(contract.into());
    let body = |id: i32| Body::new(format!(r#"{{"id":{id},"tag":"{}"}}"#, "x".repeat(3000)), Vec::new());
    let judge = |body| gate.judge_at(body, "", Origin::Replay);
    let (one, two, three) = (body(1), body(2), body(3));
    let apply = async |changes: Vec<Change>| stopping(&gate).apply(changes).await.unwrap_err();

    assert_eq!(apply(vec![judge(&one), judge(&two), judge(&three)]).await, Refused::Busy, "nine of eight");
    assert_eq!(apply(vec![judge(&one), judge(&two)]).await, Refused::Stopping, "six of eight");
    let shared = vec![judge(&one), judge(&two), judge(&one), judge(&two), judge(&one)];
    assert_eq!(apply(shared).await, Refused::Stopping, "two bodies, however often they are named");
}
