//! Replay: another try, under the contract of today, that regresses nothing.

use accord::apply::Mode;
use accord::change::Outcome;
use accord::quarantine::ReplayError;
use accord::quarantine::sweep::Sweep;

use super::{Quarantine, replayer};
use crate::harness::{Waist, Wish, database};

const ROW: &str = "insert into item values (1, 'rose', 1, 'x', 'mine')";

#[tokio::test]
async fn what_nothing_newer_has_settled_is_set() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"iris","price":2"#).await;
    assert_eq!(q.replay(entry).await, "applied");
    assert_eq!(q.row().await, r#"["iris", 2, "x", "mine"]"#, "absent is not null");
    assert_eq!(q.state(entry).await, "released");
    let line = q
        .waist
        .read("select json_build_array(origin, outcome, quarantine = 1, changes)::text from accord.ledger where position = 2")
        .await;
    assert_eq!(line, r#"["replay", "applied", true, {"name": ["rose", "iris"], "price": [1, 2]}]"#);
    let closed =
        "select concat(closed_position, ' ', attempts, ' ', closed_at is not null) from accord.quarantine";
    assert_eq!(q.waist.read(closed).await, "2 1 t");

    let again = q.replayer.one(entry, None).await;
    assert!(matches!(again, Err(ReplayError::Closed(_))), "{again:?}");
    let none = q.replayer.one(77, None).await;
    assert!(matches!(none, Err(ReplayError::Unknown { id: 77, .. })), "{none:?}");
}

#[tokio::test]
async fn what_something_newer_named_is_left_over() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"old","price":9,"tag":"old""#).await;
    q.waist.send(r#"{"id":1,"name":"new"}"#).await;
    q.waist.send(r#"{"id":1,"price":1.00}"#).await;
    assert_eq!(q.replay(entry).await, "applied");
    assert_eq!(q.row().await, r#"["new", 1, "old", "mine"]"#, "changed and confirmed both count");
    assert_eq!(q.state(entry).await, r#"released ["name", "price"]"#);

    let entry = q.refuse(r#""id":1,"tag":"older""#).await;
    q.waist.sql("update item set tag = 'by hand'").await;
    assert_eq!(q.replay(entry).await, "stale");
    assert_eq!(q.row().await, r#"["new", 1, "by hand", "mine"]"#, "edited behind our back");
    assert_eq!(q.state(entry).await, r#"superseded ["tag"]"#);

    let entry = q.refuse(r#""id":1,"tag":"older""#).await;
    q.waist.applier.apply(vec![crate::harness::deletion(1)]).await.unwrap();
    q.waist.send(r#"{"id":1,"name":"new","price":1,"tag":"by hand"}"#).await;
    assert_eq!(q.replay(entry).await, "stale", "the row was made anew");
}

#[tokio::test]
async fn entries_of_one_row_may_be_replayed_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let q = Quarantine::new().await;
        q.waist.sql(ROW).await;
        let entries = [
            q.refuse(r#""id":1,"name":"first","price":5"#).await,
            q.refuse(r#""id":1,"name":"second","tag":"z""#).await,
        ];
        for i in order {
            q.replay(entries[i]).await;
        }
        assert_eq!(q.row().await, r#"["second", 5, "z", "mine"]"#, "in order {order:?}");
        assert_eq!(q.state(entries[1]).await, "released");
    }
}

#[tokio::test]
async fn replays_of_one_batch_know_of_each_other_and_of_their_neighbours() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let first = q.refuse(r#""id":1,"name":"first","price":5"#).await;
    let second = q.refuse(r#""id":1,"name":"second""#).await;
    let words: Vec<_> = q.replayer.many(&[first, second]).await.unwrap();
    assert_eq!(words.iter().map(|(_, o)| o.as_str()).collect::<Vec<_>>(), ["applied", "applied"]);
    assert_eq!(q.row().await, r#"["second", 5, "x", "mine"]"#);

    // A webhook's change and a replay in one transaction: the change is newer.
    let entry = q.refuse(r#""id":1,"name":"third","tag":"third""#).await;
    let mut batch = q.waist.judge(r#"{"id":1,"name":"webhook"}"#);
    let body = accord::change::Body::new(r#"{"id":1,"name":"third","tag":"third"}"#, Vec::new());
    let replay = q.waist.gate.judge_at(&body, "", accord::change::Origin::Replay);
    let replays = Some(accord::change::Replay { entry, edited: false });
    let replay = accord::change::Change { replays, ..replay };
    batch.extend([replay.clone(), replay]);
    let answers = q.waist.applier.apply(batch).await.unwrap();
    let words: Vec<_> = answers.iter().map(|answer| answer.outcome.as_str()).collect();
    assert_eq!(words, ["applied", "applied", "stale"], "the second try finds the entry closed");
    assert_eq!(q.row().await, r#"["webhook", 5, "third", "mine"]"#);
    assert_eq!(q.state(entry).await, r#"released ["name"]"#);
}

#[tokio::test]
async fn what_is_refused_again_stays_open_and_keeps_both_reasons() {
    let q = Quarantine::with("alter table item add check (price >= 0)", Mode::Apply, None).await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"price":-3"#).await;
    for attempts in [1, 2] {
        let outcome = q.replayer.one(entry, None).await.unwrap();
        let Outcome::Quarantined { id, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(id, entry, "no second entry");
        let kept = "select concat_ws(' ', state, attempts, violations -> 0 ->> 'rule', last_violations -> 0 ->> 'rule')
                    from accord.quarantine";
        assert_eq!(q.waist.read(kept).await, format!("open {attempts} additionalProperties check"));
    }
    assert_eq!(q.waist.read("select count(*)::text from accord.quarantine").await, "1");
}

#[tokio::test]
async fn an_edited_payload_is_kept_beside_the_original() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"price":"much""#).await;
    let edit = |text: &str| q.replayer.one(entry, Some(text.as_bytes().to_vec()));
    let refused = edit(r#"{"id":2,"price":5}"#).await.unwrap();
    let Outcome::Quarantined { violations, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(violations[0].rule, "key", "another row");
    for nonsense in ["[]", "", "[{\"id\":1}]", "7"] {
        assert_eq!(edit(nonsense).await.unwrap().as_str(), "quarantined", "{nonsense}");
    }
    assert_eq!(edit(r#"{"id":1,"price":5}"#).await.unwrap().as_str(), "applied");
    assert_eq!(q.row().await, r#"["rose", 5, "x", "mine"]"#);
    let both = "select json_build_array(convert_from(b.bytes, 'utf8'), convert_from(e.bytes, 'utf8'))::text
                from accord.quarantine q join accord.body b on b.hash = q.body join accord.body e on e.hash = q.edit";
    assert_eq!(
        q.waist.read(both).await,
        r#"["{\"id\":1,\"price\":\"much\",\"unknown\":1}", "{\"id\":1,\"price\":5}"]"#
    );
}

#[tokio::test]
async fn an_entry_without_a_readable_key_can_be_mended() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    q.strict.send("{\"id\":1,").await;
    let entry = q.last().await;
    q.waist.send(r#"{"id":1,"name":"newer"}"#).await;
    let outcome =
        q.replayer.one(entry, Some(br#"{"id":1,"name":"mended","price":7}"#.to_vec())).await.unwrap();
    assert_eq!(outcome.as_str(), "applied");
    assert_eq!(q.row().await, r#"["newer", 7, "x", "mine"]"#);
}

#[tokio::test]
async fn in_refetch_mode_the_reference_decides() {
    let source = database().await;
    let table = "create table item (id integer primary key, name text, price numeric, tag text);
                 insert into item values (1, 'source', 3, 'x')";
    sqlx::raw_sql(table).execute(&source.pool).await.unwrap();
    let reference = accord::apply::ReferenceSettings {
        connect: source.url.parse().unwrap(),
        schema: None,
        table: accord::contract::Identifier::new("item").unwrap(),
        timeout: std::time::Duration::from_secs(5),
    };
    let q = Quarantine::with("", Mode::Refetch, Some(reference)).await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"payload""#).await;
    assert_eq!(q.replay(entry).await, "applied");
    assert_eq!(q.row().await, r#"["source", 3, "x", "mine"]"#);
    assert_eq!(q.state(entry).await, "released");
    let entry = q.refuse(r#""id":1,"name":"payload""#).await;
    assert_eq!(q.replay(entry).await, "stale", "the reference never says so");
    assert_eq!(q.state(entry).await, "superseded");
}

const CHILD: &str = "
    create table parent (id integer primary key);
    create table item (id integer primary key, name varchar(20), price numeric, tag text,
                       parent integer references parent)";

#[tokio::test]
async fn a_record_that_waits_for_its_parent_is_released_when_the_parent_arrives() {
    let contract = crate::harness::ITEM.replace(
        "tag, logicalType: string, physicalType: text",
        "parent, logicalType: integer, physicalType: integer",
    );
    let child = Waist::new(Wish { contract: &contract, table: CHILD, ..Wish::default() }).await;
    let parents = "
apiVersion: v3.1.0
kind: DataContract
id: parents
version: 1.0.0
status: active
schema:
  - name: parent
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
";
    let wish = Wish { name: "parents", contract: parents, ..Wish::default() };
    let parent = Waist::on(&child.url, child.pool.clone(), wish);
    let replayers = [replayer(&child)];
    let mut sweep = Sweep::default();

    let answers = child.send(r#"{"id":1,"name":"a","price":1,"parent":7}"#).await;
    assert_eq!(answers[0].outcome.as_str(), "quarantined");
    child.send(r#"{"id":1,"price":2}"#).await;
    // Far from due: only the parent's arrival can bring it forward.
    child.sql("update accord.quarantine set next_attempt_at = now() + interval '1 day' where reason = 'foreignKey'").await;
    sweep.round(&child.pool, &replayers).await.unwrap();
    assert_eq!(
        child.read("select string_agg(state, ' ' order by id) from accord.quarantine").await,
        "open open"
    );

    parent.send(r#"{"id":7}"#).await;
    child.sql("update accord.quarantine set next_attempt_at = now() where reason = 'incomplete'").await;
    sweep.round(&child.pool, &replayers).await.unwrap();
    let states = "select string_agg(state, ' ' order by id) from accord.quarantine";
    assert_eq!(child.read(states).await, "released released");
    let row = child.read("select json_build_array(name, price, parent)::text from item").await;
    assert_eq!(row, r#"["a", 2, 7]"#, "the delta that came after the record was not lost");
}

#[tokio::test]
async fn retries_come_at_growing_pauses_and_only_where_waiting_may_heal() {
    let waist = Waist::new(Wish::default()).await;
    waist.send(r#"{"id":1,"price":2}"#).await;
    waist.send(r#"{"id":1,"price":true}"#).await;
    let waiting = "select string_agg(reason, ' ') from accord.quarantine where next_attempt_at is not null";
    assert_eq!(waist.read(waiting).await, "incomplete");
    let mut pauses = Vec::new();
    let mut sweep = Sweep::default();
    for _ in 0..3 {
        waist
            .sql("update accord.quarantine set next_attempt_at = now() where next_attempt_at is not null")
            .await;
        sweep.round(&waist.pool, &[replayer(&waist)]).await.unwrap();
        let pause = "select extract(epoch from next_attempt_at - attempted_at)::int::text
                     from accord.quarantine where next_attempt_at is not null";
        pauses.push(waist.read(pause).await);
    }
    assert_eq!(pauses, ["4", "8", "16"]);
}

#[tokio::test]
async fn newer_data_that_names_every_field_supersedes_an_entry_by_itself() {
    let q = Quarantine::new().await;
    q.waist.sql(ROW).await;
    let entry = q.refuse(r#""id":1,"name":"old","price":9"#).await;
    let other = q.refuse(r#""id":1,"tag":"old""#).await;
    let mut sweep = Sweep::default();
    q.waist.send(r#"{"id":1,"name":"new"}"#).await;
    sweep.round(&q.waist.pool, std::slice::from_ref(&q.replayer)).await.unwrap();
    assert_eq!(q.state(entry).await, "open", "its price is still its own");
    q.waist.send(r#"{"id":1,"price":1}"#).await;
    sweep.round(&q.waist.pool, std::slice::from_ref(&q.replayer)).await.unwrap();
    assert_eq!((q.state(entry).await, q.state(other).await), ("superseded".into(), "open".into()));
}
