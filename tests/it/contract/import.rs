//! `accord contract import` against real tables.

use accord::contract::import::{ImportError, import};
use accord::contract::lint::lint;
use accord::contract::{Contract, ContractError};
use sqlx::{PgPool, Row};

use crate::harness::database;

async fn first_contract(pool: &PgPool, table: &str) -> Result<String, ImportError> {
    import(&mut pool.acquire().await.unwrap(), table).await
}

/// Every column of a table with its type, as Postgres tells it.
async fn types(pool: &PgPool, table: &str) -> Vec<(String, String)> {
    sqlx::query(
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
         where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap()
    .iter()
    .map(|row| (row.get(0), row.get(1)))
    .collect()
}

fn compiled(text: &str) -> Contract {
    let parsed: Result<Contract, ContractError> = Contract::parse(text, "imported", None);
    parsed.unwrap()
}

fn columns(contract: &Contract) -> Vec<(String, String)> {
    contract.columns.iter().map(|c| (c.name.as_str().to_owned(), c.ty.to_string())).collect()
}

#[tokio::test]
async fn the_fragrance_table_becomes_its_contract() {
    let database = database().await;
    let pool = &database.pool;
    sqlx::raw_sql(
        "create table fragrances (
            fragrance_id serial primary key,
            name varchar(150),
            description varchar(1024),
            cost numeric check (cost >= 0),
            forbidden boolean default false
         );
         comment on table fragrances is 'What we sell: \"scents\"';
         comment on column fragrances.name is E'On the bottle\\nand on the box # really';
         create unique index on fragrances (name);",
    )
    .execute(pool)
    .await
    .unwrap();

    let text = first_contract(pool, "fragrances").await.unwrap();

    insta::assert_snapshot!(text, @r#"
    # First contract of table fragrances, as it stands in the database.
    #
    # Yours to decide next:
    #  - Which columns does the sender own? Remove the others: a column that is not here is never written.
    #  - What may a value be, beyond its type? Add logicalTypeOptions: minimum, minLength, pattern, …
    #  - What does each column mean? Write it in its description.
    # Then see what Accord makes of it: accord contract lint FILE
    apiVersion: v3.1.0
    kind: DataContract
    id: fragrances
    name: fragrances
    version: 0.1.0
    status: draft
    schema:
      - name: fragrances
        physicalName: fragrances
        physicalType: table
        description: "What we sell: \"scents\""
        # The table checks this itself; say it as logicalTypeOptions too, so that the gate can: CHECK ((cost >= (0)::numeric))
        properties:
          - name: fragrance_id
            logicalType: integer
            physicalType: integer
            primaryKey: true
            primaryKeyPosition: 1
            required: true
          - name: name
            description: "On the bottle\nand on the box # really"
            logicalType: string
            physicalType: character varying(150)
            unique: true
            logicalTypeOptions:
              maxLength: 150
          - name: description
            logicalType: string
            physicalType: character varying(1024)
            logicalTypeOptions:
              maxLength: 1024
          - name: cost
            logicalType: number
            physicalType: numeric
          - name: forbidden
            logicalType: boolean
            physicalType: boolean
    # What Accord alone reads; these are its defaults.
    customProperties:
      - property: accord.unknownFields
        value: ignore # or reject: a record with a field that is not named above is refused
      - property: accord.insert
        value: complete # or defaults: a new row may leave columns to the table's own defaults
      - property: accord.coerce
        value: true # or false: "1" is then no number
    "#);
    assert!(lint(&text, "imported").findings.iter().all(|finding| finding.rule == "unique"));
    assert_eq!(columns(&compiled(&text)), types(pool, "fragrances").await);
}

#[tokio::test]
async fn every_type_is_carried_or_left_out_by_name() {
    let database = database().await;
    let pool = &database.pool;
    sqlx::raw_sql(
        r#"create type mood as enum ('calm', 'loud');
           create schema "Shop";
           create table "Shop"."Order lines" (
               "Line" smallint not null, region char(2), "order" bigint generated always as identity,
               a integer, b boolean, c numeric, d numeric(10,2), e real, f double precision, g text,
               h varchar, i varchar(7), j uuid, k date, l time, m timestamp, n timestamptz, o json, p jsonb,
               q mood, r integer[], s timestamptz(3), t money not null default 0,
               u integer generated always as (a + 1) stored, dropped text,
               primary key ("order", "Line")
           );
           alter table "Shop"."Order lines" drop column dropped"#,
    )
    .execute(pool)
    .await
    .unwrap();

    let text = first_contract(pool, "Shop.Order lines").await.unwrap();

    let contract = compiled(&text);
    let left_out = ["q", "r", "s", "t", "u"];
    let mut expected = types(pool, r#""Shop"."Order lines""#).await;
    expected.retain(|(name, _)| !left_out.contains(&name.as_str()));
    assert_eq!(columns(&contract), expected);
    for name in left_out {
        assert!(text.contains(&format!("# Left out, never read or written: {name} (")), "{name}: {text}");
    }
    let key: Vec<&str> = contract.key.iter().map(|&i| contract.columns[i].name.as_str()).collect();
    assert_eq!(key, ["order", "Line"]);
    assert_eq!(contract.schema.unwrap().as_str(), "Shop");
    assert_eq!(contract.table.as_str(), "Order lines");
    assert!(lint(&text, "imported").findings.is_empty());
}

#[tokio::test]
async fn a_missing_table_is_answered_with_those_that_exist() {
    let database = database().await;
    let pool = &database.pool;
    let none = first_contract(pool, "fragrance").await.unwrap_err();
    insta::assert_snapshot!(none, @"no table `fragrance`: this database holds no table that you may see");

    sqlx::raw_sql("create table fragrances (id int primary key); create schema other; create table other.notes (t text)")
        .execute(pool)
        .await
        .unwrap();
    let some = first_contract(pool, "fragrance").await.unwrap_err();
    insta::assert_snapshot!(some, @"no table `fragrance`: there are fragrances, other.notes");
    let keyless = first_contract(pool, "other.notes").await.unwrap_err();
    insta::assert_snapshot!(keyless, @"table `notes` has no primary key, and keyless tables are not supported yet: add a primary key and import again");
}

#[tokio::test]
async fn the_command_never_shows_the_password() {
    use accord::cli::contract::{ContractCommand, run};
    for url in ["postgres://me:s3cret@127.0.0.1:1/db", "nonsense s3cret", "postgres://me:s3cret@[bad/db"] {
        let command = ContractCommand::Import { from: url.to_owned().into(), table: "t".to_owned() };
        assert!(!format!("{command:?}").contains("s3cret"));
        let error = run(command, || accord::config::Config::load(None), false).await.unwrap_err();
        assert!(!format!("{error:?} {error:#}").contains("s3cret"), "{error:?}");
    }
}
