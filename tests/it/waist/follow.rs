//! Changes that follow the reference: the row becomes what the reference says when it is written, or nothing is done.

use std::time::Duration;

use accord::apply::{Mode, ReferenceSettings};
use accord::change::{Body, Change, Intent, Key, Origin, Outcome};
use accord::contract::Identifier;
use accord::value::Value;

use crate::harness::{TestDatabase, Waist, Wish, database, free_port};

/// A source whose table takes more than the contract does, with these rows.
pub(super) async fn reference(rows: &'static str) -> (TestDatabase, ReferenceSettings) {
    let database = database().await;
    let table = "create table item (id integer primary key, name text, price numeric, tag text)";
    sqlx::raw_sql(table).execute(&database.pool).await.unwrap();
    sqlx::raw_sql(rows).execute(&database.pool).await.unwrap();
    let settings = at(&database.url);
    (database, settings)
}

fn at(url: &str) -> ReferenceSettings {
    ReferenceSettings {
        connect: url.parse().unwrap(),
        schema: None,
        table: Identifier::new("item").unwrap(),
        timeout: Duration::from_secs(5),
    }
}

/// A change that has row `id` follow the reference.
pub(super) fn follow(id: i64, may_delete: bool) -> Change {
    Change {
        intent: Intent::Follow { key: Key::new(vec![Value::Int(id)]), may_delete },
        origin: Origin::Reconcile,
        event_id: None,
        body: Body::new(format!("follow {id}"), Vec::new()),
        pointer: String::new(),
        replays: None,
    }
}

/// Has rows follow, one after the other in one batch, and gives the outcomes' words.
async fn words(waist: &Waist, changes: Vec<Change>) -> Vec<&'static str> {
    let answers = waist.applier.apply(changes).await.unwrap();
    answers.iter().map(|answer| answer.outcome.as_str()).collect()
}

const ROWS: &str = "select coalesce(json_agg(json_build_array(id, name, price, tag, own) order by id), '[]')::text from item";
const LEDGER: &str = "
    select json_agg(json_build_array(key, op, outcome, origin, changes) order by position)::text
    from accord.ledger";

