//! Every metric and every operator, at, under and over the threshold; nulls, emptiness, shares.

use accord::quality::Outcome::{Failed, NotExecuted, Passed, Warned};

use super::{Table, of, told};

/// Five rows: two nulls, one empty, one repeated.
const FIVE: &str = "create table t (id integer primary key, a text, b integer);
    insert into t values (1, null, 1), (2, null, 1), (3, '', 2), (4, 'x', 2), (5, 'x', 3)";

/// The table's schema with these rules under property `a`, and those under the table.
fn schema(of_a: &str, of_table: &str) -> String {
    format!(
        "schema:
  - name: t
    properties:
      - {{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}}
      - {{name: a, logicalType: string, physicalType: text, quality: [{of_a}]}}
      - {{name: b, logicalType: integer, physicalType: integer}}
    quality: [{of_table}]
"
    )
}

#[tokio::test]
async fn every_metric_counts_what_it_says() {
    let table = Table::new(FIVE).await;
    let results = table
        .check(&schema(
            "{metric: nullValues, mustBe: 2},
             {metric: missingValues, mustBe: 3, arguments: {missingValues: [null, '', 'n/a']}},
             {metric: invalidValues, mustBe: 1, arguments: {validValues: [x, y]}},
             {id: pattern, metric: invalidValues, mustBe: 1, arguments: {pattern: '^x'}},
             {id: both, metric: invalidValues, mustBe: 3, arguments: {validValues: [''], pattern: x}},
             {metric: duplicateValues, mustBe: 1},
             {id: older, type: library, rule: duplicateCount, mustBe: 1}",
            "{metric: rowCount, mustBe: 5},
             {metric: duplicateValues, mustBe: 1, arguments: {properties: [a, b]}},
             {id: one, metric: duplicateValues, mustBe: 2, arguments: {properties: [b]}}",
        ))
        .await;
    for (id, value) in [
        ("a.nullValues", "2"),
        ("a.missingValues", "3"),
        ("a.invalidValues", "1"),
        ("pattern", "1"),
        ("both", "3"),
        ("a.duplicateValues", "1"),
        ("older", "1"),
        ("rowCount", "5"),
        ("duplicateValues", "0"),
        ("one", "2"),
    ] {
        let result = of(&results, id);
        assert_eq!(result.value.to_string(), value, "{result:?}");
        assert_eq!(result.rows, Some(5), "{result:?}");
        assert!(result.sql.as_deref().unwrap().starts_with("select "), "{result:?}");
        assert_eq!(result.outcome, if id == "duplicateValues" { Failed } else { Passed }, "{result:?}");
    }
}

#[tokio::test]
async fn every_operator_under_at_and_over_its_threshold() {
    let table = Table::new(FIVE).await;
    // Two nulls, against thresholds that two is over, at and under.
    let operators = [
        ("mustBe", ["1", "2", "3"], [Failed, Passed, Failed]),
        ("mustNotBe", ["1", "2", "3"], [Passed, Failed, Passed]),
        ("mustBeGreaterThan", ["1", "2", "3"], [Passed, Failed, Failed]),
        ("mustBeGreaterOrEqualTo", ["1", "2", "3"], [Passed, Passed, Failed]),
        ("mustBeLessThan", ["1", "2", "3"], [Failed, Failed, Passed]),
        ("mustBeLessOrEqualTo", ["1", "2", "3"], [Failed, Passed, Passed]),
        ("mustBeBetween", ["[0, 1]", "[1, 2]", "[2, 3]"], [Failed, Passed, Passed]),
        ("mustNotBeBetween", ["[0, 1]", "[1, 2]", "[3, 4]"], [Passed, Failed, Passed]),
    ];
    let rules: Vec<String> = operators
        .iter()
        .flat_map(|(operator, bounds, _)| {
            let rule =
                move |(n, bound)| format!("{{id: {operator}-{n}, metric: nullValues, {operator}: {bound}}}");
            bounds.iter().enumerate().map(rule)
        })
        .collect();
    let results = table.check(&schema(&rules.join(", "), "")).await;
    for (operator, bounds, outcomes) in operators {
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let result = of(&results, &format!("{operator}-{n}"));
            assert_eq!(told(result), ("2".to_owned(), outcome), "{operator}: {}", bounds[n]);
            let threshold = result.threshold.as_object().unwrap().keys().next().unwrap();
            assert_eq!(threshold, operator);
        }
    }
    let both = "{id: both, metric: nullValues, mustBeGreaterThan: 0, mustBeLessThan: 2}";
    assert_eq!(of(&table.check(&schema(both, "")).await, "both").outcome, Failed);
}

#[tokio::test]
async fn a_share_is_of_all_rows_and_of_no_rows_nothing() {
    let table = Table::new(FIVE).await;
    let rules = schema(
        "{metric: nullValues, mustBe: 40, unit: percent},
         {id: under, metric: nullValues, mustBeLessThan: 40, unit: '%'},
         {id: over, metric: nullValues, mustBeLessThan: 40.1, unit: percentage},
         {metric: missingValues, mustBe: 60, unit: percent, arguments: {missingValues: ['']}},
         {metric: invalidValues, mustBe: 20, unit: percent, arguments: {pattern: x}},
         {metric: duplicateValues, mustBe: 20, unit: percent}",
        "{metric: rowCount, mustBeGreaterThan: 1, unit: percent}",
    );
    let results = table.check(&rules).await;
    for (id, value, outcome) in [
        ("a.nullValues", "40.0", Passed),
        ("under", "40.0", Failed),
        ("over", "40.0", Passed),
        ("a.missingValues", "60.0", Passed),
        ("a.invalidValues", "20.0", Passed),
        ("a.duplicateValues", "20.0", Passed),
        ("rowCount", "null", NotExecuted),
    ] {
        assert_eq!(told(of(&results, id)), (value.to_owned(), outcome), "{id}");
    }

    table.execute("truncate t").await;
    let results = table.check(&rules).await;
    for id in ["a.nullValues", "under", "a.missingValues", "a.invalidValues", "a.duplicateValues"] {
        assert_eq!(of(&results, id).value.to_string(), "0.0", "{id}");
    }
    assert_eq!(of(&results, "under").outcome, Passed);
    assert_eq!(of(&results, "a.nullValues").outcome, Failed);
}

