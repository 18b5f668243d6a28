//! What is found is what was done to the tables: no row more, no row less.

use std::time::Duration;

use accord::reconcile::Method;

use super::pair::{Pair, Truth, missing, orphan, run, stale};
use super::random::{Keys, properties, random};

const ITEM: &str = "
    {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true},
    {name: name, logicalType: string, physicalType: text},
    {name: cost, logicalType: number, physicalType: numeric}";

const TABLE: &str = "create table item (id integer primary key, name text, cost numeric);";

async fn items(source: &str, target: &str) -> Pair {
    Pair::with(ITEM, &format!("{TABLE}{source}"), &format!("{TABLE}{target}")).await
}

/// Every way of comparing that this table allows finds this, and nothing else.
async fn assert_found(pair: &Pair, methods: &[Option<Method>], truth: &Truth, about: &str) {
    for method in methods {
        assert_eq!(&pair.found(*method).await, truth, "by {method:?}, {about}");
    }
}

const BY_ANY: &[Option<Method>] =
    &[Some(Method::Buckets), Some(Method::Stream), Some(Method::TextStream), None];
const BY_STREAM: &[Option<Method>] = &[Some(Method::Stream), Some(Method::TextStream), None];

async fn random_drift_is_found(keys: Keys, methods: &[Option<Method>]) {
    let pair = Pair::new(&properties(keys)).await;
    for seed in 0..15 {
        let random = random(keys, seed, 150);
        pair.fill(&random).await;
        assert_found(&pair, methods, &random.truth, &format!("{keys:?} keys, seed {seed}")).await;
    }
}

#[tokio::test]
async fn random_drift_is_found_by_integer_keys() {
    random_drift_is_found(Keys::Integer, BY_ANY).await;
}

#[tokio::test]
async fn random_drift_is_found_by_bigint_keys() {
    random_drift_is_found(Keys::BigInt, BY_ANY).await;
}

#[tokio::test]
async fn random_drift_is_found_by_text_keys() {
    random_drift_is_found(Keys::Text, BY_STREAM).await;
}

#[tokio::test]
async fn random_drift_is_found_by_uuid_keys() {
    random_drift_is_found(Keys::Uuid, BY_STREAM).await;
}

#[tokio::test]
async fn random_drift_is_found_by_composite_keys() {
    random_drift_is_found(Keys::Composite, BY_STREAM).await;
}

#[tokio::test]
async fn one_side_or_both_may_be_empty() {
    let rows = "insert into item select n, 'x', n from generate_series(-70, 70) n;";
    let keys: Vec<String> = (-70..=70).map(|n: i32| n.to_string()).collect();
    let pair = items("", "").await;
    assert_found(&pair, BY_ANY, &Truth::new(), "both empty").await;
    pair.source(rows).await;
    assert_found(&pair, BY_ANY, &keys.iter().map(|key| missing(key)).collect(), "target empty").await;
    let pair = items("", rows).await;
    assert_found(&pair, BY_ANY, &keys.iter().map(|key| orphan(key)).collect(), "source empty").await;
}

/// Nulls hash to nothing, whatever the seed: were the key not hashed with them, the buckets would be equal.
#[tokio::test]
async fn a_row_of_nothing_but_nulls_is_not_taken_for_another() {
    let pair = items("insert into item values (1), (3)", "insert into item values (2), (3)").await;
    assert_found(&pair, BY_ANY, &[missing("1"), orphan("2")].into(), "nulls").await;

    let key_only = "{name: id, logicalType: integer, physicalType: bigint, primaryKey: true, required: true}";
    let table = "create table item (id bigint primary key);";
    let (source, target) = ("insert into item values (-1), (7)", "insert into item values (-2), (7)");
    let pair = Pair::with(key_only, &format!("{table}{source}"), &format!("{table}{target}")).await;
    assert_found(&pair, BY_ANY, &[missing("-1"), orphan("-2")].into(), "no column but the key").await;
}

/// Unseeded hashes, or their sum, would be the same on both sides.
#[tokio::test]
async fn values_swapped_between_neighbours_are_seen() {
    let rows = "insert into item select n, 'name ' || n, n % 7 from generate_series(-100, 100) n;";
    let swap = "update item set cost = (select cost from item i where i.id = -item.id - 1) where id between -51 and 50;";
    let pair = items(rows, &format!("{rows}{swap}")).await;
    let cost = |id: i32| id % 7;
    let truth: Truth = (-51..=50)
        .filter(|&id| cost(id) != cost(-id - 1))
        .map(|id| stale(&id.to_string(), &["cost"]))
        .collect();
    assert!(truth.len() > 50);
    assert_found(&pair, BY_ANY, &truth, "swapped").await;
}

/// Postgres' hashes of numbers like these differ in their lowest bits alone, whatever the seed, so that the changes
/// of two rows would often cancel out in the xor of their bucket.
#[tokio::test]
async fn regular_values_do_not_cancel_out() {
    for (from, to) in [("1", "10000"), ("null", "0"), ("0", "'NaN'"), ("7", "-7")] {
        let rows = format!("insert into item select n, null, {from} from generate_series(0, 4095) n;");
        let change = format!("{rows} update item set cost = {to} where id % 64 in (4, 12);");
        let pair = items(&rows, &change).await;
        let truth = (0..4096).filter(|id| [4, 12].contains(&(id % 64)));
        let truth = truth.map(|id: i32| stale(&id.to_string(), &["cost"])).collect();
        assert_found(&pair, BY_ANY, &truth, &format!("{from} became {to}")).await;
    }
}

