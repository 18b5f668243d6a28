//! What the contract calls sensitive is seen by nobody who does not ask for it by name.

use accord::change::Body;
use accord::library::quarantine::read;
use accord::quarantine::Mask;

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

async fn shown(waist: &Waist, raw: bool) -> Vec<String> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from accord.quarantine order by id")
        .fetch_all(&waist.pool)
        .await
        .unwrap();
    let mut shown = Vec::new();
    for id in ids {
        let mask = if raw { Mask::Raw } else { Mask::By(waist.gate.contract()) };
        let whole = read::one(&waist.pool, id).await.unwrap().unwrap();
        let history = read::history(&waist.pool, id, 100).await.unwrap();
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
