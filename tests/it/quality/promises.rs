//! What a contract promises without a quality rule: presence, uniqueness, limits, references, freshness, shape.

use accord::change::{Body, Intent, Origin};
use accord::contract::Contract;
use accord::contract::gate::Gate;
use accord::quality::Outcome::{Failed, NotExecuted, Passed};
use accord::quality::{Choice, Outcome};
use accord::value::Value;

use super::{Table, of, told};

#[tokio::test]
async fn limits_of_every_type_under_at_and_over() {
    let table = Table::new(
        "create table t (id integer primary key, s text, i integer, n numeric, r real, d date, u text, e text);
         insert into t values
             (1, 'ab',   1, 0.9, 0.1, '2020-01-01', 'a', 'x'),
             (2, 'abc',  2, 1.0, 0.2, '2020-01-02', 'a', 'y'),
             (3, 'abcd', 3, 1.5, 0.3, '2020-01-03', 'b', 'z'),
             (4, 'ab''c', 4, 2.5, 0.4, '2020-01-04', 'c', E'q\\\\'),
             (5, null, null, null, null, null, null, null)",
    )
    .await;
    let results = table
        .check(
            "schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: s, logicalType: string, physicalType: text, required: true, logicalTypeOptions: {minLength: 3, maxLength: 3, pattern: '^ab'}}
      - {name: i, logicalType: integer, physicalType: integer, logicalTypeOptions: {minimum: 2, maximum: 3, multipleOf: 2}}
      - {name: n, logicalType: number, physicalType: numeric, logicalTypeOptions: {exclusiveMinimum: 1, exclusiveMaximum: 2.5}}
      - {name: r, logicalType: number, physicalType: real, logicalTypeOptions: {minimum: 0.2, maximum: 0.3}}
      - {name: d, logicalType: date, physicalType: date, logicalTypeOptions: {minimum: '2020-01-02'}}
      - {name: u, logicalType: string, physicalType: text, unique: true}
      - {name: e, logicalType: string, physicalType: text, enum: [{value: x}, {value: \"q\\\\\"}]}
",
        )
        .await;
    for (id, value, keys) in [
        ("schema", "0", &[][..]),
        ("id.required", "0", &[]),
        ("id.unique", "0", &[]),
        ("s.required", "1", &["5"]),
        ("s.minLength", "1", &["1"]),
        ("s.maxLength", "2", &["3", "4"]),
        ("s.pattern", "0", &[]),
        ("i.minimum", "1", &["1"]),
        ("i.maximum", "1", &["4"]),
        ("i.multipleOf", "2", &["1", "3"]),
        ("n.exclusiveMinimum", "2", &["1", "2"]),
        ("n.exclusiveMaximum", "1", &["4"]),
        ("r.minimum", "1", &["1"]),
        ("r.maximum", "1", &["4"]),
        ("d.minimum", "1", &["1"]),
        ("u.unique", "1", &["1", "2"]),
        ("e.enum", "2", &["2", "3"]),
    ] {
        let result = of(&results, id);
        let outcome = if value == "0" { Passed } else { Failed };
        assert_eq!(told(result), (value.to_owned(), outcome), "{result:?}");
        assert_eq!(result.keys, keys, "{id}");
    }

    // What is shown can be run by hand, and says the same.
    for result in results.iter().filter(|result| result.sql.is_some()) {
        let sql = result.sql.clone().unwrap();
        let row = sqlx::query(sqlx::AssertSqlSafe(sql.clone())).fetch_one(&table.database.pool).await;
        let row = row.unwrap_or_else(|error| panic!("{error} in {sql}"));
        let column = usize::from(!matches!(result.id.as_str(), "id.unique" | "u.unique"));
        let value: String = sqlx::Row::get(&row, column);
        assert_eq!(value, result.value.to_string(), "{sql}");
    }
}

#[tokio::test]
async fn a_reference_must_be_there() {
    let table = Table::new(
        "create schema crm; create table crm.tenant (tenant_id integer, land text);
         insert into crm.tenant values (1, 'de'), (2, 'fr');
         create table t (id integer primary key, tenant integer, land text);
         insert into t values (1, 1, 'de'), (2, 2, 'de'), (3, null, 'de'), (4, 9, 'fr')",
    )
    .await;
    let results = table
        .check(
            "schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - name: tenant
        logicalType: integer
        physicalType: integer
        relationships: [{to: tenants.id}, {id: full, to: schema/tenants/properties/id}, {id: lost, to: nowhere.id}]
      - {name: land, logicalType: string, physicalType: text}
    relationships:
      - {id: pair, from: [t.tenant, t.land], to: [tenants.id, tenants.land]}
  - name: tenants
    physicalName: crm.tenant
    properties:
      - {name: id, physicalName: tenant_id, logicalType: integer, physicalType: integer, primaryKey: true}
      - {name: land, logicalType: string, physicalType: text}
",
        )
        .await;
    for (id, keys) in [("tenant.relationship", &["4"][..]), ("full", &["4"]), ("pair", &["2", "4"])] {
        let result = of(&results, id);
        assert_eq!(told(result), (keys.len().to_string(), Failed), "{result:?}");
        assert_eq!(result.keys, keys, "{id}");
    }
    assert_eq!(of(&results, "lost").outcome, NotExecuted);
}

#[tokio::test]
async fn the_latest_row_is_as_fresh_as_was_agreed() {
    let table = Table::new(
        "create table t (id integer primary key, at timestamptz, local timestamp, day date);
         insert into t values (1, now() - interval '90 minutes', now() at time zone 'UTC' - interval '3 hours', current_date - 3)",
    )
    .await;
    let schema = "slaProperties:
  - {id: two, property: freshness, value: 2, unit: h, element: t.at}
  - {id: one, property: latency, value: 1, unit: hours, element: t.at}
  - {id: minutes, property: freshness, value: '100', unit: m, element: t.at}
  - {id: local, property: freshness, value: 4, unit: h, element: t.local}
  - {id: day, property: freshness, value: 3, element: t.day}
  - {id: elsewhere, property: freshness, value: 3, element: other.day}
  - {id: text, property: freshness, value: 3, element: t.id}
  - {property: availability, value: 99.9, unit: percent}
schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: at, logicalType: timestamp, physicalType: timestamptz}
      - {name: local, logicalType: timestamp, physicalType: timestamp}
      - {name: day, logicalType: date, physicalType: date}
";
    let results = table.check(schema).await;
    let outcomes: Vec<(&str, Outcome)> =
        ["two", "one", "minutes", "local", "day", "text", "sla.availability"]
            .map(|id| (id, of(&results, id).outcome))
            .to_vec();
    assert_eq!(
        outcomes,
        [
            ("two", Passed),
            ("one", Failed),
            ("minutes", Passed),
            ("local", Passed),
            ("day", Failed),
            ("text", NotExecuted),
            ("sla.availability", NotExecuted)
        ]
    );
    assert!(!results.iter().any(|result| result.id == "elsewhere"), "it is another table's");
    let age = of(&results, "two").value.as_f64().unwrap();
    assert!((1.5..1.6).contains(&age), "{age} hours");

    table.execute("truncate t").await;
    assert_eq!(told(of(&table.check(schema).await, "two")), ("null".to_owned(), Failed));
}

const DRIFTED: &str = "schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: a, logicalType: string, physicalType: varchar(10), required: true}
      - {name: gone, logicalType: string, physicalType: text, required: true, quality: [{metric: duplicateValues, mustBe: 0}]}
    quality: [{metric: rowCount, mustBe: 1}, {type: text, description: smells nice}, {type: custom, engine: soda, implementation: x}]
";

#[tokio::test]
async fn a_table_that_drifted_is_told_and_spoils_no_other_rule() {
    let table =
        Table::new("create table t (id integer primary key, a varchar(5)); insert into t values (1, null)")
            .await;
    let results = table.check(DRIFTED).await;
    let schema = of(&results, "schema");
    assert_eq!(told(schema), ("2".to_owned(), Failed));
    for piece in ["column \"a\" is character varying(5)", "column \"gone\" does not exist"] {
        assert!(schema.reason.as_deref().unwrap().contains(piece), "{schema:?}");
    }
    assert_eq!(told(of(&results, "a.required")), ("1".to_owned(), Failed));
    assert_eq!(told(of(&results, "rowCount")), ("1".to_owned(), Passed));
    for id in ["gone.required", "gone.duplicateValues"] {
        assert_eq!(of(&results, id).outcome, NotExecuted, "{id}");
        assert!(of(&results, id).inconclusive, "{id}");
    }
    for id in ["text", "custom"] {
        let result = of(&results, id);
        assert_eq!(result.outcome, NotExecuted, "{id}");
        assert!(!result.inconclusive && result.reason.is_some(), "nobody expects it: {result:?}");
    }

    table.execute("drop table t").await;
    let results = table.check(DRIFTED).await;
    assert!(of(&results, "schema").reason.as_deref().unwrap().contains("does not exist"));
    assert_eq!(of(&results, "rowCount").outcome, NotExecuted);
}

#[tokio::test]
async fn a_key_of_other_columns_and_a_column_that_computes_itself_are_drift() {
    let table = Table::new(
        "create table t (id integer, a varchar(10) primary key, gone text generated always as (lower(a)) stored)",
    )
    .await;
    let results = table.check(DRIFTED).await;
    let schema = of(&results, "schema");
    assert_eq!(told(schema), ("2".to_owned(), Failed));
    for piece in ["\"gone\" of \"t\" is generated", "the primary key is (a)"] {
        assert!(schema.reason.as_deref().unwrap().contains(piece), "{schema:?}");
    }
}

#[tokio::test]
async fn one_rule_can_be_asked_for_alone() {
    let table = Table::new("create table t (id integer primary key, a varchar(10), gone text)").await;
    let choice = Choice { rule: Some("a.required"), ..Choice::default() };
    let results = table.check_patiently(DRIFTED, choice).await;
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].id, "a.required");
}

