//! The first fill of a library, by the real `accord backfill`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::PgPool;
use tempfile::TempDir;

use super::scene::execute;
use crate::harness::{ITEM, ITEM_TABLE, Process, TestDatabase, Told, accord, database, eventually};

/// A source with rows, an empty library, and the configuration that joins them.
struct Case {
    source: TestDatabase,
    library: TestDatabase,
    directory: TempDir,
}

impl Case {
    async fn new(contract: &str, table: &str, library_table: &str, rows: &str) -> Self {
        let case = Self {
            source: database().await,
            library: database().await,
            directory: tempfile::tempdir().unwrap(),
        };
        execute(&case.source.pool, &format!("{table}; {rows}")).await;
        execute(&case.library.pool, library_table).await;
        let config = format!(
            r#"
[library]
url = "{}"

[pipeline.items]
contract = "contract.yaml"

[pipeline.items.source.webhook]
path = "/items"

[pipeline.items.reference.postgres]
url = "{}"
table = "item"
"#,
            case.library.url, case.source.url
        );
        fs::write(case.config(), config).unwrap();
        fs::write(case.directory.path().join("contract.yaml"), contract).unwrap();
        case
    }

    /// Table `item` with so many rows.
    async fn of_items(rows: u32) -> Self {
        let table = "create table item (id integer primary key, name text, price numeric, tag text)";
        let rows =
            format!("insert into item select i, 'n' || i, i / 100.0, 't' from generate_series(1, {rows}) i");
        Self::new(ITEM, table, ITEM_TABLE, &rows).await
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("accord.toml")
    }

    async fn backfill(&self, more: &[&str]) -> Told {
        accord(&self.config(), &[&["backfill", "items", "--json"], more].concat()).await
    }

    async fn is_filled(&self) {
        assert_eq!(content(&self.source.pool).await, content(&self.library.pool).await);
    }

    async fn read<T>(&self, sql: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(sql).fetch_one(&self.library.pool).await.unwrap()
    }
}