/// A division would put key -1 into the bucket of key 0, and the leaf would not find it there.
#[tokio::test]
async fn buckets_are_of_64_keys_below_zero_too() {
    let rows = "insert into item select n, 'x', 1 from generate_series(-128, 127) n;";
    let pair = items(rows, &format!("{rows} update item set cost = 2 where id in (-65, -1, 127);")).await;
    let findings = pair.findings(Some(Method::Buckets)).await.unwrap();
    assert_eq!(findings.dirty_buckets, Some(3));
    assert_eq!((findings.rows.source, findings.rows.target), (256, 256));
    assert_eq!(findings.candidates, 3, "only what differs is looked at twice");
    let truth = ["-65", "-1", "127"].map(|key| stale(key, &["cost"])).into();
    assert_found(&pair, BY_ANY, &truth, "negative").await;
}

#[tokio::test]
async fn with_much_drift_the_buckets_give_way_to_the_stream() {
    let rows = "insert into item select n, 'x', n from generate_series(1, 64000) n; analyze item;";
    let pair = items(rows, rows).await;
    pair.target("update item set cost = cost + 0.01 where id % 64 = 0 and id <= 12800").await;
    let findings = pair.findings(None).await.unwrap();
    assert_eq!((findings.found.len(), findings.dirty_buckets), (200, Some(200)));
    let by_leaf = findings.bytes.source;
    pair.target("update item set cost = cost + 0.01 where id % 64 = 0 and id > 12800").await;
    let findings = pair.findings(None).await.unwrap();
    assert_eq!((findings.found.len(), findings.dirty_buckets), (1000, Some(1000)));
    assert!(findings.bytes.source > 64_000 * 20 && by_leaf < 64_000 * 10, "{:?} {by_leaf}", findings.bytes);
}

#[tokio::test]
async fn servers_that_hash_differently_are_compared_by_spelling() {
    let pair = items("", "").await;
    // Latin 1 has no Ω: the source cannot hash what the target can.
    pair.source("create database latin encoding 'LATIN1' locale 'C' template template0").await;
    let mut plan = pair.plan(None);
    let name = pair.source.url.rsplit('/').next().unwrap();
    let url = pair.source.url.replace(name, "latin");
    plan.source.connect = url.parse().unwrap();
    let latin = sqlx::PgPool::connect(&url).await.unwrap();
    let rows = "insert into item select n, 'café ' || n, n from generate_series(-100, 100) n;";
    for (pool, sql) in [(&latin, format!("{TABLE}{rows}")), (&pair.target.pool, rows.to_owned())] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
    pair.target("update item set name = 'cafe 7' where id = 7").await;

    let findings = accord::reconcile::diff(&plan, &accord::reconcile::Progress::default()).await.unwrap();
    assert_eq!(findings.dirty_buckets, None);
    let found: Vec<_> = findings.found.iter().map(|found| found.key.text().to_string()).collect();
    assert_eq!((found, findings.candidates), (vec!["7".to_owned()], 1));

    plan.force = Some(Method::Buckets);
    let refused = accord::reconcile::diff(&plan, &accord::reconcile::Progress::default()).await.unwrap_err();
    assert!(refused.to_string().contains("hash differently"), "{refused}");
}

#[tokio::test]
async fn enums_are_compared_with_text() {
    let pair = items("", "insert into item values (1, 'ok'), (2, 'bad')").await;
    pair.source(
        "drop table item; create type word as enum ('ok', 'bad');
         create table item (id bigint not null, name word, cost numeric);
         alter table item alter id type integer;
         create unique index on item (id) include (name);
         insert into item values (1, 'ok'), (2, 'ok')",
    )
    .await;
    assert_found(&pair, BY_ANY, &[stale("2", &["name"])].into(), "enum").await;
}

#[tokio::test]
async fn what_arrives_within_the_grace_period_is_no_drift() {
    let mut pair =
        items("insert into item values (1, 'a', 1), (2, 'b', 2)", "insert into item values (1, 'a', 1)")
            .await;
    pair.grace = Duration::from_millis(600);
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        run(&pair.target, "insert into item values (2, 'b', 2)").await;
    };
    let (findings, ()) = tokio::join!(pair.findings(None), arrives);
    let findings = findings.unwrap();
    assert_eq!((findings.candidates, findings.found.len(), findings.in_flight), (1, 0, 0));
}

#[tokio::test]
async fn what_never_stops_changing_is_in_flight() {
    let rows = "insert into item values (1, 'a', 1), (2, 'b', 2);";
    let mut pair = items(rows, &format!("{rows} update item set cost = 0")).await;
    pair.grace = Duration::from_millis(100);
    let changes = async {
        loop {
            run(&pair.source, "update item set cost = cost + 1 where id = 1").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let findings = tokio::select! {
        findings = pair.findings(None) => findings.unwrap(),
        () = changes => unreachable!(),
    };
    assert_eq!((findings.candidates, findings.in_flight), (2, 1));
    let found: Vec<_> = findings.found.iter().map(|found| found.key.text().to_string()).collect();
    assert_eq!(found, ["2"]);
}
