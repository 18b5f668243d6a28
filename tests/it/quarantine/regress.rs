//! Nothing newer is overwritten by a replay, and nothing that is still good is lost: over random histories.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::Quarantine;
use crate::harness::deletion;

const FIELDS: [&str; 3] = ["name", "price", "tag"];

/// Values, by field, as texts of JSON; a field that is absent is not named.
type Delta = [Option<&'static str>; 3];

/// The row as texts of JSON.
type Row = Option<Vec<serde_json::Value>>;

#[derive(Clone, Debug)]
enum Step {
    /// A delta that the contract refuses: it may be replayed later.
    Refused(Delta),
    /// A delta that is applied, changing or confirming, or a new row.
    Delta(Delta),
    Delete,
    /// Somebody edits the table directly.
    Sql(usize, &'static str),
    SqlDelete,
    SqlInsert(Delta),
    /// The n-th entry so far, counted around, is replayed.
    Replay(usize),
}

fn delta() -> impl Strategy<Value = Delta> {
    let value = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    (value(&[r#""a""#, r#""b""#, "null"]), value(&["1", "2", "1.0"]), value(&[r#""x""#, r#""y""#]))
        .prop_map(|(name, price, tag)| [name, price, tag])
}

fn whole() -> impl Strategy<Value = Delta> {
    delta()
        .prop_map(|[name, price, tag]| [name.or(Some(r#""c""#)), price.or(Some("3")), tag.or(Some(r#""z""#))])
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let sql = (0..3usize, prop::sample::select(vec![0, 1]))
        .prop_map(|(field, n)| Step::Sql(field, [["'a'", "'d'"], ["1", "4"], ["'x'", "'w'"]][field][n]));
    let step = prop_oneof![
        5 => delta().prop_map(Step::Refused),
        5 => delta().prop_map(Step::Delta),
        2 => whole().prop_map(Step::Delta),
        1 => Just(Step::Delete),
        2 => sql,
        1 => Just(Step::SqlDelete),
        1 => whole().prop_map(Step::SqlInsert),
        4 => (0..8usize).prop_map(Step::Replay),
    ];
    prop::collection::vec(step, 3..16)
}

/// Something that was applied: how old it is, what it named, and what it set.
struct Done {
    age: usize,
    names: HashSet<usize>,
    remade: bool,
    set: HashMap<usize, serde_json::Value>,
    gone: bool,
}

struct Entry {
    id: i64,
    age: usize,
    delta: Delta,
    row: Row,
}

/// What the rule says, from what the test itself has seen.
fn left_to(entry: &Entry, done: &[Done], now: &Row) -> HashSet<usize> {
    let carried = (0..3).filter(|&i| entry.delta[i].is_some());
    let newer = || done.iter().filter(|done| done.age > entry.age);
    if newer().any(|done| done.remade) {
        return HashSet::new();
    }
    let named: HashSet<usize> = newer().flat_map(|done| done.names.iter().copied()).collect();
    let mut expected = entry.row.clone();
    for older in done.iter().filter(|d| d.age < entry.age) {
        // Only replays since the entry: what came before is in the row that was kept.
        if older.gone {
            expected = None;
        } else if older.remade {
            expected = Some(vec![serde_json::Value::Null; 3]);
        }
        if let Some(row) = &mut expected {
            for (&i, value) in &older.set {
                row[i] = value.clone();
            }
        }
    }
    match (&expected, now) {
        (None, None) if named.is_empty() => carried.collect(),
        (Some(expected), Some(now)) => {
            carried.filter(|i| !named.contains(i) && expected[*i] == now[*i]).collect()
        }
        _ => HashSet::new(),
    }
}

fn json(text: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    // 1.0 and 1 are one price.
    if text == "1.0" { serde_json::json!(1) } else { value }
}

fn fields(delta: &Delta) -> String {
    let named =
        FIELDS.iter().zip(delta).filter_map(|(field, value)| Some(format!(r#","{field}":{}"#, (*value)?)));
    format!(r#""id":1{}"#, named.collect::<String>())
}

async fn row(q: &Quarantine) -> Row {
    let text = q
        .waist
        .read("select (select json_build_array(name, trim_scale(price), tag) from item where id = 1)::text")
        .await;
    serde_json::from_str(&text).ok()
}

async fn run(q: &Quarantine, history: &[Step]) -> Result<(), TestCaseError> {
    q.waist
        .sql("truncate item, accord.ledger, accord.quarantine; insert into item values (1, 'a', 1, 'x')")
        .await;
    // Each entry remembers how many things had been done, so that only what came since can amend its row.
    let mut done: Vec<Done> = Vec::new();
    let mut entries: Vec<(Entry, usize)> = Vec::new();
    for (age, step) in history.iter().enumerate() {
        let before = row(q).await;
        match step {
            Step::Refused(delta) => {
                let id = q.refuse(&fields(delta)).await;
                entries.push((Entry { id, age, delta: *delta, row: before }, done.len()));
            }
            Step::Delta(delta) => {
                let answers = q.waist.send(&format!("{{{}}}", fields(delta))).await;
                if answers[0].outcome.as_str() == "quarantined" {
                    let id = q.last().await;
                    entries.push((Entry { id, age, delta: *delta, row: before }, done.len()));
                    continue;
                }
                done.push(named(age, delta, before.is_none()));
            }
            Step::Delete => {
                q.waist.applier.apply(vec![deletion(1)]).await.unwrap();
                done.push(Done { gone: true, ..named(age, &[None; 3], true) });
            }
            Step::Sql(field, value) => {
                q.waist.sql(&format!("update item set {} = {value} where id = 1", FIELDS[*field])).await;
            }
            Step::SqlDelete => q.waist.sql("delete from item where id = 1").await,
            Step::SqlInsert(delta) => {
                let value = |i: usize| delta[i].unwrap().replace('"', "'");
                q.waist
                    .sql(&format!(
                        "insert into item values (1, {}, {}, {}) on conflict do nothing",
                        value(0),
                        value(1),
                        value(2)
                    ))
                    .await;
            }
            Step::Replay(n) => {
                if entries.is_empty() {
                    continue;
                }
                let index = n % entries.len();
                let (entry, known) = &entries[index];
                let since = &done[*known..];
                let left = left_to(entry, since, &before);
                let word = q.replay(entry.id).await;
                let after = row(q).await;
                let carried: HashSet<usize> = (0..3).filter(|&i| entry.delta[i].is_some()).collect();
                if left.is_empty() && !carried.is_empty() {
                    prop_assert_eq!(word, "stale", "nothing was left to it");
                    prop_assert_eq!(&after, &before);
                    entries.remove(index);
                    continue;
                }
                if word == "quarantined" {
                    prop_assert!(before.is_none() && carried.len() < 3, "only an incomplete row is refused");
                    prop_assert_eq!(&after, &before);
                    continue;
                }
                let mut want = before.clone().unwrap_or_else(|| vec![serde_json::Value::Null; 3]);
                for &i in &left {
                    want[i] = json(entry.delta[i].unwrap());
                }
                prop_assert_eq!(&after, &Some(want), "left to it: {:?}", left);
                let delta = std::array::from_fn(|i| entry.delta[i].filter(|_| left.contains(&i)));
                done.push(named(entry.age, &delta, before.is_none()));
                entries.remove(index);
            }
        }
    }
    Ok(())
}

fn named(age: usize, delta: &Delta, remade: bool) -> Done {
    let names: HashSet<usize> = (0..3).filter(|&i| delta[i].is_some()).collect();
    let set = names.iter().map(|&i| (i, json(delta[i].unwrap_or("null")))).collect();
    Done { age, names, remade, set, gone: false }
}

#[test]
fn a_replay_regresses_nothing_and_loses_nothing() {
    let runtime = Runtime::new().unwrap();
    let q = runtime.block_on(Quarantine::new());
    let mut runner = TestRunner::new(Config { cases: 250, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&history(), |history| runtime.block_on(run(&q, &history)));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