#[tokio::test]
async fn an_empty_table_has_no_rows_and_nothing_wrong_in_them() {
    let table = Table::new("create table t (id integer primary key, a text, b integer)").await;
    let results = table
        .check(&schema(
            "{metric: nullValues, mustBe: 0}, {metric: duplicateValues, mustBe: 0}",
            "{metric: rowCount, mustBeGreaterThan: 0, severity: warning}, {id: none, metric: rowCount, mustBe: 0}",
        ))
        .await;
    assert_eq!(told(of(&results, "a.nullValues")), ("0".to_owned(), Passed));
    assert_eq!(told(of(&results, "a.duplicateValues")), ("0".to_owned(), Passed));
    assert_eq!(told(of(&results, "rowCount")), ("0".to_owned(), Warned));
    assert_eq!(told(of(&results, "none")), ("0".to_owned(), Passed));
}

#[tokio::test]
async fn the_rows_that_break_a_rule_are_named_twenty_at_most() {
    let table = Table::new(
        "create table t (id integer, part text, a text, b integer, primary key (part, id));
         insert into t select i, 'p', case when i <= 30 then null else 'v' || i / 2 end, i
         from generate_series(1, 41) i",
    )
    .await;
    let schema = "schema:
  - name: t
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, primaryKeyPosition: 2}
      - {name: part, logicalType: string, physicalType: text, primaryKey: true, primaryKeyPosition: 1}
      - name: a
        logicalType: string
        required: true
        quality:
          - {metric: duplicateValues, mustBe: 0}
          - {id: too-few, metric: nullValues, mustBeGreaterThan: 100}
      - {name: b, logicalType: integer, physicalType: integer}
";
    let results = table.check(schema).await;
    let required = of(&results, "a.required");
    assert_eq!(
        (required.value.to_string().as_str(), required.outcome, required.keys.len()),
        ("30", Failed, 20)
    );
    assert!(required.keys.contains(&r#"["p","1"]"#.to_owned()), "{required:?}");
    let repeats = of(&results, "a.duplicateValues");
    // 32 and 33 say v16, and so on; 41 stands alone with 40.
    assert_eq!(repeats.value.to_string(), "5");
    assert_eq!(repeats.keys[..2], [r#"["p","32"]"#, r#"["p","33"]"#], "neighbours stand together");
    assert_eq!(repeats.keys.len(), 10);
    assert!(of(&results, "too-few").keys.is_empty(), "no row is to blame that there are too few");
    assert_eq!(of(&results, "primary_key.unique").outcome, Passed);
}

#[tokio::test]
async fn repeats_are_counted_over_several_columns_and_nulls_equal_nothing() {
    let table = Table::new(
        "create table t (id integer primary key, a text, b integer);
         insert into t values (1, 'x', 1), (2, 'x', 1), (3, 'x', 1), (4, 'x', 2), (5, 'y', 1),
                              (6, null, 1), (7, null, 1), (8, null, null), (9, null, null)",
    )
    .await;
    let results = table
        .check(&schema(
            "{metric: duplicateValues, mustBe: 1}",
            "{id: pair, metric: duplicateValues, mustBe: 0, arguments: {properties: [a, b]}},
             {id: share, metric: duplicateValues, mustBeLessThan: 22.2, unit: percent, arguments: {properties: [a, b]}},
             {id: key, metric: duplicateValues, mustBe: 0, arguments: {properties: [id, a]}},
             {id: unknown, metric: duplicateValues, mustBe: 0, arguments: {properties: [id, c]}}",
        ))
        .await;
    assert_eq!(told(of(&results, "a.duplicateValues")), ("1".to_owned(), Passed));
    let pair = of(&results, "pair");
    assert_eq!(told(pair), ("1".to_owned(), Failed));
    assert_eq!(pair.keys, ["1", "2", "3"]);
    // Two of nine rows only repeat another: 22.2…
    assert_eq!(of(&results, "share").outcome, Failed);
    let key = of(&results, "key");
    assert_eq!(told(key), ("0".to_owned(), Passed));
    assert!(key.reason.as_deref().unwrap().contains("unique index"), "{key:?}");
    assert_eq!(of(&results, "unknown").outcome, NotExecuted);
}

#[tokio::test]
async fn an_index_over_several_columns_lets_one_of_them_repeat() {
    let table = Table::new(
        "create table t (id integer primary key, a text, b integer, unique (a, b));
         create unique index on t (b) where id > 1; create unique index on t (lower(a)) where id < 0;
         insert into t values (1, 'x', 1), (2, 'x', 2), (3, 'y', 1)",
    )
    .await;
    let results = table
        .check(&schema(
            "{metric: duplicateValues, mustBe: 0}",
            "{id: b, metric: duplicateValues, mustBe: 0, arguments: {properties: [b]}},
             {id: both, metric: duplicateValues, mustBe: 0, arguments: {properties: [b, a]}}",
        ))
        .await;
    for (id, value, outcome) in
        [("a.duplicateValues", "1", Failed), ("b", "1", Failed), ("both", "0", Passed)]
    {
        assert_eq!(told(of(&results, id)), (value.to_owned(), outcome), "{id}");
    }
}
