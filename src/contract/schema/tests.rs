use serde_json::Value;

use crate::contract::Contract;

fn fragrances() -> Contract {
    Contract::load("contracts/fragrances.yaml", None).unwrap()
}

/// A contract of one property `a`, whose values are judged alone.
fn judge(property: &str) -> impl Fn(&str) -> bool {
    let source = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    properties:\n      - {{name: id, logicalType: integer, primaryKey: true}}\n      - {{name: a, {property}}}\n"
    );
    let contract = Contract::parse(&source, "c.yaml", None).unwrap();
    move |value| {
        let record: Value = serde_json::from_str(&format!(r#"{{"id":1,"a":{value}}}"#)).unwrap();
        let full = contract.full.is_valid(&record);
        assert_eq!(full, contract.delta.is_valid(&record), "a delta's value is judged as a full record's");
        full
    }
}

#[test]
fn a_full_fragrance() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&fragrances().full_schema).unwrap(), @r#"
    {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "description": "The fragrances that the library knows, one row each.",
      "properties": {
        "cost": {
          "description": "What one unit costs us, in whole or broken units of the house's currency. Zero means a sample.",
          "examples": [
            0,
            11,
            102,
            12.5
          ],
          "minimum": 0,
          "title": "Cost",
          "type": [
            "number",
            "null"
          ]
        },
        "description": {
          "description": "The notes and the mood, as a perfumer would tell them: what opens, what stays, what it reminds you of.",
          "examples": [
            "Bergamot and pink pepper over a quiet heart of iris; cedar and musk stay on the skin."
          ],
          "maxLength": 1024,
          "title": "Story",
          "type": [
            "string",
            "null"
          ]
        },
        "forbidden": {
          "description": "True when we may not sell it any more: a restricted ingredient, or a recall. The apps hide it at once, so this is the one field that must never arrive late.",
          "examples": [
            false,
            true
          ],
          "title": "Forbidden",
          "type": [
            "boolean",
            "null"
          ]
        },
        "fragrance_id": {
          "description": "The number that a fragrance keeps for life, whatever it is called today. Given by the CMS.",
          "examples": [
            0,
            1361,
            4254
          ],
          "maximum": 2147483647,
          "minimum": 0,
          "title": "Fragrance number",
          "type": "integer"
        },
        "name": {
          "description": "What it says on the bottle. Two houses may give two fragrances the same name, so this is no key.",
          "examples": [
            "Grandeval",
            "Camaca"
          ],
          "maxLength": 150,
          "minLength": 1,
          "title": "Name",
          "type": "string"
        }
      },
      "required": [
        "fragrance_id",
        "name",
        "description",
        "cost",
        "forbidden"
      ],
      "title": "fragrances, a full record",
      "type": "object"
    }
    "#);
}