async fn content(pool: &PgPool) -> String {
    let sql = "select md5(string_agg((to_jsonb(i) - 'own')::text, ',' order by id)) from item i";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn an_empty_library_is_filled_and_every_row_stands_in_the_ledger() {
    let case = Case::of_items(5000).await;
    let told = case.backfill(&[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!((&told.json()["applied"], &told.json()["rows"]), (&5000.into(), &5000.into()));
    case.is_filled().await;
    let entry: String =
        case.read("select op || ' ' || origin || changes from accord.ledger where key = '4711'").await;
    assert_eq!(
        entry,
        r#"insert backfill{"tag": [null, "t"], "name": [null, "n4711"], "price": [null, 47.1100000000000000]}"#
    );
    assert_eq!(
        case.read::<i64>("select count(*) from item where own = 'own'").await,
        5000,
        "defaults are the table's"
    );

    let gap: String = case.read("select gap_reasons::text from accord.pipeline").await;
    assert_eq!(gap, "{backfill}", "a reconciliation is due, to see what came in behind");

    // It is filled now: to bring it in accord is another's work.
    let again = case.backfill(&[]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("accord reconcile"), "{}", again.stderr);
    let wished = case.backfill(&["--resume"]).await;
    assert_eq!((wished.code, &wished.json()["unchanged"]), (Some(0), &5000.into()), "{wished:?}");
}

#[tokio::test]
async fn a_backfill_that_was_killed_goes_on_where_it_was() {
    let case = Case::of_items(5000).await;
    // The library takes row 3000 only once we let it.
    execute(
        &case.library.pool,
        "create function takes(id integer) returns boolean language plpgsql as $$
             begin
                 if id = 3000 then perform pg_advisory_xact_lock_shared(3000); end if;
                 return true;
             end $$;
         alter table item add check (takes(id))",
    )
    .await;
    let mut lock = case.library.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(3000)").execute(&mut *lock).await.unwrap();

    let config = case.config();
    let arguments = ["--config", config.to_str().unwrap(), "backfill", "items"];
    let log = case.directory.path().join("log");
    let mut process = Process::spawn(env!("CARGO_BIN_EXE_accord"), &arguments, &log);
    eventually(Duration::from_secs(30), "the backfill stands before row 3000", async || {
        let settled = sqlx::query_scalar::<_, i64>("select rows from accord.backfill");
        let waits = "select exists (select from pg_locks where locktype = 'advisory' and objid = 3000 and not granted)";
        match (settled.fetch_one(&case.library.pool).await, case.read::<bool>(waits).await) {
            (Ok(2000), true) => Ok(()),
            other => Err((other, process.log())),
        }
    })
    .await;
    let busy = case.backfill(&[]).await;
    assert_eq!(busy.code, Some(1));
    assert!(busy.stderr.contains("is running"), "{}", busy.stderr);
    process.kill9();
    sqlx::query("select pg_advisory_unlock(3000)").execute(&mut *lock).await.unwrap();

    let told = eventually(Duration::from_secs(30), "the dead one's lock is free", async || {
        let told = case.backfill(&[]).await;
        if told.code == Some(0) { Ok(told) } else { Err(told) }
    })
    .await;
    let filled = told.json();
    assert_eq!(
        (&filled["before"], &filled["rows"], &filled["applied"]),
        (&2000.into(), &3000.into(), &3000.into())
    );
    case.is_filled().await;
    let written = "select count(*) filter (where outcome = 'applied') from accord.ledger";
    assert_eq!(case.read::<i64>(written).await, 5000, "each row once");
}

#[tokio::test]
async fn rows_that_break_the_contract_are_quarantined_with_their_bytes_and_hold_up_no_other() {
    let case = Case::of_items(5000).await;
    execute(
        &case.source.pool,
        "update item set name = 'a name of more than twenty' where id in (1, 2500);
         update item set price = 'NaN' where id = 5000",
    )
    .await;
    let told = case.backfill(&[]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert_eq!((&told.json()["applied"], &told.json()["quarantined"]), (&4997.into(), &3.into()));
    let kept: String = case
        .read(
            "select string_agg(concat_ws(' ', key, origin, reason, convert_from(bytes, 'utf8')), e'\\n' order by id)
             from accord.quarantine join accord.body on hash = body",
        )
        .await;
    insta::assert_snapshot!(kept, @r#"
    1 backfill maxLength {"id":1,"name":"a name of more than twenty","price":0.01000000000000000000,"tag":"t"}
    2500 backfill maxLength {"id":2500,"name":"a name of more than twenty","price":25.0000000000000000,"tag":"t"}
    5000 backfill type {"id":5000,"name":"n5000","price":"NaN","tag":"t"}
    "#);
}

#[tokio::test]
async fn keys_of_several_columns_are_walked_in_the_references_own_order() {
    let contract = "
apiVersion: v3.1.0
kind: DataContract
id: items
version: 1.0.0
status: active
schema:
  - name: item
    properties:
      - {name: region, logicalType: string, physicalType: text, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: id, logicalType: number, physicalType: numeric, primaryKey: true, primaryKeyPosition: 2, required: true}
      - {name: name, logicalType: string, physicalType: varchar(20)}
";
    let table = "create table item (id numeric, region text, name varchar(20), primary key (region, id))";
    let rows =
        "insert into item select i / 4.0, (array['eu', 'É', 'a''b', 'Z', '香'])[abs(i) % 5 + 1], 'n' || i
                from generate_series(-3000, 3000) i";
    let case = Case::new(contract, table, table, rows).await;
    let told = case.backfill(&[]).await;
    assert_eq!((told.code, &told.json()["applied"]), (Some(0), &6001.into()), "{told:?}");
    let sql = "select md5(string_agg(i::text, ',' order by region collate \"C\", id)) from item i";
    let of = async |pool: &PgPool| sqlx::query_scalar::<_, String>(sql).fetch_one(pool).await.unwrap();
    assert_eq!(of(&case.source.pool).await, of(&case.library.pool).await);
}

#[tokio::test]
async fn what_cannot_be_filled_says_what_to_do() {
    let case = Case::of_items(10).await;
    let told = accord(&case.config(), &["backfill", "elsewhere"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("there is: items"), "{}", told.stderr);
    execute(&case.source.pool, "alter table item rename to gone").await;
    let told = case.backfill(&[]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("the reference cannot be read"), "{}", told.stderr);
    execute(&case.source.pool, "alter table gone rename to item").await;
    assert_eq!(case.backfill(&[]).await.code, Some(0));
    case.is_filled().await;
}
