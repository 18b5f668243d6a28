//! Rows, outcomes and ledger of any batching equal those of one-by-one.

use std::fmt::Write as _;

use accord::apply::Mode;
use accord::change::Change;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::follow::{follow, reference};
use crate::harness::{ITEM_TABLE, Waist, Wish, deletion};

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Delta { id: i64, name: Option<&'static str>, price: Option<&'static str>, tag: Option<&'static str> },
    Delete { id: i64 },
    Follow { id: i64, may_delete: bool },
}

/// Few keys and few values, so that changes meet; among them what the gate refuses and what only the
/// database knows to refuse.
fn step() -> impl Strategy<Value = Step> {
    let id = 0..4i64;
    let too_long = r#""a name that is far too long for its column""#;
    let name = prop::option::of(prop::sample::select(vec!["null", r#""a""#, r#""b""#, r#""c""#, too_long]));
    let price =
        prop::option::of(prop::sample::select(vec!["null", "1", "1.0", "2", "-1", r#""3.50""#, "true"]));
    let tag = prop::option::of(prop::sample::select(vec!["null", r#""x""#, r#""y""#, r#""z""#]));
    prop_oneof![
        6 => (id.clone(), name.clone(), price.clone(), tag.clone())
            .prop_map(|(id, name, price, tag)| Step::Delta { id, name, price, tag }),
        // Complete ones, which may become rows.
        4 => (id.clone(), name, price, tag).prop_map(|(id, name, price, tag)| Step::Delta {
            id,
            name: name.or(Some("null")),
            price: price.or(Some("1")),
            tag: tag.or(Some("null")),
        }),
        2 => id.clone().prop_map(|id| Step::Delete { id }),
        2 => (id, any::<bool>()).prop_map(|(id, may_delete)| Step::Follow { id, may_delete }),
    ]
}

fn change(waist: &Waist, step: &Step) -> Change {
    match step {
        Step::Delete { id } => deletion(*id),
        Step::Follow { id, may_delete } => follow(*id, *may_delete),
        Step::Delta { id, name, price, tag } => {
            let mut body = format!(r#"{{"id":{id}"#);
            for (field, value) in [("name", name), ("price", price), ("tag", tag)] {
                if let Some(value) = value {
                    let _ = write!(body, r#","{field}":{value}"#);
                }
            }
            waist.judge(&(body + "}")).remove(0)
        }
    }
}

/// A history, and how it is cut into batches.
fn history() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 1..12), 1..4)
}

const ROWS: &str = "select json_agg(i order by id)::text from item i";
const LEDGER: &str = "
    select json_agg(json_build_array(position, key, op, outcome, origin, changes) order by position)::text
    from accord.ledger";
const QUARANTINE: &str = "
    select json_agg(json_build_array(position, key, reason, violations, row) order by position)::text
    from accord.quarantine";

const CLEAR: &str = "
    truncate item, accord.ledger, accord.quarantine;
    update accord.pipeline set position = 0";

async fn state(waist: &Waist) -> [String; 3] {
    [waist.read(ROWS).await, waist.read(LEDGER).await, waist.read(QUARANTINE).await]
}

async fn run(batched: &Waist, single: &Waist, history: &[Vec<Step>]) -> Result<(), TestCaseError> {
    batched.sql(CLEAR).await;
    single.sql(CLEAR).await;
    for batch in history {
        let changes = batch.iter().map(|step| change(batched, step)).collect();
        batched.applier.apply(changes).await.unwrap();
        for step in batch {
            single.applier.apply(vec![change(single, step)]).await.unwrap();
        }
    }
    prop_assert_eq!(state(batched).await, state(single).await);
    Ok(())
}

/// A row that any table takes, one that only some take, and one that the contract refuses; the fourth is absent.
const REFERENCE: &str = "insert into item values
    (0, 'a', 1, 'x'), (1, 'b', -1, null), (2, 'a name that is far too long for its column', 1, 'y')";

/// Whom to ask for a row's truth, and what that is worth.
#[derive(Clone, Copy)]
enum Truth {
    Payload,
    Reference(Mode),
}

fn any_batching_equals_one_by_one(extra: &str, cases: u32, insert_defaults: bool, truth: Truth) {
    let runtime = Runtime::new().unwrap();
    let (mode, source) = match truth {
        Truth::Payload => (Mode::Apply, None),
        Truth::Reference(mode) => (mode, Some(runtime.block_on(reference(REFERENCE)))),
    };
    let reference = source.as_ref().map(|(_, settings)| settings);
    let table = format!("{ITEM_TABLE}; {extra}");
    let mut contract = crate::harness::ITEM.to_owned();
    if insert_defaults {
        contract += "customProperties: [{property: accord.insert, value: defaults}]\n";
    }
    let wish = || Wish {
        table: &table,
        contract: &contract,
        mode,
        reference: reference.cloned(),
        ..Wish::default()
    };
    let (batched, single) = runtime.block_on(async { (Waist::new(wish()).await, Waist::new(wish()).await) });
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&history(), |history| runtime.block_on(run(&batched, &single, &history)));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn batches_equal_one_by_one_on_a_plain_table() {
    any_batching_equals_one_by_one("", 150, false, Truth::Payload);
}

#[test]
fn batches_equal_one_by_one_where_defaults_fill_new_rows() {
    any_batching_equals_one_by_one("alter table item alter price set default 7", 150, true, Truth::Payload);
}

#[test]
fn batches_equal_one_by_one_under_check_and_unique_constraints() {
    let extra = "alter table item add check (price >= 0), add unique (name)";
    any_batching_equals_one_by_one(extra, 200, false, Truth::Payload);
}

#[test]
fn batches_equal_one_by_one_under_deferred_constraints_and_triggers() {
    let extra = "
        alter table item add unique (tag) deferrable initially deferred, add check (price >= 0);
        create function touch() returns trigger language plpgsql as $$
            begin
                if new.name = 'c' and new.tag = 'z' then raise exception 'c does not go with z'; end if;
                if new.name = 'b' and new.tag = 'y' then return null; end if;
                new.own := coalesce(old.own, '') || '!';
                return new;
            end $$;
        create trigger touch before insert or update on item for each row execute function touch();";
    any_batching_equals_one_by_one(extra, 60, false, Truth::Payload);
}

#[test]
fn batches_equal_one_by_one_where_the_reference_completes_what_payloads_say() {
    let extra = "alter table item add check (price >= 0), add unique (name)";
    any_batching_equals_one_by_one("", 80, false, Truth::Reference(Mode::Apply));
    any_batching_equals_one_by_one(extra, 80, false, Truth::Reference(Mode::Apply));
}

#[test]
fn batches_equal_one_by_one_where_the_reference_overrules_what_payloads_say() {
    let extra = "alter table item add check (price >= 0), add unique (name)";
    any_batching_equals_one_by_one("", 80, false, Truth::Reference(Mode::Refetch));
    any_batching_equals_one_by_one(extra, 80, false, Truth::Reference(Mode::Refetch));
}