#[tokio::test]
async fn a_list_may_hold_what_is_no_value_of_its_columns_type() {
    let table = Table::new(
        "create table t (id integer primary key, day date, at timestamptz, u uuid, n numeric);
         insert into t values
             (1, '1900-01-01', '2020-01-01 00:00+00', '00000000-0000-0000-0000-00000000000a', 0),
             (2, 'infinity', null, null, 'NaN'),
             (3, '2020-01-01', '2020-01-02 00:00+00', '00000000-0000-0000-0000-00000000000b', 7)",
    )
    .await;
    let rule = |id: &str, list: &str| {
        format!(
            "quality: [{{id: {id}, metric: missingValues, mustBe: 0, arguments: {{missingValues: [{list}]}}}}]"
        )
    };
    let results = table
        .check(&format!(
            "schema:
  - name: t
    properties:
      - {{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}}
      - {{name: day, logicalType: date, physicalType: date, {}}}
      - {{name: at, logicalType: timestamp, physicalType: timestamptz, {}}}
      - {{name: u, logicalType: string, physicalType: uuid, {}}}
      - {{name: n, logicalType: number, physicalType: numeric, {}}}
",
            rule("days", "'', 'n/a', '1900-01-01', infinity"),
            rule("instants", "'2020-01-01T01:00:00+01:00', TBD"),
            rule("ids", "'', '00000000-0000-0000-0000-00000000000A'"),
            rule("numbers", "'', 'n/a', '0.00'"),
        ))
        .await;
    for (id, keys) in
        [("days", &["1", "2"][..]), ("instants", &["1", "2"]), ("ids", &["1", "2"]), ("numbers", &["1"])]
    {
        let result = of(&results, id);
        assert_eq!(told(result), (keys.len().to_string(), Failed), "{result:?}");
        assert_eq!(result.keys, keys, "{id}");
    }
}

