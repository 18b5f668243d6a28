//! What the contract calls sensitive is seen by nobody who does not ask for it by name.

use std::sync::Arc;

use accord::change::Body;
use accord::contract::Contract;
use accord::library::quarantine::read;
use accord::quarantine::{Mask, Masks, judges};

use super::replayer;
use crate::harness::{ITEM, Waist, Wish};

const SECRET: &str = "424242";

/// `price` and `tag` are sensitive, `name` is not.
fn contract() -> String {
    ITEM.replace(
        "physicalType: numeric",
        "physicalType: numeric, classification: restricted, logicalTypeOptions: {minimum: 0, maximum: 10}",
    )
    .replace("physicalType: text", "physicalType: text, classification: PII")
    .replace("physicalType: varchar(20)", "physicalType: varchar(20), classification: Public")
}

/// The mask while the contract of this waist is in force.
async fn mask(waist: &Waist, judged_by: impl IntoIterator<Item = i32>) -> Mask {
    let in_force = Arc::new(Contract::parse(&waist.gate.contract().source, "in force", None).unwrap());
    let mut conn = waist.pool.acquire().await.unwrap();
    Masks::default().of(&mut conn, Some(&in_force), judged_by).await.unwrap()
}

async fn shown(waist: &Waist, raw: bool) -> Vec<String> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from accord.quarantine order by id")
        .fetch_all(&waist.pool)
        .await
        .unwrap();
    let mut shown = Vec::new();
    for id in ids {
        let whole = read::one(&waist.pool, id).await.unwrap().unwrap();
        let history = read::history(&waist.pool, id, 100).await.unwrap();
        let mask = if raw { Mask::Raw } else { mask(waist, judges(&whole.entry, &history)).await };
        let listed = serde_json::to_string(&mask.entry(whole.entry.clone())).unwrap();
        shown.push(serde_json::to_string(&mask.whole(whole, history)).unwrap() + &listed);
    }
    shown
}

#[tokio::test]
async fn sensitive_values_are_masked_wherever_they_can_appear() {
    let contract = contract();
    let table = "create table item (id integer primary key, name varchar(20), price numeric, tag text check (tag <> '424242'))";
    let waist = Waist::new(Wish { contract: &contract, table, ..Wish::default() }).await;
    waist.sql("insert into item values (1, 'rose', 424242, 'x 424242')").await;
    let bodies = [
        r#"{"id":1,"name":"iris","price":424242}"#,
        r#"{"id":1,"name":"iris","price":"4242424242424242424242x"}"#,
        r#"{"id":1,"name":"iris","tag":{"nested":424242}}"#,
        r#"{"id":1,"name":"iris","tag":"424242"}"#,
        r#"[{"id":1,"name":"iris","price":-424242},{"id":2,"tag":"424242","name":7}]"#,
        r#"{"id":1,"name":"iris","tag":"424242""#,
        r#"{"id":1,"name":"iris","price":-1,"hidden":"424242"}"#,
        r#""424242""#,
    ];
    for body in bodies {
        let answers = waist.send(body).await;
        assert!(answers.iter().all(|a| a.outcome.as_str() == "quarantined"), "{body}: {answers:?}");
    }
    waist.send(r#"{"id":1,"price":5,"tag":"y"}"#).await;

    let raw = shown(&waist, true).await;
    assert!(raw.iter().all(|text| text.contains(SECRET)), "the raw view shows it: {raw:#?}");
    for text in shown(&waist, false).await {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("(masked"), "{text}");
    }
    let names = shown(&waist, false).await.iter().filter(|text| text.contains("iris")).count();
    assert_eq!(names, 6, "what is public is shown");
}

