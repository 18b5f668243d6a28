//! Values that their columns cannot hold, for every type of column that there is.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use serde_json::value::RawValue;

use crate::harness::{Accord, Client, Reply, TestDatabase, database, free_port};

const TABLE: &str = r#"
    create table wide (
        id integer primary key, small smallint, big bigint, price numeric(10, 2), "any" numeric,
        ratio double precision, single real, flag boolean, name varchar(20) not null, story text, day date,
        moment timestamp, instant timestamptz, clock time, mark uuid, extra jsonb);
    insert into wide (id, name) values (1, 'victim'), (2, 'neighbour')"#;

const CONTRACT: &str = "
apiVersion: v3.1.0
kind: DataContract
id: wide
version: 1.0.0
status: active
schema:
  - name: wide
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: small, logicalType: integer, physicalType: smallint}
      - {name: big, logicalType: integer, physicalType: bigint}
      - {name: price, logicalType: number, physicalType: 'numeric(10,2)'}
      - {name: any, logicalType: number, physicalType: numeric}
      - {name: ratio, logicalType: number, physicalType: double precision}
      - {name: single, logicalType: number, physicalType: real}
      - {name: flag, logicalType: boolean, physicalType: boolean}
      - {name: name, logicalType: string, physicalType: varchar(20), required: true}
      - {name: story, logicalType: string, physicalType: text}
      - {name: day, logicalType: date, physicalType: date}
      - {name: moment, logicalType: timestamp, physicalType: timestamp, logicalTypeOptions: {timezone: false}}
      - {name: instant, logicalType: timestamp, physicalType: timestamptz}
      - {name: clock, logicalType: time, physicalType: time}
      - {name: mark, logicalType: string, physicalType: uuid}
      - {name: extra, logicalType: object, physicalType: jsonb}
";

