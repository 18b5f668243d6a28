use crate::contract::{Contract, ContractError};

/// A document with one table whose properties are `properties`, indented as a list of the table's.
fn document(properties: &str) -> String {
    let mut text = String::from(
        "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    properties:\n      - {name: id, physicalType: integer, primaryKey: true}\n",
    );
    for line in properties.trim_end().lines() {
        text.push_str(&format!("      {line}\n"));
    }
    text
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
