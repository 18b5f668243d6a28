use crate::contract::{Contract, ContractError};

/// A document with one table whose properties are `properties`, indented as a list of the table's.
fn document(properties: &str) -> String {
    let head = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    properties:\n      - {name: id, physicalType: integer, primaryKey: true}";
    let lines: Vec<String> = properties.lines().map(|line| format!("      {line}\n")).collect();
    format!("{head}\n{}", lines.concat())
}

fn fragrances() -> Contract {
    Contract::load("contracts/fragrances.yaml", None).unwrap()
}

/// The error as an operator reads it.
fn refusal(source: &str) -> String {
    let error = Contract::parse(source, "c.yaml", None).unwrap_err();
    match &error {
        ContractError::Syntax { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[test]
fn the_shipped_contract_compiles() {
    let contract = fragrances();
    let columns: Vec<String> = contract
        .columns
        .iter()
        .map(|c| format!("{} {}{}", c.name, c.ty, if c.required { " not null" } else { "" }))
        .collect();
    insta::assert_snapshot!(columns.join("\n"), @r#"
    "fragrance_id" integer not null
    "name" character varying(150) not null
    "description" character varying(1024)
    "cost" numeric
    "forbidden" boolean
    "#);
    assert_eq!((contract.name.as_str(), contract.key.as_slice()), ("fragrances", &[0][..]));
    assert_eq!(contract.by_field["cost"], 3);
    assert_eq!(contract.hash.len(), 64);
}

#[test]
fn what_is_no_document_is_refused_with_its_place() {
    let word = document("- {name: a, logicalType: string, requierd: true}");
    insta::assert_snapshot!(refusal(&word), @"c.yaml:10:40: not a document of the Open Data Contract Standard: unknown field `requierd`, expected one of id, name, physicalName, physicalType, logicalType, logicalTypeOptions, businessName, description, deprecated, semanticType, synonyms, tags, required, unique, primaryKey, primaryKeyPosition, partitioned, partitionKeyPosition, classification, encryptedName, criticalDataElement, transformSourceObjects, transformLogic, transformDescription, examples, enum, items, properties, map, relationships, quality, authoritativeDefinitions, customProperties at line 10, column 40");
    insta::assert_snapshot!(refusal(&document("- {name: a, logicalType: strin}")), @"c.yaml:10:32: not a document of the Open Data Contract Standard: unknown variant `strin`, expected one of string, date, timestamp, time, number, integer, boolean, object, array, map, vector at line 10, column 32");
    insta::assert_snapshot!(refusal(&document("- {name: a, required: maybe}")), @"c.yaml:10:29: not a document of the Open Data Contract Standard: invalid boolean at line 10, column 29");
    insta::assert_snapshot!(refusal(&document("- {name: a, name: b}")), @"c.yaml:10:19: not a document of the Open Data Contract Standard: duplicate mapping key: name, set DuplicateKeyPolicy in Options if acceptable at line 10, column 19");
    insta::assert_snapshot!(refusal("apiVersion: v2.2.2\nuuid: x\n"), @"c.yaml:1:1: apiVersion `v2.2.2` is not supported: use v3.1.0 (v3.0.x and v3.2.x are read too)");
    insta::assert_snapshot!(refusal("apiVersion: v3.1.0\nkind: DataContract\nid: t\n"), @"c.yaml:3:1: not a document of the Open Data Contract Standard: missing field `version` at line 3, column 1");
    insta::assert_snapshot!(refusal("a: [1\n"), @"c.yaml:1:4: not a document of the Open Data Contract Standard: unclosed bracket '[' at line 1, column 4");
    insta::assert_snapshot!(refusal(""), @"c.yaml:1:1: not a document of the Open Data Contract Standard: unexpected end of input at line 1, column 1");
}

#[test]
fn what_cannot_be_kept_is_refused_with_every_reason() {
    let all = document(
        "- {name: a, physicalType: money}
- {name: b, logicalType: string, physicalType: integer}
- {name: c}
- {name: id, logicalType: string}
- {name: d, logicalType: integer, logicalTypeOptions: {maxLength: 3, minimum: 5, maximum: 4}}
- {name: e, logicalType: string, physicalType: varchar(3), logicalTypeOptions: {minLength: 4, pattern: '('}}
- {name: f, logicalType: number, physicalType: integer}
- {name: g, logicalType: number, physicalType: 'numeric(6,2)', logicalTypeOptions: {multipleOf: 0.025}}
- {name: h, logicalType: vector, logicalTypeOptions: {dimensions: 3}}
- {name: i, logicalType: timestamp, physicalType: timestamp, logicalTypeOptions: {timezone: true}}
- {name: j, logicalType: number, logicalTypeOptions: {minimum: 0x10}}
- {name: k, physicalType: jsonb, primaryKey: true}
- {name: l, logicalType: integer, properties: [{name: x}]}",
    );
    insta::assert_snapshot!(refusal(&all), @r#"
    c.yaml:10:19 error type type `money` is not supported: use smallint, integer, bigint, boolean, numeric, real, double precision, text, varchar, char, uuid, date, time, timestamp, timestamptz, json or jsonb
    c.yaml:11:40 error type physicalType `integer` contradicts logicalType `string`: no value fits both
    c.yaml:12:9 error type `c` needs a logicalType, a physicalType or both
    c.yaml:13:9 error name another property is named `id`
    c.yaml:14:41 error bounds minimum 5 and maximum 4 refuse everything
    c.yaml:14:62 error option `maxLength` says nothing about logicalType `integer`: remove it
    c.yaml:15:87 error bounds minLength 4 and maxLength 3 refuse everything
    c.yaml:15:101 error pattern `(` is no regular expression
    c.yaml:16:40 error type physicalType `integer` contradicts logicalType `number`: it keeps no fraction; use numeric
    c.yaml:17:91 error bounds multiples of 0.025 do not fit the column's decimal places
    c.yaml:18:19 error type logicalType `vector` is not supported: no Postgres type of ours holds it
    c.yaml:19:43 error type physicalType `timestamp without time zone` contradicts logicalType `timestamp`: it keeps no time zone; use timestamptz
    c.yaml:20:61 error option `0x10` is no decimal number
    c.yaml:21:40 error key a jsonb cannot be a key: its values have no one spelling
    c.yaml:22:41 error type `properties` needs logicalType `object`
    "#);
}

#[test]
fn a_table_needs_a_key_and_properties() {
    let keyless = document("").replace(", primaryKey: true", "");
    insta::assert_snapshot!(refusal(&keyless), @"c.yaml:7:5 error key the table has no primary key, and keyless tables are not supported yet: mark the key with `primaryKey: true`");
    let empty = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\n";
    insta::assert_snapshot!(refusal(empty), @"c.yaml:1:1 error schema the document describes no table: give `schema` an object with properties");
    insta::assert_snapshot!(refusal(&format!("{empty}schema:\n  - name: t\n")), @"c.yaml:7:5 error schema the table has no properties: name the columns that Accord may write");
}

#[test]
fn settings_are_read_or_refused_by_name() {
    let with = |properties: &str| {
        format!(
            "{}customProperties:\n{properties}",
            document(
                "- {name: v, logicalType: timestamp, customProperties: [{property: other.tool, value: 1}]}"
            )
        )
    };
    let contract = Contract::parse(
        &with(
            "  - {property: accord.unknownFields, value: reject}\n  - {property: accord.insert, value: defaults}\n  - {property: accord.coerce, value: false}\n  - {property: accord.version, value: v}\n  - {property: somebody.else, value: {any: thing}}\n",
        ),
        "c.yaml",
        None,
    )
    .unwrap();
    assert_eq!(contract.unknown_fields, crate::contract::UnknownFields::Reject);
    assert_eq!(contract.insert, crate::contract::InsertPolicy::Defaults);
    assert!(!contract.coerce);
    assert_eq!(contract.version_column, Some(1));
    assert_eq!(contract.full_schema["additionalProperties"], false);

    insta::assert_snapshot!(refusal(&with("  - {property: accord.unknownField, value: reject}\n")), @"c.yaml:12:5 error setting `accord.unknownField` is unknown: there are accord.unknownFields, accord.insert, accord.coerce, accord.version");
    insta::assert_snapshot!(refusal(&with("  - {property: accord.insert, value: always}\n")), @r#"c.yaml:12:31 error setting accord.insert is `complete` or `defaults`, not `"always"`"#);
    insta::assert_snapshot!(refusal(&with("  - {property: accord.coerce, value: 'yes please'}\n")), @r#"c.yaml:12:31 error setting accord.coerce is true or false, not `"yes please"`"#);
    insta::assert_snapshot!(refusal(&with("  - {property: accord.version, value: w}\n")), @"c.yaml:12:32 error setting accord.version names `w`, which is no property of the table");
    insta::assert_snapshot!(refusal(&with("  - {property: accord.version, value: id}\n")), @"c.yaml:12:32 error setting accord.version needs an integer, a numeric or a timestamp outside the key");
    let misplaced = document(
        "- {name: a, logicalType: string, customProperties: [{property: accord.coerce, value: false}]}",
    );
    insta::assert_snapshot!(refusal(&misplaced), @"c.yaml:10:60 error setting `accord.coerce` is not read here: it belongs to the customProperties of the document or of a table");
}

#[test]
fn one_of_several_tables_is_named() {
    let two = format!(
        "{}  - {{name: u, physicalName: shop.uu, properties: [{{name: k, logicalType: string, primaryKey: true}}]}}\n",
        document("")
    );
    let refusal = |table| Contract::parse(&two, "c.yaml", table).unwrap_err().to_string();
    insta::assert_snapshot!(refusal(None), @"c.yaml holds several tables: name one of t, u");
    insta::assert_snapshot!(refusal(Some("v")), @"c.yaml holds no table `v`: name one of t, u");
    let contract = Contract::parse(&two, "c.yaml", Some("u")).unwrap();
    assert_eq!(contract.schema.unwrap().as_str(), "shop");
    assert_eq!(contract.table.as_str(), "uu");
}

#[test]
fn a_logical_type_has_its_column_type() {
    for (logical, expected) in [
        ("string", "text"),
        ("integer", "bigint"),
        ("number", "numeric"),
        ("boolean", "boolean"),
        ("date", "date"),
        ("timestamp", "timestamp with time zone"),
        ("timestamp, logicalTypeOptions: {timezone: false}", "timestamp without time zone"),
        ("time", "time without time zone"),
        ("object", "jsonb"),
        ("array", "jsonb"),
        ("map, map: {key: {logicalType: string}, value: {logicalType: integer}}", "jsonb"),
    ] {
        let source = document(&format!("- {{name: a, logicalType: {logical}}}"));
        let contract = Contract::parse(&source, "c.yaml", None).unwrap();
        assert_eq!(contract.columns[1].ty.to_string(), expected, "{logical}");
    }
}

#[test]
fn a_composite_key_follows_its_positions() {
    let source = document(
        "- {name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 2}
- {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: 1}",
    );
    let contract = Contract::parse(&source, "c.yaml", None).unwrap();
    assert_eq!(contract.key, [2, 1, 0]);
    assert!(contract.columns.iter().all(|column| column.required));
    assert_eq!(contract.delta_schema["required"], serde_json::json!(["b", "a", "id"]));
}