#[tokio::test]
async fn in_either_mode_a_row_becomes_what_the_reference_says() {
    for mode in [Mode::Refetch, Mode::Apply] {
        let (_source, reference) = reference(
            "insert into item values (1, 'rose', 2.00, null), (2, 'iris', 5, 'x'), (3, 'new', 1, 'y')",
        )
        .await;
        let waist = Waist::new(Wish { mode, reference: Some(reference), ..Wish::default() }).await;
        waist.sql("insert into item values (1, 'rose', 2, null), (2, 'old', 5, 'x'), (4, 'gone', 7, 'z'), (5, 'kept', 8, 'z')").await;

        let changes =
            vec![follow(1, false), follow(2, false), follow(3, false), follow(4, true), follow(5, false)];
        assert_eq!(words(&waist, changes).await, ["unchanged", "applied", "applied", "applied", "stale"]);
        assert_eq!(
            waist.read(ROWS).await,
            r#"[[1, "rose", 2, null, "own"], [2, "iris", 5, "x", "own"], [3, "new", 1, "y", "own"], [5, "kept", 8, "z", "own"]]"#,
            "{mode:?}"
        );
        let ledger = waist.read(LEDGER).await.replace("], [\"", "],\n[\"");
        insta::allow_duplicates! { insta::assert_snapshot!(ledger, @r#"
        [["1", "update", "unchanged", "reconcile", {"tag": [null], "name": ["rose"], "price": [2.00]}],
        ["2", "update", "applied", "reconcile", {"tag": ["x"], "name": ["old", "iris"], "price": [5]}],
        ["3", "insert", "applied", "reconcile", {"tag": [null, "y"], "name": [null, "new"], "price": [null, 1]}],
        ["4", "delete", "applied", "reconcile", {"tag": ["z", null], "name": ["gone", null], "price": [7, null]}],
        ["5", null, "stale", "reconcile", null]]
        "#); }
        // What neither side has is as it should be, and what is gone stays gone.
        assert_eq!(words(&waist, vec![follow(4, true), follow(99, true)]).await, ["unchanged", "unchanged"]);
        assert_eq!(words(&waist, vec![follow(99, false)]).await, ["stale"]);
        assert!(!waist.read("select gap_reasons::text from accord.pipeline").await.contains("reference"));
    }
}

#[tokio::test]
async fn without_the_references_answer_nothing_is_done_and_a_gap_is_marked() {
    for mode in [Mode::Refetch, Mode::Apply] {
        let nobody = at(&format!("postgres://accord@127.0.0.1:{}/nobody", free_port()));
        let waist = Waist::new(Wish { mode, reference: Some(nobody), ..Wish::default() }).await;
        waist.sql("insert into item values (1, 'rose', 2, null)").await;
        let before = waist.read(ROWS).await;
        assert_eq!(waist.applier.reference_silences(), 0);
        assert_eq!(words(&waist, vec![follow(1, true), follow(2, false)]).await, ["stale", "stale"]);
        assert_eq!(waist.read(ROWS).await, before, "{mode:?}");
        assert_eq!(waist.applier.reference_silences(), 1, "one batch asks once");
        assert!(waist.read("select gap_reasons::text from accord.pipeline").await.contains("reference"));
    }
}

#[tokio::test]
async fn a_reference_row_that_breaks_the_contract_or_the_table_is_quarantined_and_the_row_stays() {
    for mode in [Mode::Refetch, Mode::Apply] {
        let (_source, reference) = reference(
            "insert into item values (1, 'a name of more than twenty', 2, 'x'), (2, 'fine', -5, 'x')",
        )
        .await;
        let table = format!("{}; alter table item add check (price >= 0)", crate::harness::ITEM_TABLE);
        let wish = Wish { mode, table: &table, reference: Some(reference), ..Wish::default() };
        let waist = Waist::new(wish).await;
        waist.sql("insert into item values (1, 'rose', 2, null)").await;
        let before = waist.read(ROWS).await;
        let answers = waist.applier.apply(vec![follow(1, true), follow(2, true)]).await.unwrap();
        let rules = answers.iter().map(|answer| match &answer.outcome {
            Outcome::Quarantined { violations, .. } => violations[0].rule.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(rules.collect::<Vec<_>>(), ["maxLength", "check"]);
        assert_eq!(waist.read(ROWS).await, before, "{mode:?}");
        let kept = waist
            .read(
                "select json_agg(json_build_array(key, origin, convert_from(bytes, 'utf8'), row) order by id)::text
                 from accord.quarantine join accord.body on hash = body",
            )
            .await;
        assert_eq!(
            kept,
            r#"[["1", "reconcile", "follow 1", {"id": 1, "tag": null, "name": "rose", "price": 2}], ["2", "reconcile", "follow 2", null]]"#
        );
    }
}

/// Where payloads are applied as they come, a repair in the same batch does not turn its neighbours into hints.
#[tokio::test]
async fn in_apply_mode_a_payload_counts_whatever_shares_its_batch() {
    let (_source, reference) = reference("insert into item values (1, 'reference', 1, 'r')").await;
    let waist = Waist::new(Wish { reference: Some(reference), ..Wish::default() }).await;
    waist.sql("insert into item values (1, 'old', 0, 'o')").await;
    let payload = waist.judge(r#"{"id": 1, "name": "payload"}"#).remove(0);
    assert_eq!(words(&waist, vec![follow(1, false), payload.clone()]).await, ["applied", "applied"]);
    assert_eq!(waist.read(ROWS).await, r#"[[1, "payload", 1, "r", "own"]]"#);
    assert_eq!(words(&waist, vec![payload, follow(1, false)]).await, ["unchanged", "applied"]);
    assert_eq!(waist.read(ROWS).await, r#"[[1, "reference", 1, "r", "own"]]"#);

    // A delta whose row is deleted by its batch finds none, and is completed by the reference.
    let delta = waist.judge(r#"{"id": 1, "tag": "t"}"#).remove(0);
    assert_eq!(words(&waist, vec![crate::harness::deletion(1), delta]).await, ["applied", "applied"]);
    assert_eq!(waist.read(ROWS).await, r#"[[1, "reference", 1, "r", "own"]]"#);
}
