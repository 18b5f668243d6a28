//! What cannot be compared exactly is refused, with the way out; it is never clean.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use accord::reconcile::{Inconclusive, Progress, Side, diff};

use super::pair::Pair;
use crate::harness::{Fault, TcpProxy};

const ITEM: &str = "
    {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true},
    {name: name, logicalType: string, physicalType: text},
    {name: cost, logicalType: number, physicalType: numeric}";

const TABLE: &str = "create table item (id integer primary key, name text, cost numeric)";

/// Why an ordinary target cannot be compared with this source.
async fn refusal(source: &str) -> String {
    Pair::with(ITEM, source, TABLE).await.refusal().await
}

#[tokio::test]
async fn tables_of_another_shape_are_refused() {
    insta::assert_snapshot!(refusal("select 1").await, @r#"the tables cannot be compared: the source has no table "item": name the table that it has, or create it"#);
    insta::assert_snapshot!(
        refusal("create table item (id integer primary key, name bytea, price numeric)").await, @r#"the tables cannot be compared: column "name" of "item" on the source is bytea, and text in the contract: values of the two cannot be compared exactly; column "cost" does not exist in "item" on the source: add it, or take it out of the contract"#);
    insta::assert_snapshot!(
        refusal("create table item (id integer primary key, name char(9), cost double precision)").await, @r#"the tables cannot be compared: column "name" of "item" on the source is character, and text in the contract: values of the two cannot be compared exactly; column "cost" of "item" on the source is double precision, and numeric in the contract: values of the two cannot be compared exactly"#);
    insta::assert_snapshot!(
        refusal("create table item (id bigint primary key, name text, cost numeric)").await, @r#"the tables cannot be compared: column "id" of "item" on the source is bigint, wider than integer in the contract: make the contract's as wide"#);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    insta::assert_snapshot!(refusal("create table item (id integer not null, name text, cost numeric)").await, @r#"the tables cannot be compared: nothing makes (id) a key of "item" on the source: give it a primary key or a unique index on exactly these columns, or correct the contract's primaryKey"#);
    insta::assert_snapshot!(refusal("create table item (id integer unique, name text, cost numeric)").await, @r#"the tables cannot be compared: column "id" of "item" on the source is part of the key and may be null: set it `not null`"#);
    for almost in [
        "create unique index on item (id, name)",
        "create unique index on item (id) where id > 0",
        "create unique index on item ((id + 1))",
        "create index on item (id)",
    ] {
        let table = format!("create table item (id integer not null, name text, cost numeric); {almost}");
        let refused = refusal(&table).await;
        assert!(refused.contains("nothing makes (id) a key"), "{almost}: {refused}");
    }
    let view = format!("{}; create view item as select * from stored", TABLE.replace("item", "stored"));
    assert!(refusal(&view).await.contains("may be null"), "a view has no key");
}

/// Rows that one may not see would pass for missing ones.
#[tokio::test]
async fn hidden_rows_and_forbidden_tables_are_no_empty_ones() {
    let pair = Pair::with(ITEM, TABLE, TABLE).await;
    let role = format!("reader_{}", pair.source.url.rsplit('/').next().unwrap());
    pair.source(&format!(
        "create role {role} login password 'r'; alter table item enable row level security"
    ))
    .await;
    let mut plan = pair.plan(None);
    let mut url: url::Url = pair.source.url.parse().unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("r")).unwrap();
    plan.source.connect = url.as_str().parse().unwrap();
    let hidden = diff(&plan, &Progress::default()).await.unwrap_err().reason();
    assert!(hidden.contains("policies hide rows"), "{hidden}");

    pair.source("alter table item disable row level security").await;
    let denied = diff(&plan, &Progress::default()).await.unwrap_err();
    assert!(matches!(denied, Inconclusive::Denied { side: Side::Source, .. }), "{denied:?}");
    pair.source(&format!("grant select on item to {role}")).await;
    assert!(diff(&plan, &Progress::default()).await.unwrap().found.is_empty());
}

#[tokio::test]
async fn a_value_that_cannot_be_read_breaks_the_comparison() {
    let properties =
        "{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true},
                      {name: j, logicalType: object, physicalType: jsonb}";
    let source = r#"create table item (id integer primary key, j json); insert into item values (1, '{"a": "\u0000"}')"#;
    let pair = Pair::with(properties, source, "create table item (id integer primary key, j jsonb)").await;
    let broken = pair.findings(None).await.unwrap_err();
    assert!(matches!(broken, Inconclusive::Broken { side: Side::Source, .. }), "{broken:?}");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up() {
    let rows = format!("{TABLE}; insert into item select n, 'x', n from generate_series(1, 400000) n");
    let mut pair = Pair::with(ITEM, &rows, TABLE).await;
    pair.timeout = Duration::from_millis(15);
    let slow = pair.findings(None).await.unwrap_err();
    assert!(matches!(slow, Inconclusive::Timeout { .. }), "{slow:?}");
}

/// A source that dies at any moment is inconclusive: what it did not say is not missing.
#[tokio::test]
async fn a_source_that_dies_mid_scan_is_inconclusive() {
    let rows = format!("{TABLE}; insert into item select n, 'x', n from generate_series(1, 100000) n");
    let pair = Pair::with(ITEM, &rows, &rows).await;
    let port = pair.plan(None).source.connect.get_port();
    let proxy = TcpProxy::in_front_of(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
    let mut ended_early = 0;
    for after in (0..400).step_by(40) {
        proxy.set(Fault::None).await;
        let mut plan = pair.plan(Some(accord::reconcile::Method::Stream));
        plan.source.connect = plan.source.connect.port(proxy.address().port());
        let progress = Progress::default();
        let cut = async {
            tokio::time::sleep(Duration::from_millis(after)).await;
            proxy.set(Fault::Refuse).await;
            proxy.cut();
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = diff(&plan, &progress) => outcome,
            () = cut => unreachable!(),
        };
        match outcome {
            Ok(findings) => assert!(findings.found.is_empty() && findings.rows.source == 100_000),
            Err(Inconclusive::Connect { side, .. } | Inconclusive::Broken { side, .. }) => {
                assert_eq!(side, Side::Source);
                ended_early += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(ended_early > 0, "the cut came too late to prove anything");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let mut pair = Pair::with(ITEM, TABLE, TABLE).await;
    pair.timeout = Duration::from_millis(500);
    let port = pair.plan(None).source.connect.get_port();
    let proxy = TcpProxy::in_front_of(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
    let mut plan = pair.plan(None);
    plan.source.connect = plan.source.connect.port(proxy.address().port());
    proxy.set(Fault::HoldReplies).await;
    let silent = diff(&plan, &Progress::default()).await.unwrap_err();
    assert!(matches!(silent, Inconclusive::Connect { side: Side::Source, .. }), "{silent:?}");
}