#[tokio::test]
async fn tries_and_edits_are_masked_as_the_original_is() {
    let contract = contract();
    let waist = Waist::new(Wish { contract: &contract, ..Wish::default() }).await;
    waist.send(r#"{"id":1,"price":424242}"#).await;
    let edit = br#"{"id":1,"price":"424242x"}"#.to_vec();
    let outcome = replayer(&waist).one(1, Some(edit)).await.unwrap();
    let answer = |mask: Mask| serde_json::to_string(&mask.outcome(outcome.clone())).unwrap();
    assert!(answer(Mask::Raw).contains(SECRET) && !answer(mask(&waist, []).await).contains(SECRET));
    assert_eq!(shown(&waist, true).await[0].matches("424242x").count(), 2, "edit and newest violation");
    assert!(!shown(&waist, false).await[0].contains(SECRET), "{}", shown(&waist, false).await[0]);
}

#[tokio::test]
async fn a_sensitive_key_is_masked_wherever_it_stands() {
    let contract = "
apiVersion: v3.1.0
kind: DataContract
id: items
version: 1.0.0
status: active
schema:
  - name: item
    properties:
      - {name: code, logicalType: string, physicalType: text, primaryKey: true, required: true, classification: restricted}
      - {name: name, logicalType: string, physicalType: varchar(20), required: true}
      - {name: price, logicalType: number, physicalType: numeric}
";
    let table = "create table item (code text primary key, name varchar(20) not null, price numeric)";
    let waist = Waist::new(Wish { contract, table, ..Wish::default() }).await;
    // Of an unknown row, of a row too much, and of no row at all.
    for body in
        [r#"{"code":"424242","price":1}"#, r#"{"code":"424242","price":"x"}"#, r#"{"code":{"a":"424242"}}"#]
    {
        assert_eq!(waist.send(body).await[0].outcome.as_str(), "quarantined", "{body}");
    }
    let edit = br#"{"code":"424242-2","name":"x","price":1}"#.to_vec();
    assert_eq!(replayer(&waist).one(2, Some(edit)).await.unwrap().as_str(), "quarantined", "another row");
    assert!(shown(&waist, true).await.iter().all(|text| text.contains(SECRET)));
    for text in shown(&waist, false).await {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn a_sensitive_part_makes_its_whole_value_sensitive() {
    let part = "logicalType: object, physicalType: jsonb, properties: [
        {name: city, logicalType: string},
        {name: street, logicalType: string, classification: restricted, logicalTypeOptions: {maxLength: 3}}]";
    let contract = ITEM.replace("logicalType: string, physicalType: text", part);
    let table = "create table item (id integer primary key, name varchar(20), price numeric, tag jsonb)";
    let waist = Waist::new(Wish { contract: &contract, table, ..Wish::default() }).await;
    waist.send(r#"{"id":1,"name":"iris","tag":{"city":"Bonn","street":"424242"}}"#).await;
    assert!(shown(&waist, true).await[0].contains(SECRET));
    let masked = &shown(&waist, false).await[0];
    assert!(!masked.contains(SECRET) && masked.contains("iris"), "{masked}");
}

#[tokio::test]
async fn a_field_is_known_by_its_name_in_the_payload_and_in_the_table() {
    let contract = contract()
        .replace("{name: name,", "{name: Title, physicalName: name,")
        .replace("{name: price,", "{name: Cost, physicalName: price,")
        .replace("maximum: 10", "maximum: 500000");
    let waist = Waist::new(Wish { contract: &contract, ..Wish::default() }).await;
    waist.sql("insert into item values (1, 'rose', 424242, 'x')").await;
    waist.send(r#"{"id":1,"Title":"iris","Cost":4242424}"#).await;
    waist.send(r#"{"id":1,"Title":"lily","Cost":424243}"#).await;
    assert!(shown(&waist, true).await[0].contains(SECRET));
    let masked = &shown(&waist, false).await[0];
    assert!(!masked.contains("42424"), "{masked}");
    for harmless in ["iris", "rose", "lily"] {
        assert!(masked.contains(harmless), "payload, row and history: {masked}");
    }
}

#[tokio::test]
async fn without_sensitive_fields_everything_is_shown_as_it_came() {
    let waist = Waist::new(Wish::default()).await;
    waist.send("{\"id\":1, \"price\": \"x\" }").await;
    let changes =
        waist.gate.judge(&Body::new(vec![0xff, 0x00], Vec::new()), accord::change::Origin::Webhook, None);
    waist.applier.apply(changes.changes).await.unwrap();
    let shown = shown(&waist, false).await;
    assert!(shown[0].contains(r#"{\"id\":1, \"price\": \"x\" }"#), "{}", shown[0]);
    assert!(shown[1].contains(r#""base64":"/wA=""#), "{}", shown[1]);
}

#[tokio::test]
async fn a_new_contract_unmasks_nothing_that_an_older_one_has_judged() {
    let contract = contract();
    let strict = Waist::new(Wish { contract: &contract, ..Wish::default() }).await;
    strict.sql("insert into item values (1, 'rose', 424242, 'x 424242')").await;
    strict.send(r#"{"id":1,"name":"iris","price":424242}"#).await;
    // The next one classifies nothing, and the one after it has no such columns.
    let open = contract.replace("classification: restricted, ", "").replace(", classification: PII", "");
    let narrow: String = ITEM
        .lines()
        .filter(|line| !line.contains("price") && !line.contains("tag"))
        .fold(String::new(), |text, line| text + line + "\n");
    for next in [&open, &narrow] {
        let next = Waist::on(&strict.url, strict.pool.clone(), Wish { contract: next, ..Wish::default() });
        next.send(r#"{"id":1,"name":"lily","price":1,"tag":"y"}"#).await;
        let masked = &shown(&next, false).await[0];
        assert!(
            !masked.contains(SECRET) && masked.contains("iris") && masked.contains("(masked"),
            "{masked}"
        );
        assert!(shown(&next, true).await[0].contains(SECRET));
    }
}

#[tokio::test]
async fn the_contract_in_force_masks_what_an_older_one_has_shown() {
    let open = contract().replace("classification: restricted, ", "").replace(", classification: PII", "");
    let waist = Waist::new(Wish { contract: &open, ..Wish::default() }).await;
    waist.send(r#"{"id":1,"name":"iris","price":424242}"#).await;
    assert!(shown(&waist, false).await[0].contains(SECRET));
    let contract = contract();
    let strict = Waist::on(&waist.url, waist.pool.clone(), Wish { contract: &contract, ..Wish::default() });
    assert!(!shown(&strict, false).await[0].contains(SECRET));
}

#[tokio::test]
async fn what_was_judged_by_a_contract_that_cannot_be_read_is_masked_as_a_whole() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"price":"x424242"}"#).await;
    assert!(shown(&waist, false).await[0].contains(SECRET));
    waist.sql("update accord.contract set source = 'apiVersion: v9.0.0'").await;
    assert!(!shown(&waist, false).await[0].contains(SECRET));
}