#[tokio::test]
async fn rows_are_not_named_by_a_key_that_is_sensitive() {
    let table =
        Table::new("create table t (mail text primary key, a text); insert into t values ('me@here', null)")
            .await;
    let results = table
        .check(
            "schema:
  - name: t
    properties:
      - {name: mail, logicalType: string, physicalType: text, primaryKey: true, required: true, classification: PII}
      - {name: a, logicalType: string, physicalType: text, required: true}
",
        )
        .await;
    let result = of(&results, "a.required");
    assert_eq!(told(result), ("1".to_owned(), Failed));
    assert!(result.keys.is_empty(), "{result:?}");
}

#[tokio::test]
async fn what_is_no_number_keeps_no_bound() {
    let table = Table::new(
        "create table t (id integer primary key, r real, d double precision, n numeric, free double precision);
         insert into t values (1, 'NaN', 'NaN', 'NaN', 'NaN'), (2, 1, 1, 1, 1), (3, null, null, null, null),
                              (4, 'Infinity', 'Infinity', 'Infinity', '-Infinity')",
    )
    .await;
    let of_type = |name: &str, ty: &str, options: &str| {
        format!(
            "      - {{name: {name}, logicalType: number, physicalType: {ty}, logicalTypeOptions: {{{options}}}}}\n"
        )
    };
    let results = table
        .check(&format!(
            "schema:\n  - name: t\n    properties:\n      - {{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}}\n{}{}{}{}",
            of_type("r", "real", "minimum: 0, maximum: 10"),
            of_type("d", "double precision", "exclusiveMinimum: 0, exclusiveMaximum: 10"),
            of_type("n", "numeric", "minimum: 0, maximum: 10"),
            of_type("free", "double precision", ""),
        ))
        .await;
    for (id, breaking) in [
        ("r.minimum", "1"),
        ("r.maximum", "2"),
        ("d.exclusiveMinimum", "1"),
        ("d.exclusiveMaximum", "2"),
        ("n.minimum", "1"),
        ("n.maximum", "2"),
    ] {
        let result = of(&results, id);
        assert_eq!(told(result), (breaking.to_owned(), Failed), "{result:?}");
        assert_eq!(result.keys[0], "1", "{result:?}");
    }
    assert!(
        results.iter().all(|result| !result.id.starts_with("free.")),
        "without a bound it may be anything"
    );
}

#[test]
fn the_gate_lets_nothing_in_that_is_no_number() {
    let document = "apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: r, logicalType: number, physicalType: double precision}
";
    let gate = Gate::new(Contract::parse(document, "test", None).unwrap().into());
    // As a reference may hand it over; a sender could only write it as a text, which is no number either.
    assert!(gate.judge_full(&[Value::Int(1), Value::Float(1.5)]).is_ok());
    let violations = gate.judge_full(&[Value::Int(1), Value::Float(f64::NAN)]).unwrap_err();
    assert_eq!((violations[0].pointer.as_str(), violations[0].rule.as_str()), ("/r", "type"));
    let body = Body::new(r#"{"id":1,"r":"NaN"}"#, Vec::new());
    assert!(matches!(gate.judge_at(&body, "", Origin::Webhook).intent, Intent::Refused { .. }));
}
