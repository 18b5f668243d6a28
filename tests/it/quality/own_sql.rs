//! The contract's own SQL: what it may do, and what it may not.

use std::time::Duration;

use accord::quality::Choice;
use accord::quality::Outcome::{Failed, NotExecuted, Passed, Warned};

use super::{Table, of, told};

const TABLE: &str = r#"create table t (id integer primary key, "a ""b" text);
    insert into t values (1, 'x'), (2, null)"#;

fn schema(of_a: &str, of_table: &str) -> String {
    format!(
        "schema:
  - name: t
    properties:
      - {{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}}
      - name: a
        physicalName: 'a \"b'
        logicalType: string
        physicalType: text
        quality: [{of_a}]
    quality: [{of_table}]
"
    )
}

#[tokio::test]
async fn a_query_gives_one_value_and_its_placeholders_are_quoted_names() {
    let table = Table::new(TABLE).await;
    let results = table
        .check(&schema(
            r#"{id: plain, type: sql, query: "select count(*) from {object} where {property} is null", mustBe: 1},
               {id: dollar, type: sql, query: "select count(${column}) from ${table};", mustBe: 1},
               {id: quoted, type: sql, query: "select count(\"{field}\") from \"{model}\" -- why", mustBe: 1},
               {id: warns, type: sql, query: "select 2", mustBe: 1, severity: warning}"#,
            r#"{id: truth, type: sql, query: "select exists (select from {object})", mustBe: true},
               {id: exact, type: sql, query: "select 0.10000000000000000001", mustBe: 0.1},
               {id: text, type: sql, query: "select max(id)::text || '{x}' from {object}", mustBe: "2{x}"},
               {id: nothing, type: sql, query: "select 1 where false", mustBe: 1},
               {id: with, type: sql, query: "with n as (select count(*) as n from {object}) select n from n", mustBeBetween: [2, 3]},
               {id: no-column, type: sql, query: "select count({property}) from {object}", mustBe: 1},
               {id: two-rows, type: sql, query: "select id from {object}", mustBe: 1},
               {id: two-columns, type: sql, query: "select 1 as a, 2 as b", mustBe: 1},
               {id: two-alike, type: sql, query: "select count(*), count(a) from (select 1 as a) as one", mustBe: 1},
               {id: no-columns, type: sql, query: "select from {object} limit 1", mustBe: 1},
               {id: list, type: sql, query: "select json_build_array(1)", mustBe: 1},
               {id: endless, type: sql, query: "select repeat('x', 100000)", mustBe: 1},
               {id: unknown, type: sql, query: "select null", mustNotBe: 1},
               {id: wrong, type: sql, query: "select nonsense from {object}", mustBe: 1},
               {id: wrong-warning, type: sql, query: "select nonsense", mustBe: 1, severity: warning}"#,
        ))
        .await;
    for (id, value, outcome) in [
        ("plain", "1", Passed),
        ("dollar", "1", Passed),
        ("quoted", "1", Passed),
        ("warns", "2", Warned),
        ("truth", "true", Passed),
        ("exact", "0.10000000000000000001", Failed),
        ("text", "\"2{x}\"", Passed),
        ("nothing", "null", Failed),
        ("with", "2", Passed),
        ("no-column", "null", NotExecuted),
        ("two-rows", "null", NotExecuted),
        ("two-columns", "null", NotExecuted),
        ("two-alike", "null", NotExecuted),
        ("no-columns", "null", NotExecuted),
        ("list", "[1]", Failed),
        ("endless", "null", NotExecuted),
        ("unknown", "null", Failed),
        ("wrong", "null", NotExecuted),
    ] {
        assert_eq!(told(of(&results, id)), (value.to_owned(), outcome), "{:?}", of(&results, id));
    }
    let shown = of(&results, "plain").sql.as_deref();
    assert_eq!(shown, Some(r#"select count(*) from "t" where "a ""b" is null"#));
    let wrong = of(&results, "wrong");
    assert!(wrong.inconclusive && wrong.reason.as_deref().unwrap().contains("nonsense"), "{wrong:?}");
    let lost = of(&results, "no-column").reason.as_deref().unwrap();
    assert!(lost.contains("write the rule under the property"), "{lost}");
    let warning = of(&results, "wrong-warning");
    assert_eq!((warning.outcome, warning.inconclusive), (NotExecuted, false), "a warning decides nothing");
}

#[tokio::test]
async fn a_query_that_writes_is_refused_and_the_rest_goes_on() {
    let table = Table::new(
        "create table t (id integer primary key, \"a \"\"b\" text); insert into t values (1, 'x');
         create sequence s; create table log (n integer);
         create function writes() returns integer language plpgsql as
         $$begin insert into log values (1); return 1; end$$",
    )
    .await;
    let queries = [
        "delete from {object}",
        "with gone as (delete from {object} returning 1) select count(*) from gone",
        "select 1; delete from t",
        "select 1) q; delete from t; --",
        "select writes()",
        "select nextval('s')",
        "copy t to program 'true'",
        "truncate t",
        "set default_transaction_read_only = off",
        "select set_config('transaction_read_only', 'off', false)",
        "commit",
        "drop table t",
    ];
    let rules: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(n, q)| format!("{{id: q{n}, type: sql, query: \"{q}\", mustBe: 1}}"))
        .collect();
    let results =
        table.check(&schema("", &format!("{}, {{metric: rowCount, mustBe: 1}}", rules.join(", ")))).await;
    for (n, query) in queries.iter().enumerate() {
        let result = of(&results, &format!("q{n}"));
        assert_eq!(result.outcome, NotExecuted, "{query}: {result:?}");
        assert!(result.inconclusive && result.reason.is_some(), "{query}: {result:?}");
    }
    assert_eq!(of(&results, "rowCount").outcome, Passed);
    let rows: i64 = sqlx::query_scalar("select (select count(*) from t) + (select count(*) from log)")
        .fetch_one(&table.database.pool)
        .await
        .unwrap();
    assert_eq!(rows, 1, "nothing was written");
}

#[tokio::test]
async fn a_query_that_hangs_is_given_up() {
    let table = Table::new(TABLE).await;
    let schema = schema(
        "",
        r#"{id: hangs, type: sql, query: "select count(*) from pg_sleep(3600)", mustBe: 1},
           {id: unbound, type: sql, query: "select set_config('statement_timeout', '0', false)", mustBe: "0"},
           {id: hangs-again, type: sql, query: "select count(*) from pg_sleep(3600)", mustBe: 1},
           {metric: rowCount, mustBe: 2}"#,
    );
    let choice = Choice { patience: Duration::from_millis(300), ..Choice::default() };
    let results = table.check_patiently(&schema, choice).await;
    for id in ["hangs", "hangs-again"] {
        let hangs = of(&results, id);
        assert_eq!(hangs.outcome, NotExecuted);
        assert_eq!(hangs.reason.as_deref(), Some("it took longer than 0.3 s"));
    }
    assert_eq!(of(&results, "rowCount").outcome, Passed);
}

#[tokio::test]
async fn a_table_that_is_too_slow_is_not_asked_for_each_rule_anew() {
    let table = Table::new(
        "create function slow(integer) returns integer language sql volatile as 'select 1 from pg_sleep(3600)';
         create table base (id integer, a text); insert into base values (1, 'x');
         create view t as select slow(id) as id, a as \"a \"\"b\" from base",
    )
    .await;
    let rules: Vec<String> =
        (0..10).map(|n| format!("{{id: r{n}, metric: nullValues, mustBeLessThan: {n}}}")).collect();
    let document = schema("", "").replace(
        "primaryKey: true, required: true}",
        &format!("primaryKey: true, quality: [{}]}}", rules.join(", ")),
    );
    let choice = Choice { patience: Duration::from_millis(100), ..Choice::default() };
    let results = table.check_patiently(&document, choice).await;
    let reasons: Vec<&str> =
        (0..10).map(|n| of(&results, &format!("r{n}")).reason.as_deref().unwrap()).collect();
    assert_eq!(
        reasons.iter().filter(|reason| **reason == "it took longer than 0.1 s").count(),
        1,
        "{reasons:?}"
    );
    assert!(reasons[9].contains("rules before it took too long"), "{reasons:?}");
}

#[tokio::test]
async fn a_table_that_somebody_locked_is_waited_for_but_not_for_ever() {
    let table = Table::new(TABLE).await;
    let mut holder = table.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table t").execute(&mut *holder).await.unwrap();
    let choice = Choice { patience: Duration::from_millis(300), ..Choice::default() };
    let results = table.check_patiently(&schema("", "{metric: rowCount, mustBe: 2}"), choice).await;
    assert_eq!(of(&results, "rowCount").outcome, NotExecuted);
    holder.rollback().await.unwrap();
}
