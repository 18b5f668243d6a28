use super::*;

fn lines(source: &str) -> String {
    let findings = lint(source, "c.yaml").findings;
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_contract_has_no_errors_and_hides_nothing() {
    let source = std::fs::read_to_string("contracts/fragrances.yaml").unwrap();
    assert!(!lint(&source, "c.yaml").has_errors());
    insta::assert_snapshot!(lines(&source), @"");
}

#[test]
fn what_is_not_executed_is_named() {
    insta::assert_snapshot!(lines(r#"apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
servers:
  - {server: prod, type: postgres, host: db, port: 5432, database: shop, schema: shop}
roles:
  - {role: reader, access: read}
slaProperties:
  - {property: latency, value: 4, unit: h}
customProperties:
  - {property: accordInsert, value: defaults}
team: [{username: nobody}]
tags: [says, nothing]
schema:
  - name: t
    physicalType: view
    relationships:
      - {from: t.a, to: u.a}
    quality:
      - {metric: rowCount, mustBeBetween: [1, 10]}
      - {rule: duplicateCount, mustBeLessThan: 10}
      - {type: sql, name: no orphans, query: select 1, mustBe: 0}
      - {type: text, description: smells nice}
      - {type: custom, engine: soda, implementation: "x: y"}
      - {mustBe: 0}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, examples: [1, 1.5, x]}
      - name: a
        logicalType: string
        unique: true
        partitioned: true
        encryptedName: a_secret
        transformLogic: upper(b)
        logicalTypeOptions: {pattern: "[a-z]", format: byte}
        relationships: [{to: u.a}]
      - {name: b, logicalType: timestamp, logicalTypeOptions: {minimum: 2020-01-01T00:00:00Z, format: "dd.MM.yyyy"}}
      - name: c
        logicalType: object
        properties:
          - {name: d, physicalName: dd, logicalType: string, unique: true, quality: [{metric: nullValues, mustBe: 0}]}
"#), @r#"
    1:1 warning standard the standard asks for a `status`, such as draft or active
    6:5 info information servers are not connected to: accord.toml says where the library is
    6:74 warning not_executed schema `shop` is not used: write physicalName `shop.t` if table `t` is there
    7:1 info information roles grant nothing: the database's own grants count
    10:5 warning not_executed rule `sla.latency` is not executed: it needs an `element` such as table.property: a date or a timestamp
    12:6 warning setting `accordInsert` is left to other tools: Accord's own properties begin with `accord.`
    17:5 warning not_executed physicalType `view` is not looked at: Accord writes to it as to a table
    19:9 warning not_executed rule `a.relationship#2` is not executed: the document does not describe table `u`
    21:28 warning must_be_between the standard leaves 1 and 10 themselves out, its best-known tool takes them in, and so do we: say which with mustBeGreaterThan/mustBeGreaterOrEqualTo and mustBeLessThan/mustBeLessOrEqualTo
    22:9 warning not_executed rule `duplicateCount` is not executed: duplicateValues of a table needs the argument `properties`
    24:9 info information rule `text` is not executed: it is for people to read
    25:9 warning not_executed rule `custom` is not executed: it belongs to soda
    26:9 error quality rule `rule` is not executed: it needs a `metric`, or a `type`
    28:74 warning example the contract refuses its own example: 1.5 is not of type "integer"
    28:79 warning example the contract refuses its own example: "x" is not of type "integer"
    31:9 info unique uniqueness is the database's to enforce, by a unique constraint: the gate sees one record at a time, and `accord check` counts what repeats
    32:9 info information partitioning is the table's own affair: Accord neither creates nor checks it
    33:9 warning not_executed nothing is encrypted: values are written to the column as they come, not to `a_secret`
    34:9 info information transformLogic tells where values come from: Accord does not run it
    35:30 info pattern the pattern may match anywhere in the text: begin it with ^ and end it with $ to mean all of it
    35:48 warning not_executed format `byte` is not checked: use one of date, date-time, duration, email, hostname, ipv4, ipv6, json-pointer, regex, time, uri, uuid, or a pattern
    36:25 warning not_executed rule `a.relationship` is not executed: the document does not describe table `u`
    37:64 warning not_executed minimum `2020-01-01T00:00:00Z` of logicalType `timestamp` is not executed: values are read as RFC 3339 and not compared
    37:95 warning not_executed format `dd.MM.yyyy` of logicalType `timestamp` is not executed: values are read as RFC 3339 and not compared
    41:13 warning not_executed `primaryKey` and `unique` are executed on columns only
    41:23 warning not_executed values keep their field names within JSON: `dd` is not used
    41:86 warning not_executed rule `d.nullValues` is not executed: it is about a part of a structured value, and only columns are measured
    "#);
}

#[test]
fn a_text_that_is_no_document_has_one_finding() {
    insta::assert_snapshot!(lines("apiVersion: v3.1.0\nkind: Contract\n"), @"2:7 error syntax unknown variant `Contract`, expected one of DataContract");
    insta::assert_snapshot!(lines("apiVersion: v2.2.2\n"), @"1:1 error version apiVersion `v2.2.2` is not supported: use v3.1.0 (v3.0.x and v3.2.x are read too)");
    insta::assert_snapshot!(lines("{"), @"1:1 error syntax unclosed bracket '{'");
}

#[test]
fn every_table_is_judged_and_nothing_is_said_twice() {
    let source = "apiVersion: v3.2.0\nkind: DataContract\nid: t\nversion: 1.0.0\ncustomProperties:\n  - {property: accord.nonsense, value: 1}\nschema:\n  - {name: a, properties: [{name: x}]}\n  - {name: b, properties: [{name: y}]}\n";
    insta::assert_snapshot!(lines(source), @r#"
    6:5 error setting `accord.nonsense` is unknown: there are accord.unknownFields, accord.insert, accord.coerce, accord.version
    8:28 error type `x` needs a logicalType, a physicalType or both
    9:28 error type `y` needs a logicalType, a physicalType or both
    "#);
}

#[test]
fn a_rule_whose_pattern_nobody_can_read_is_an_error() {
    let source = |pattern: &str| {
        format!(
            "apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: t
    properties:
      - {{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}}
      - name: a
        logicalType: string
        physicalType: text
        quality:
          - {{metric: invalidValues, mustBe: 0, arguments: {{validValues: [x], pattern: '{pattern}'}}}}
"
        )
    };
    insta::assert_snapshot!(lines(&source("[a-")), @"14:78 error pattern `[a-` is no regular expression");
    for good in ["^x+$", "[[:alpha:]]", r"\mword\M", "***:(?i)x"] {
        assert_eq!(lines(&source(good)), "", "{good}");
    }
}