#[test]
fn a_fragrance_delta_differs_in_what_is_required() {
    let (full, delta) = (fragrances().full_schema, fragrances().delta_schema);
    insta::assert_snapshot!(delta["required"], @r#"["fragrance_id"]"#);
    insta::assert_snapshot!(full["required"], @r#"["fragrance_id","name","description","cost","forbidden"]"#);
    assert_eq!(delta["properties"], full["properties"]);
}

#[test]
fn deltas_of_the_cms_pass_and_records_without_a_column_do_not() {
    let contract = fragrances();
    for (text, full, delta) in [
        (r#"{"fragrance_id": 1361, "description": "Hinged  blabla...", "forbidden": true}"#, false, true),
        (r#"{"fragrance_id": 0}"#, false, true),
        (r#"{"fragrance_id":0,"name":"A","description":null,"cost":11,"forbidden":null}"#, true, true),
        (
            r#"{"fragrance_id":0,"name":"A","description":"","cost":null,"forbidden":false,"more":1}"#,
            true,
            true,
        ),
        (r#"{"name":"A"}"#, false, false),
        (r#"{"fragrance_id":0,"name":null}"#, false, false),
        (r#"{"fragrance_id":0,"name":""}"#, false, false),
        (r#"{"fragrance_id":null}"#, false, false),
        (r#"{"fragrance_id":-1}"#, false, false),
        (r#"{"fragrance_id":2147483648}"#, false, false),
        (r#"{"fragrance_id":1,"cost":-0.01}"#, false, false),
        (r#"{"fragrance_id":1,"forbidden":"yes"}"#, false, false),
        ("[]", false, false),
    ] {
        let record: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (contract.full.is_valid(&record), contract.delta.is_valid(&record)),
            (full, delta),
            "{text}"
        );
    }
}

#[test]
fn values_are_judged_as_their_column_would() {
    let text = |character: &str, count: usize| format!("\"{}\"", character.repeat(count));
    let cases: [(&str, Vec<String>, Vec<String>); 17] = [
        (
            "physicalType: varchar(150)",
            vec![text("a", 150), text("é", 150), text("🌹", 150), "null".into()],
            vec![text("a", 151), text("é", 151), text("🌹", 151), "1".into()],
        ),
        (
            "physicalType: varchar(9), logicalTypeOptions: {maxLength: 3}, logicalType: string",
            vec![text("a", 3)],
            vec![text("a", 4)],
        ),
        (
            "physicalType: varchar(3), logicalTypeOptions: {maxLength: 9}, logicalType: string",
            vec![text("a", 3)],
            vec![text("a", 4)],
        ),
        (
            "physicalType: smallint",
            strings(&["-32768", "32767", "1.0", "1e2"]),
            strings(&["-32769", "32768", "1.5"]),
        ),
        (
            "physicalType: integer",
            strings(&["-2147483648", "2147483647"]),
            strings(&["-2147483649", "2147483648"]),
        ),
        (
            "physicalType: bigint",
            strings(&["-9223372036854775808", "9223372036854775807"]),
            strings(&["-9223372036854775809", "9223372036854775808"]),
        ),
        (
            "physicalType: 'numeric(10,2)'",
            strings(&["99999999.99", "-99999999.99", "0", "1E-2", "1.10", "1.100"]),
            strings(&["100000000", "-1e8", "0.001", "99999999.995"]),
        ),
        (
            "physicalType: 'numeric(32,2)'",
            strings(&["999999999999999999999999999999.99"]),
            strings(&["999999999999999999999999999999.995", "1e30"]),
        ),
        (
            "physicalType: numeric",
            strings(&["1e300", "0.00000000000000000000000000000000000001"]),
            strings(&["\"1\""]),
        ),
        ("physicalType: real", strings(&["3.4028235e38", "0.1"]), strings(&["3.5e38", "-1e39"])),
        (
            "physicalType: uuid",
            strings(&["\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\""]),
            strings(&["\"6ba7b810\"", "1"]),
        ),
        ("physicalType: date", strings(&["\"2024-02-29\""]), strings(&["\"2023-02-29\"", "\"29.02.2024\""])),
        (
            "physicalType: timestamptz",
            strings(&["\"2024-02-29T10:00:00Z\"", "\"2024-02-29T10:00:00.5+02:00\""]),
            strings(&["\"2024-02-29T10:00:00\"", "\"2024-02-29\""]),
        ),
        (
            "physicalType: timestamp",
            strings(&["\"2024-02-29T10:00:00\"", "\"2024-02-29T10:00:00.123456\""]),
            strings(&["\"2024-02-29T10:00:00Z\"", "\"2024-02-30T10:00:00\""]),
        ),
        ("physicalType: time", strings(&["\"10:00:00\""]), strings(&["\"10:00:00Z\"", "\"25:00:00\""])),
        ("physicalType: boolean, required: true", strings(&["true"]), strings(&["null", "0"])),
        (
            "physicalType: jsonb, required: true",
            strings(&["{}", "[]", "\"x\"", "0", "false"]),
            strings(&["null"]),
        ),
    ];
    for (property, good, bad) in cases {
        let passes = judge(property);
        for value in good {
            assert!(passes(&value), "{property}: {value}");
        }
        for value in bad {
            assert!(!passes(&value), "{property}: {value}");
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn options_of_the_document_are_kept() {
    for (property, good, bad) in [
        (
            "logicalType: number, logicalTypeOptions: {exclusiveMinimum: 0, exclusiveMaximum: 0.30}",
            "0.29999999999999999999",
            "0.3",
        ),
        ("logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMinimum: true}", "0.1", "0"),
        ("logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMinimum: false}", "0", "-0.1"),
        ("logicalType: number, logicalTypeOptions: {multipleOf: 0.05}", "0.15", "0.151"),
        ("logicalType: integer, logicalTypeOptions: {format: u8}", "255", "256"),
        ("logicalType: string, logicalTypeOptions: {pattern: '^[A-Z]+$'}", "\"ABC\"", "\"abc\""),
        ("logicalType: string, logicalTypeOptions: {minLength: 2}", "\"ab\"", "\"a\""),
        ("logicalType: string, logicalTypeOptions: {format: email}", "\"a@b.org\"", "\"a\""),
        ("logicalType: string, enum: [{value: a}, {value: b}]", "null", "\"c\""),
        (
            "logicalType: array, logicalTypeOptions: {maxItems: 2}, items: {logicalType: integer, required: true}",
            "[1, 2]",
            "[1, 2, 3]",
        ),
        ("logicalType: array, items: {logicalType: integer, required: true}", "[]", "[null]"),
        (
            "logicalType: object, properties: [{name: x, logicalType: integer, required: true}]",
            r#"{"x":1,"y":2}"#,
            "{}",
        ),
        (
            "logicalType: object, logicalTypeOptions: {required: [x]}, properties: [{name: x, logicalType: integer}]",
            r#"{"x":1}"#,
            r#"{"x":null}"#,
        ),
        (
            "logicalType: map, map: {key: {logicalType: string, logicalTypeOptions: {maxLength: 1}}, value: {logicalType: integer}}",
            r#"{"a":1,"b":null}"#,
            r#"{"aa":1}"#,
        ),
    ] {
        let passes = judge(property);
        assert!(passes(good), "{property}: {good}");
        assert!(!passes(bad), "{property}: {bad}");
    }
}

proptest::proptest! {
    /// What numeric(p,s) takes, counted on the digits of any decimal.
    #[test]
    fn numeric_takes_what_has_few_enough_digits(whole in "(0|[1-9][0-9]{0,9})", fraction in "[0-9]{0,5}", negative: bool) {
        let sign = if negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        let passes = judge("physicalType: 'numeric(8,3)'");
        let fits = whole.len() <= 5 && fraction.trim_end_matches('0').len() <= 3;
        proptest::prop_assert_eq!(passes(&format!("{sign}{whole}{point}{fraction}")), fits);
    }

    /// Length is counted in characters, as Postgres counts it.
    #[test]
    fn varchar_counts_characters(text in ".{0,12}") {
        let passes = judge("physicalType: varchar(6)");
        let json = serde_json::to_string(&text).unwrap();
        proptest::prop_assert_eq!(passes(&json), text.chars().count() <= 6);
    }
}
