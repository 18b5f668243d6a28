//! What a preview says is what plain SQL says, and what then really happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use accord::contract::Contract;
use accord::preview::{self, KEYS, Preview, Progress, Subject, Tally};
use tokio::sync::watch;

use crate::harness::{ITEM, ITEM_TABLE, Waist, Wish, deletion};

/// What has changed since [`ITEM`]: prices of 10 and more, names of seven characters and fewer.
const STRICTER: [(&str, &str); 2] = [
    ("physicalType: varchar(20)}", "physicalType: varchar(20), logicalTypeOptions: {maxLength: 7}}"),
    ("physicalType: numeric}", "physicalType: numeric, logicalTypeOptions: {minimum: 10}}"),
];

/// [`ITEM`] with other words in some places, as its next version.
fn item(changes: &[(&str, &str)]) -> String {
    let mut text = ITEM.replace("version: 1.0.0", "version: 2.0.0");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

fn contract(text: &str) -> Arc<Contract> {
    Arc::new(Contract::parse(text, "test", None).unwrap())
}

/// How recent changes have to be, and how many are judged at most.
const ALL: (Duration, u64) = (preview::SINCE, preview::NEWEST);

async fn previewed(waist: &Waist, active: &str, proposed: &str, (since, newest): (Duration, u64)) -> Preview {
    let connect = waist.url.parse().unwrap();
    let (active, proposed) = (contract(active), contract(proposed));
    let subject = Subject { connect: &connect, pipeline: "items", active, proposed, since, newest };
    preview::preview(&subject, &watch::Sender::new(Progress::default())).await.unwrap()
}

async fn count(waist: &Waist, sql: &str) -> u64 {
    waist.read(&format!("select ({sql})::text")).await.parse().unwrap()
}

/// How many break a rule, and which keys are told.
fn broken(tally: &Tally, rule: &str, field: &str) -> (u64, BTreeSet<String>) {
    let of = |field: &Option<String>| field.as_deref().unwrap_or_default().to_owned();
    let found = tally.broken.iter().find(|b| b.rule == rule && of(&b.field) == field);
    found.map(|b| (b.count, b.keys.iter().cloned().collect())).unwrap_or_default()
}

#[tokio::test]
async fn rows_are_counted_as_plain_sql_counts_them() {
    let waist = Waist::new(Wish::default()).await;
    // A name of 1 to 17 characters, a price of 0 to 49, or none.
    waist
        .sql(
            "insert into item (id, name, price, tag)
             select n, repeat('é', 1 + n % 17), nullif(n % 50, 0) + 0.50, 'tag' from generate_series(1, 3000) n;
             analyze item",
        )
        .await;
    // What fails already is above 45.
    let active =
        item(&[("physicalType: numeric}", "physicalType: numeric, logicalTypeOptions: {maximum: 45}}")]);
    let proposed = item(&STRICTER);
    let preview = previewed(&waist, &active, &proposed, ALL).await;
    let rows = preview.rows.unwrap();

    let (new, old) =
        ("(coalesce(price < 10, false) or char_length(name) > 7)", "coalesce(price > 45, false)");
    let of = async |condition: String| {
        count(&waist, &format!("select count(*) from item where {condition}")).await
    };
    assert_eq!(rows.judged, 3000);
    assert_eq!(rows.would_fail, of(format!("{new} and not {old}")).await);
    assert_eq!(rows.fail_already, of(format!("{new} and {old}")).await);
    assert_eq!(rows.would_pass, of(format!("{old} and not {new}")).await);
    assert!(rows.would_fail > 0 && rows.fail_already > 0 && rows.would_pass > 0, "{rows:?}");
    for (rule, field, condition) in
        [("minimum", "price", "price < 10"), ("maxLength", "name", "char_length(name) > 7")]
    {
        let (found, keys) = broken(&rows, rule, field);
        assert_eq!(found, of(format!("{condition} and not {old}")).await, "{rule}");
        assert_eq!(keys.len(), KEYS, "{rule}");
        let listed = keys.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let really = of(format!("id in ({listed}) and {condition} and not {old}")).await;
        assert_eq!(really, 20, "{rule}: each key that is told is one that breaks it");
    }
    let sentence =
        format!("{} rows would now fail rule minimum of price", broken(&rows, "minimum", "price").0);
    assert!(preview.failures.iter().any(|failure| failure.starts_with(&sentence)), "{:?}", preview.failures);
}

#[tokio::test]
async fn a_contract_that_refuses_nothing_new_has_no_failures() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item (id, name, price) values (1, 'Iris', 3), (2, 'Cedar and musk', 1)").await;
    waist.send(r#"{"id": 1, "name": "Rose"}"#).await;
    let strict = item(&STRICTER);
    for (active, proposed) in [(ITEM, ITEM), (&strict, ITEM), (&strict, &strict)] {
        let preview = previewed(&waist, active, proposed, ALL).await;
        assert_eq!(preview.failures, Vec::<String>::new());
    }
}

#[tokio::test]
async fn recent_changes_are_counted_as_plain_sql_counts_them() {
    let waist = Waist::new(Wish { contract: &item(&[]), ..Wish::default() }).await;
    for n in 1..=60 {
        waist.send(&format!(r#"{{"id": {n}, "name": "n", "price": {n}.5, "tag": "t"}}"#)).await;
        // Unchanged, but confirmed; a delta without a price; something that is refused anyway; a deletion.
        waist.send(&format!(r#"{{"id": {n}, "price": {n}.50}}"#)).await;
        waist.send(&format!(r#"{{"id": {n}, "name": "a longer name"}}"#)).await;
        waist.send(&format!(r#"{{"id": {n}, "price": "much"}}"#)).await;
    }
    for n in 1..=5 {
        waist.applier.apply(vec![deletion(n)]).await.unwrap();
    }
    waist.sql("update accord.ledger set at = at - interval '30 days' where position <= 40").await;
    let proposed = item(&STRICTER);

    let judged = |more: &str| {
        format!(
            "select count(*) from accord.ledger where outcome in ('applied', 'unchanged') and op is distinct from 'delete' {more}"
        )
    };
    let (price, name) =
        ("and (changes -> 'price' ->> -1)::numeric < 10", "and char_length(changes -> 'name' ->> -1) > 7");
    for (since, past) in
        [(Duration::from_hours(24 * 7), "and position > 40"), (Duration::from_hours(24 * 90), "")]
    {
        let preview = previewed(&waist, &item(&[]), &proposed, (since, preview::NEWEST)).await;
        let changes = preview.changes;
        assert!(!changes.cut);
        assert_eq!(changes.tally.judged, count(&waist, &judged(past)).await);
        let (prices, names) =
            (broken(&changes.tally, "minimum", "price"), broken(&changes.tally, "maxLength", "name"));
        assert_eq!(prices.0, count(&waist, &judged(&format!("{past} {price}"))).await);
        assert_eq!(names.0, count(&waist, &judged(&format!("{past} {name}"))).await);
        assert_eq!(changes.tally.would_fail, prices.0 + names.0);
        assert!(preview.failures.iter().any(|f| f.contains("recent accepted changes would now be refused")));
    }
    let preview = previewed(&waist, &item(&[]), &proposed, (preview::SINCE, 7)).await;
    assert!(preview.changes.cut);
    assert_eq!(preview.changes.tally.judged, 7);
    // The newest: 7 lines before the deletions, two of three with a name or a price.
    let newest = count(
        &waist,
        &format!(
            "select count(*) from ({} order by position desc limit 7) l where char_length(l.name) > 7",
            judged("").replace("count(*)", "changes -> 'name' ->> -1 as name, position")
        ),
    )
    .await;
    assert_eq!(broken(&preview.changes.tally, "maxLength", "name").0, newest);
}

#[tokio::test]
async fn what_would_pass_the_gate_is_what_a_replay_then_lets_in() {
    let table = format!(
        "{ITEM_TABLE}; create table parent (id integer primary key); alter table item add parent integer references parent"
    );
    let parent = "      - {name: parent, logicalType: integer, physicalType: integer}\n";
    let (active, proposed) =
        (item(&STRICTER) + parent, item(&[STRICTER[0]]).replace("2.0.0", "3.0.0") + parent);
    let strict = Waist::new(Wish { contract: &active, table: &table, ..Wish::default() }).await;
    // In one body, so that each has a pointer of its own.
    let records: Vec<String> = (1..=90)
        .map(|n| {
            let name = if n % 3 == 0 { "far too long" } else { "short" };
            format!(r#"{{"id": {n}, "name": "{name}", "price": {}, "tag": "t", "parent": null}}"#, n % 20)
        })
        .collect();
    strict.send(&format!("[{}]", records.join(","))).await;
    // One that waits for its parent, and one that is no JSON: no contract has a say in these.
    strict.send(r#"{"id": 1000, "name": "child", "price": 20, "tag": "t", "parent": 7}"#).await;
    strict.send("{").await;

    let preview = previewed(&strict, &active, &proposed, ALL).await;
    let quarantine = preview.quarantine;
    let cheap = |n: &u64| n % 20 < 10;
    let (short, long): (Vec<u64>, Vec<u64>) = (1..=90).partition(|n| n % 3 != 0);
    let passing = short.iter().filter(|n| cheap(n)).count() as u64;
    assert_eq!(quarantine.would_pass, passing);
    // The long ones are refused as before, and what is no JSON is so by every contract.
    assert_eq!(quarantine.still_refused, long.len() as u64 + 1);
    assert_eq!(
        quarantine.waiting.iter().map(|w| (w.reason.as_str(), w.count)).collect::<Vec<_>>(),
        [("foreignKey", 1)]
    );
    assert_eq!(quarantine.open, passing + long.len() as u64 + 2);
    assert_eq!(quarantine.passing.len(), KEYS);
    let keys: BTreeSet<u64> =
        quarantine.passing.iter().map(|entry| entry.key.as_ref().unwrap().parse().unwrap()).collect();
    assert!(keys.iter().all(|key| short.contains(key) && cheap(key)), "{keys:?}");

    let next = Waist::on(&strict.url, strict.pool.clone(), Wish { contract: &proposed, ..Wish::default() });
    let replayer = accord::quarantine::Replayer::new(
        "items",
        next.gate.clone(),
        next.applier.clone(),
        next.pool.clone(),
    );
    let ids: Vec<i64> = sqlx::query_scalar("select id from accord.quarantine order by id")
        .fetch_all(&next.pool)
        .await
        .unwrap();
    let outcomes = replayer.many(&ids).await.unwrap();
    let applied = outcomes.iter().filter(|(_, outcome)| outcome.as_str() == "applied").count() as u64;
    assert_eq!(applied, passing, "a preview that promises more or less than a replay keeps");
}

#[tokio::test]
async fn what_the_table_lacks_is_said_and_the_rest_is_still_judged() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item (id, name, price) values (1, 'Cedar and musk', 1)").await;
    waist.send(r#"{"id": 1, "name": "Cedar and rose"}"#).await;
    waist.send(r#"{"id": 1, "name": "far more than twenty characters"}"#).await;
    let proposed = item(&[STRICTER[0], ("physicalType: numeric}", "physicalType: double precision}")])
        + "      - {name: season, logicalType: string, physicalType: text}\n";
    let preview = previewed(&waist, ITEM, &proposed, ALL).await;
    assert_eq!(preview.disagreements.len(), 2, "{:?}", preview.disagreements);
    assert!(preview.failures.iter().any(|f| f.contains("season") && f.contains("does not exist")));
    assert!(preview.rows.is_none() && preview.checks.is_none());
    assert_eq!(broken(&preview.changes.tally, "maxLength", "name").0, 1);
    assert_eq!((preview.quarantine.open, preview.quarantine.still_refused), (1, 1));
}

#[tokio::test]
async fn checks_of_the_table_as_a_whole_are_news_only_where_they_newly_fail() {
    let waist = Waist::new(Wish::default()).await;
    waist
        .sql("insert into item (id, name, price) values (1, 'Iris', 3), (2, 'Iris', 4), (3, 'Rose', null)")
        .await;
    let rule = |id: &str, column: &str, metric: &str, severity: &str| {
        let (from, to) = match column {
            "name" => ("physicalType: varchar(20)}", "physicalType: varchar(20)"),
            _ => ("physicalType: numeric}", "physicalType: numeric"),
        };
        let quality = format!(
            "{to}, quality: [{{id: {id}, type: library, metric: {metric}, mustBe: 0, severity: {severity}}}]}}"
        );
        (from, quality)
    };
    let (repeats, repeats_text) = rule("repeats", "name", "duplicateValues", "error");
    let (priced, priced_text) = rule("priced", "price", "nullValues", "error");
    let (_, warned_text) = rule("priced", "price", "nullValues", "warning");

    let both = item(&[(repeats, &repeats_text), (priced, &priced_text)]);
    let checks = previewed(&waist, ITEM, &both, ALL).await;
    let ids = |failing: &[preview::Failing]| failing.iter().map(|f| f.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&checks.checks.as_ref().unwrap().would_fail), ["repeats", "priced"]);
    let failing = &checks.checks.unwrap().would_fail[1];
    assert_eq!((failing.value.to_string(), failing.keys.join(",")), ("1".to_owned(), "3".to_owned()));
    assert_eq!(checks.failures.len(), 2, "{:?}", checks.failures);

    // What fails already is no news; what warned and fails now is; a warning refuses nothing.
    let checks = previewed(&waist, &both, &both.replace("2.0.0", "2.1.0"), ALL).await;
    assert_eq!(checks.failures, Vec::<String>::new());
    let warned = item(&[(priced, &warned_text)]);
    let checks = previewed(&waist, &warned, &item(&[(priced, &priced_text)]), ALL).await;
    assert_eq!(ids(&checks.checks.unwrap().would_fail), ["priced"]);
    let checks = previewed(&waist, &item(&[(priced, &priced_text)]), &warned, ALL).await;
    assert_eq!(ids(&checks.checks.unwrap().would_warn), [""; 0], "what failed and warns now is no news");
    let checks = previewed(&waist, ITEM, &warned, ALL).await;
    assert_eq!(ids(&checks.checks.unwrap().would_warn), ["priced"]);
    assert_eq!(checks.failures, Vec::<String>::new());
    assert!(
        checks.notes.iter().any(|note| note.contains("check priced would now warn")),
        "{:?}",
        checks.notes
    );
}

#[tokio::test]
async fn a_sensitive_key_is_counted_and_not_told() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item (id, name, price) values (711, 'Cedar and musk', 1)").await;
    waist.send(r#"{"id": 711, "price": 2}"#).await;
    waist.send(r#"{"id": 712, "price": "much"}"#).await;
    let sensitive = ("primaryKey: true,", "primaryKey: true, classification: restricted,");
    let proposed = item(&[STRICTER[0], STRICTER[1], sensitive]);
    let preview = previewed(&waist, ITEM, &proposed, ALL).await;
    assert_eq!(preview.rows.as_ref().unwrap().would_fail, 1);
    let told = serde_json::to_string(&preview).unwrap();
    assert!(!told.contains("711") && !told.contains("712"), "{told}");
    let told = serde_json::to_string(&previewed(&waist, ITEM, &item(&STRICTER), ALL).await).unwrap();
    assert!(told.contains("711") && told.contains("712"), "{told}");
}

#[tokio::test]
async fn a_rule_that_nobody_can_judge_refuses_an_activation() {
    let waist = Waist::new(Wish::default()).await;
    waist.sql("insert into item (id, name, price) values (1, 'Iris', 3)").await;
    let quality = "physicalType: numeric, quality: [{id: impossible, type: sql, \
                   query: 'select 1 / (count(*) - count(*)) from {object}', mustBe: 0, severity: error}]}";
    let impossible = item(&[("physicalType: numeric}", quality)]);
    let preview = previewed(&waist, ITEM, &impossible, ALL).await;
    let [failure] = preview.failures.as_slice() else { panic!("{:?}", preview.failures) };
    assert!(
        failure.starts_with("check impossible cannot be judged") && failure.contains("zero"),
        "{failure}"
    );
    let preview = previewed(&waist, &impossible, &impossible.replace("2.0.0", "2.1.0"), ALL).await;
    assert_eq!(preview.failures, [""; 0], "nor could anybody before");
}

#[tokio::test]
async fn two_documents_of_one_version_are_told_of() {
    let waist = Waist::new(Wish::default()).await;
    let twin = ITEM.to_owned() + "# Says the same.\n";
    let [note] = &previewed(&waist, ITEM, &twin, ALL).await.notes[..] else { panic!("one note") };
    assert!(note.starts_with("both documents say version "), "{note}");
    assert_eq!(previewed(&waist, ITEM, &item(&[]), ALL).await.notes, [""; 0]);
}

#[tokio::test]
async fn a_field_that_is_renamed_is_missed() {
    let waist = Waist::new(Wish::default()).await;
    let renamed = item(&[("name: price,", "name: cost, physicalName: price,")]);
    let reject = renamed.clone() + "customProperties: [{property: accord.unknownFields, value: reject}]\n";
    for (proposed, what) in [
        (&renamed, "what senders say of it would be left out"),
        (&reject, "changes that name it would be refused"),
    ] {
        let note = format!("the new contract has no field price: {what}");
        assert_eq!(previewed(&waist, ITEM, proposed, ALL).await.notes, [note]);
    }
}