/// By column, values that are none of its.
const FOREIGN: [(&str, &str); 15] = [
    ("id", r#"["one", null, 1.5, 2147483648, -2147483649, [1], true]"#),
    ("small", r#"[true, [], {}, "x", "", 1.5, 32768, -32769, "1 ", "0x1"]"#),
    ("big", r#"[true, "x", 9223372036854775808, 1e19, "9223372036854775808", 0.1]"#),
    ("price", r#"[true, "cheap", 100000000, 1.001, 1e-400, "NaN", "Infinity", 1e400, -1e400]"#),
    ("ratio", r#"[false, "half", "NaN", 1e400, -1e309, 1e-400, [1]]"#),
    ("single", r#"["x", 1e39, -1e400, 1e-50]"#),
    ("flag", r#"[1, 0, "yes", "", [], {}]"#),
    ("name", r#"[null, 1, true, [], {}, "twenty-one characters", "a\u0000b"]"#),
    ("story", r#"[1, [], {"a": "b"}, "\u0000"]"#),
    ("day", r#"[20240101, "2023-02-29", "yesterday", "2024-1-1", "0000-01-01"]"#),
    ("moment", r#"[0, "2024-01-01", "2024-01-01T25:00:00", "2024-01-01T00:00:00.1234567"]"#),
    ("instant", r#"[1700000000, "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "now"]"#),
    ("clock", r#"[12, "25:00:00", "noon"]"#),
    ("mark", r#"[1, "no-uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430cg"]"#),
    ("extra", r#"[{"\u0000": 1}, ["\u0000"], "no object"]"#),
];

/// By column, values at the edge of what it holds.
const EXTREME: [(&str, &str); 9] = [
    ("small", r#"[-0, 1e2, 32767, "-32768"]"#),
    ("big", r#"[-9223372036854775808, "9223372036854775807"]"#),
    ("price", r#"[-0.00, 99999999.99, "-99999999.99", 1.100]"#),
    ("any", "[1e-400, 1e400, -0, 0.10]"),
    ("ratio", "[5e-324, 1.7976931348623157e308, -0.0, 0e-999]"),
    ("single", "[1e-45, 3.4028235e38]"),
    ("story", r#"["'; drop table wide; --", "\ud83d\ude00", "{1,2}", "\\N", ""]"#),
    ("day", r#"["0001-01-01", "9999-12-31", "2024-02-29"]"#),
    ("extra", r#"[{}, {"__proto__": 1e400}, {"a": {"$serde_json": []}}]"#),
];

/// An Accord that keeps the wide table.
struct Scene {
    library: TestDatabase,
    client: Client,
    accord: Accord,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let library = database().await;
        sqlx::raw_sql(TABLE).execute(&library.pool).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let contract = directory.path().join("wide.yaml");
        std::fs::write(&contract, CONTRACT).unwrap();
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "http.listen = '{http}'
             library.url = '{}'
             [pipeline.wide]
             contract = '{}'
             source.webhook.path = '/notifications'
             source.webhook.auth = 'none'",
            library.url,
            contract.display(),
        );
        let accord = Accord::serve(&config, http).await.unwrap_or_else(|log| panic!("{log}"));
        let client = Client::of(&accord.url);
        Self { library, client, accord, _directory: directory }
    }

    /// Delivers the value in a column of the first row, while the second row's neighbour is served.
    async fn send(&self, column: &str, value: &RawValue, turn: usize) -> Reply {
        let body = match column {
            "id" => format!(r#"{{"id": {value}}}"#),
            _ => format!(r#"{{"id": 1, "{column}": {value}}}"#),
        };
        let body: Box<RawValue> = serde_json::from_str(&body).unwrap();
        let neighbour = json!({"id": 2, "big": turn});
        let (reply, beside) = tokio::join!(self.client.send(&body), self.client.send(&neighbour));
        let (reply, beside) = (reply.unwrap(), beside.unwrap());
        assert_eq!((beside.status, &*beside.outcome()), (200, "applied"), "beside {column} = {value}");
        reply
    }

    /// The first row can still be changed, and the process is well.
    async fn is_well(&mut self) {
        let reply = self.client.send(&json!({"id": 1, "name": "unharmed"})).await.unwrap();
        assert_eq!((reply.status, &*reply.outcome()), (200, "applied"), "{reply:?}");
        assert!(self.accord.process.ended().is_none());
        assert!(!self.accord.process.log().contains("panicked"), "{}", self.accord.process.log());
    }
}

fn each<'a>(table: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (usize, (&'a str, &'a RawValue))> {
    let values = |values| serde_json::from_str::<Vec<&RawValue>>(values).unwrap();
    table.iter().flat_map(move |&(column, of)| values(of).into_iter().map(move |v| (column, v))).enumerate()
}

#[tokio::test]
async fn a_value_that_is_not_its_columns_is_quarantined_whatever_the_type() {
    let mut scene = Scene::set().await;
    for (turn, (column, value)) in each(&FOREIGN) {
        let reply = scene.send(column, value, turn).await;
        assert_eq!((reply.status, &*reply.outcome()), (202, "quarantined"), "{column} = {value}: {reply:?}");
        let answer = reply.json();
        let violations = answer["violations"].as_array().unwrap();
        assert!(
            violations.iter().all(|v| v["pointer"] == format!("/{column}")),
            "{column} = {value}: {answer}"
        );
    }
    let untouched = "select count(*) from wide where id = 1 and to_jsonb(wide) - '{id,name}'::text[] = (
                         select to_jsonb(w) - '{id,name}'::text[] from (select (null::wide).*) w)";
    let untouched: i64 = sqlx::query_scalar(untouched).fetch_one(&scene.library.pool).await.unwrap();
    assert_eq!(untouched, 1, "the row is as it was");
    scene.is_well().await;
}

#[tokio::test]
async fn a_value_at_the_edge_of_its_column_is_stored_as_postgres_itself_would() {
    let mut scene = Scene::set().await;
    for (turn, (column, value)) in each(&EXTREME) {
        let reply = scene.send(column, value, turn).await;
        assert_eq!(reply.status, 200, "{column} = {value}: {reply:?}");
        let same = format!(
            r#"select w."{column}" is not distinct from r."{column}"
               from wide w, jsonb_populate_record(null::wide, $1::text::jsonb) r where w.id = 1"#
        );
        let record = format!(r#"{{"{column}": {value}}}"#);
        let same = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(same)).bind(record);
        assert!(same.fetch_one(&scene.library.pool).await.unwrap(), "{column} = {value}");
    }
    scene.is_well().await;
}

/// Read back from its column, such an object would be taken for something else, and a change that says just that
/// for none.
#[tokio::test]
async fn an_object_that_a_json_reader_takes_for_something_else_is_quarantined() {
    let mut scene = Scene::set().await;
    for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        for extra in [json!({key: "{}"}), json!({"a": {key: "1"}}), json!({"z": [{key: 1}], "a": 1})] {
            let reply = scene.client.send(&json!({"id": 1, "extra": extra})).await.unwrap();
            assert_eq!((reply.status, &*reply.outcome()), (202, "quarantined"), "{extra}: {reply:?}");
            assert_eq!(reply.json()["violations"][0]["rule"], "json", "{reply:?}");
        }
    }
    scene.is_well().await;
}
