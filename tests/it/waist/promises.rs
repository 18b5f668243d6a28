//! The promises of the design that the waist itself holds, each by its name.

use accord::change::Outcome;

use crate::harness::{Waist, Wish};

#[tokio::test]
async fn absent_is_not_null() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item values (1, 'rose', 12.50, 'x', 'mine')").await;
    let answers = waist.send(r#"{"id": 1, "price": 13}"#).await;
    assert_eq!(answers[0].outcome, Outcome::Applied { position: 1, changed: vec!["price".to_owned()] });
    let answers = waist.send(r#"{"id": 1, "tag": null}"#).await;
    assert_eq!(answers[0].outcome, Outcome::Applied { position: 2, changed: vec!["tag".to_owned()] });
    let row = waist.read("select row_to_json(i)::text from item i").await;
    assert_eq!(row, r#"{"id":1,"name":"rose","price":13,"tag":null,"own":"mine"}"#);
}
