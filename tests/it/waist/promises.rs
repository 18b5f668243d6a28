//! The promises of the design that the waist itself holds, each by its name.

use std::collections::HashMap;
use std::sync::Arc;

use accord::change::{Answer, Body, Change, Intent, Key, Origin, Outcome};
use accord::value::Value;

use crate::harness::{ITEM, ITEM_TABLE, Waist, Wish};

fn words(answers: &[Answer]) -> Vec<&'static str> {
    answers.iter().map(|answer| answer.outcome.as_str()).collect()
}

fn rules(answer: &Answer) -> Vec<&str> {
    match &answer.outcome {
        Outcome::Quarantined { violations, .. } => violations.iter().map(|v| v.rule.as_str()).collect(),
        _ => Vec::new(),
    }
}

const ITEM_1: &str = "insert into item values (1, 'rose', 12.50, 'x', 'mine')";

#[tokio::test]
async fn absent_is_not_null() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql(ITEM_1).await;
    let answers = waist.send(r#"{"id": 1, "price": 13}"#).await;
    assert_eq!(answers[0].outcome, Outcome::Applied { position: 1, changed: vec!["price".to_owned()] });
    let answers = waist.send(r#"{"id": 1, "tag": null}"#).await;
    assert_eq!(answers[0].outcome, Outcome::Applied { position: 2, changed: vec!["tag".to_owned()] });
    let row = waist.read("select row_to_json(i)::text from item i").await;
    assert_eq!(row, r#"{"id":1,"name":"rose","price":13,"tag":null,"own":"mine"}"#);
}

#[tokio::test]
async fn what_the_library_already_says_is_unchanged_whatever_the_spelling() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql(ITEM_1).await;
    for same in [r#"{"id":1,"price":12.5}"#, r#"{"id":"1","price":"12.500"}"#, r#"{"id":1.0,"price":125e-1}"#]
    {
        assert_eq!(words(&waist.send(same).await), ["unchanged"], "{same}");
    }
    assert_eq!(waist.read("select price::text from item").await, "12.50");
    let confirmed = waist.read("select changes::text from accord.ledger where position = 1").await;
    assert_eq!(confirmed, r#"{"price": [12.5]}"#);
}

#[tokio::test]
async fn one_bad_change_never_blocks_its_neighbours() {
    let table = format!("{ITEM_TABLE}; alter table item add check (price >= 0), add unique (name)");
    let waist = Waist::new(Wish { table: &table, ..Wish::default() }).await;
    let mut records: Vec<String> =
        (0..500).map(|i| format!(r#"{{"id":{i},"name":"name {i}","price":{i},"tag":null}}"#)).collect();
    records[100] = r#"{"id":100,"name":7,"price":1,"tag":null}"#.to_owned();
    records[250] = r#"{"id":250,"name":"name 250","price":-1,"tag":null}"#.to_owned();
    records[499] = r#"{"id":499,"name":"name 3","price":1,"tag":null}"#.to_owned();
    let answers = waist.send(&format!("[{}]", records.join(","))).await;

    let by_word = answers.iter().fold(HashMap::new(), |mut count, answer| {
        *count.entry(answer.outcome.as_str()).or_insert(0) += 1;
        count
    });
    assert_eq!(by_word, HashMap::from([("applied", 497), ("quarantined", 3)]));
    assert_eq!(
        [rules(&answers[100]), rules(&answers[250]), rules(&answers[499])],
        [["type"], ["check"], ["unique"]]
    );
    assert_eq!(waist.read("select count(*)::text from item").await, "497");
    assert_eq!(waist.read("select count(*)::text from accord.ledger").await, "500");
    let kept = waist
        .read("select json_agg(json_build_array(key, pointer, reason) order by id)::text from accord.quarantine")
        .await;
    assert_eq!(kept, r#"[["100", "/100", "type"], ["250", "/250", "check"], ["499", "/499", "unique"]]"#);
    assert_eq!(waist.read("select count(*)::text from accord.body").await, "1", "the bytes are kept once");
}

#[tokio::test]
async fn nothing_is_lost_in_silence() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql(ITEM_1).await;
    let bytes = b"{\"id\": 1, \"name\": \"\\ud800\", \xff}";
    let body = Body::new(bytes.as_slice(), vec![("content-type".into(), "application/json".into())]);
    let judged = waist.gate.judge(&body, Origin::Webhook, None);
    let answers = waist.applier.apply(judged.changes).await.unwrap();
    assert_eq!(rules(&answers[0]), ["json"]);
    let kept: Vec<u8> =
        sqlx::query_scalar("select bytes from accord.body").fetch_one(&waist.pool).await.unwrap();
    assert_eq!(kept, bytes);

    let answers = waist.send(r#"{"id": 1, "name": "far too long for twenty", "price": true}"#).await;
    assert_eq!(rules(&answers[0]), ["maxLength", "type"]);
    let row = waist.read("select row::text from accord.quarantine where key = '1'").await;
    assert_eq!(row, r#"{"id": 1, "tag": "x", "name": "rose", "price": 12.50}"#, "the row as it was");
}

#[tokio::test]
async fn every_refusal_says_why() {
    let waist = Waist::new(Wish::default()).await;
    let long = "x".repeat(5000);
    let answers = waist.send(&format!(r#"{{"id": 1, "name": "{long}"}}"#)).await;
    let Outcome::Quarantined { violations, .. } = &answers[0].outcome else { panic!("{answers:?}") };
    let violation = &violations[0];
    assert_eq!((violation.pointer.as_str(), violation.rule.as_str()), ("/name", "maxLength"));
    assert_eq!(violation.value.as_ref().unwrap().chars().count(), 200);
    assert!(violation.message.contains("20 characters"), "{}", violation.message);
    let version = waist
        .read("select c.version from accord.quarantine q join accord.contract c on c.id = q.contract")
        .await;
    assert_eq!(version, "1.0.0");
}

#[tokio::test]
async fn applied_once_a_repeat_gets_the_original_outcome() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql(ITEM_1).await;
    let event = |id: &str, body: &str| {
        let body = Body::new(body.to_owned(), Vec::new());
        waist.gate.judge(&body, Origin::Webhook, Some(id)).changes
    };
    let first = waist.applier.apply(event("a", r#"{"id":1,"price":1}"#)).await.unwrap();
    waist.applier.apply(event("b", r#"{"id":1,"price":2}"#)).await.unwrap();
    let again = waist.applier.apply(event("a", r#"{"id":1,"price":1}"#)).await.unwrap();
    assert_eq!(again, [Answer { duplicate: true, ..first[0].clone() }]);
    assert_eq!(waist.read("select price::text from item").await, "2");

    let bad = waist.applier.apply(event("c", r#"{"id":1,"price":true}"#)).await.unwrap();
    let bad_again = waist.applier.apply(event("c", r#"{"id":1,"price":true}"#)).await.unwrap();
    assert_eq!(bad_again, [Answer { duplicate: true, ..bad[0].clone() }]);

    let twins = [event("d", r#"{"id":1,"price":3}"#), event("d", r#"{"id":1,"price":3}"#)].concat();
    let answers = waist.applier.apply(twins).await.unwrap();
    assert_eq!([answers[0].duplicate, answers[1].duplicate], [false, true]);
    assert_eq!(answers[0].outcome, answers[1].outcome);
    assert_eq!(waist.read("select count(*)::text from accord.ledger").await, "4");
}

#[tokio::test]
async fn newer_wins_by_the_version_field_and_ties_go_to_the_later_arrival() {
    let contract = format!("{ITEM}customProperties: [{{property: accord.version, value: price}}]\n");
    let waist = Waist::new(Wish { contract: &contract, ..Wish::default() }).await;
    waist.sql(ITEM_1).await;
    let steps = [
        (r#"{"id":1,"price":13,"name":"b"}"#, "applied"),
        (r#"{"id":1,"price":12.99,"name":"late"}"#, "stale"),
        (r#"{"id":1,"price":13.0,"name":"tie"}"#, "applied"),
        (r#"{"id":1,"tag":"no version"}"#, "applied"),
    ];
    for (body, expected) in steps {
        assert_eq!(words(&waist.send(body).await), [expected], "{body}");
    }
    assert_eq!(waist.read("select name || ' ' || tag from item").await, "tie no version");
}

#[tokio::test]
async fn a_delta_for_an_unknown_key_needs_every_column() {
    let waist = Waist::new(Wish::default()).await;
    let answers = waist.send(r#"{"id": 9, "name": "new"}"#).await;
    assert_eq!(rules(&answers[0]), ["incomplete"]);
    let Outcome::Quarantined { violations, .. } = &answers[0].outcome else { panic!("{answers:?}") };
    assert!(violations[0].message.ends_with("price, tag"), "{}", violations[0].message);
    let answers = waist.send(r#"{"id": 9, "name": "new", "price": null, "tag": "x"}"#).await;
    assert_eq!(words(&answers), ["applied"]);
}

#[tokio::test]
async fn what_fails_alike_is_our_fault_and_does_not_block_for_ever() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item select i, 'n' from generate_series(1, 20) i").await;
    waist
        .sql("alter table item add note text; alter table item add check (price is null or note is not null)")
        .await;
    let records: Vec<_> = (1..=20).map(|i| format!(r#"{{"id":{i},"price":1}}"#)).collect();
    let answers = waist.send(&format!("[{}]", records.join(","))).await;
    assert!(answers.iter().all(|answer| rules(answer) == ["check"]), "{answers:?}");
    let gap = waist.read("select gap_reasons::text from accord.pipeline").await;
    assert!(gap.contains("outage"), "the library refused everything for a while: {gap}");
}

#[tokio::test]
async fn positions_follow_commits_without_gaps_over_refusals_and_retries() {
    let table = format!("{ITEM_TABLE}; alter table item add check (price >= 0)");
    let waist = Arc::new(Waist::new(Wish { table: &table, ..Wish::default() }).await);
    waist.sql("insert into item select i, 'n', 0, 't' from generate_series(0, 9) i").await;
    let tasks = (0..16).map(|task| {
        let waist = Arc::clone(&waist);
        tokio::spawn(async move {
            for round in 0..25 {
                let price = if round % 5 == 4 { -1 } else { task * 100 + round };
                waist.send(&format!(r#"{{"id":{},"price":{price}}}"#, (task + round) % 10)).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let summary = waist
        .read("select count(*) || ' ' || min(position) || ' ' || max(position) from accord.ledger")
        .await;
    assert_eq!(summary, "400 1 400");
    let last = waist
        .read(
            "select count(*)::text from item i where price is distinct from (
                 select (changes #>> '{price,-1}')::numeric from accord.ledger l
                 where l.key = i.id::text and outcome in ('applied', 'unchanged') order by position desc limit 1)",
        )
        .await;
    assert_eq!(last, "0", "each row is what the ledger's last entry says");
}

#[tokio::test]
async fn composite_keys_and_every_carried_type_come_back_as_they_went_in() {
    let contract = "
apiVersion: v3.1.0
kind: DataContract
id: everything
version: 1.0.0
status: active
schema:
  - name: everything
    properties:
      - {name: region, logicalType: string, physicalType: varchar(3), primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: number, logicalType: integer, physicalType: bigint, primaryKey: true, primaryKeyPosition: 2, required: true}
      - {name: small, logicalType: integer, physicalType: smallint}
      - {name: truth, logicalType: boolean, physicalType: boolean}
      - {name: money, logicalType: number, physicalType: 'numeric(12,2)'}
      - {name: single, logicalType: number, physicalType: real}
      - {name: double, logicalType: number, physicalType: double precision}
      - {name: code, logicalType: string, physicalType: char(4)}
      - {name: ident, logicalType: string, physicalType: uuid}
      - {name: day, logicalType: date, physicalType: date}
      - {name: hour, logicalType: time, physicalType: time}
      - {name: local, logicalType: timestamp, physicalType: timestamp}
      - {name: instant, logicalType: timestamp, physicalType: timestamptz}
      - {name: doc, logicalType: object, physicalType: jsonb}
      - {name: raw, logicalType: object, physicalType: json}
";
    let table = "create table everything (region varchar(3), number bigint, small smallint, truth boolean,
        money numeric(12,2), single real, double double precision, code char(4), ident uuid, day date, hour time,
        local timestamp, instant timestamptz, doc jsonb, raw json, primary key (region, number))";
    let waist = Waist::new(Wish { contract, table, ..Wish::default() }).await;
    let record = r#"{"region":"eu","number":-9007199254740993,"small":-32768,"truth":false,"money":1234567890.10,
        "single":0.1,"double":1e-300,"code":"ab","ident":"6BA7B810-9DAD-11D1-80B4-00C04FD430C8","day":"2024-02-29",
        "hour":"23:59:59.5","local":"2024-02-29T10:00:00","instant":"2024-02-29T10:00:00.25+02:00",
        "doc":{"b":[1.0,null],"a":"\u00e9"},"raw":{"z":1}}"#;
    assert_eq!(words(&waist.send(record).await), ["applied"]);
    assert_eq!(words(&waist.send(record).await), ["unchanged"], "each type reads back equal");
    let changed = record
        .replace("0.1,", "0.25,")
        .replace("[1.0,null]", "[1,null]")
        .replace("10:00:00.25", "10:00:00.26");
    let answers = waist.send(&changed).await;
    let Outcome::Applied { changed, .. } = &answers[0].outcome else { panic!("{answers:?}") };
    assert_eq!(changed, &["single", "instant"], "1.0 and 1 are one jsonb");
    let key = waist.read("select distinct key from accord.ledger").await;
    assert_eq!(key, r#"["eu","-9007199254740993"]"#);

    let gone = Change {
        intent: Intent::Delete {
            key: Key::new(vec![Value::Text("eu".into()), Value::Int(-9_007_199_254_740_993)]),
        },
        origin: Origin::Webhook,
        event_id: None,
        body: Body::new("delete", Vec::new()),
        pointer: String::new(),
        replays: None,
    };
    assert_eq!(words(&waist.applier.apply(vec![gone]).await.unwrap()), ["applied"]);
    assert_eq!(waist.read("select count(*)::text from everything").await, "0");
}

#[tokio::test]
async fn pipelines_that_write_one_table_take_turns() {
    let first = Waist::new(Wish::default()).await;
    first.sql("insert into item select i, 'n', 0, 't' from generate_series(0, 4) i").await;
    let contract = ITEM.replace("name: item", "name: item\n    physicalName: public.item");
    let wish = Wish { contract: &contract, name: "other", ..Wish::default() };
    let second = Waist::on(&first.url, first.pool.clone(), wish);
    let waists = [Arc::new(first), Arc::new(second)];
    let tasks = (0..8).map(|task| {
        let waist = Arc::clone(&waists[task % 2]);
        tokio::spawn(async move {
            for round in 0..30 {
                waist.send(&format!(r#"{{"id":{},"price":{}}}"#, round % 5, task * 1000 + round)).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    // Each update starts from the value that the one before it left, whichever pipeline that came through.
    let broken = waists[0]
        .read(
            "select count(*)::text from (
                 select changes #> '{price,0}' as at_first,
                        lag(changes #> '{price,-1}') over (partition by key order by at, position) as before
                 from accord.ledger where outcome = 'applied') entry
             where before is not null and at_first <> before",
        )
        .await;
    assert_eq!(broken, "0");
    let pipelines =
        waists[0].read("select string_agg(tables[1], ' ' order by name) from accord.pipeline").await;
    assert_eq!(pipelines, "public.item public.item", "one table, however it is written");
}

#[tokio::test]
async fn a_key_that_no_index_can_hold_is_refused_and_blocks_nobody() {
    let contract = ITEM.replace(
        "name: id, logicalType: integer, physicalType: integer",
        "name: id, logicalType: string, physicalType: text",
    );
    let table = ITEM_TABLE.replace("id integer", "id text");
    let waist = Waist::new(Wish { contract: &contract, table: &table, ..Wish::default() }).await;
    // Random, so that the index cannot compress it.
    let long: String = (0..300).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let record = |id: &str| format!(r#"{{"id":"{id}","name":"n","price":1,"tag":"t"}}"#);
    let answers = waist.send(&format!("[{},{}]", record(&long), record("short"))).await;
    assert_eq!(words(&answers), ["quarantined", "applied"]);
    assert_eq!(rules(&answers[0]), ["maxLength"]);
}
