use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{InForce, Waiting};
use super::*;
use crate::library::registration::RegistrationState;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn well() -> Standing {
    Standing {
        name: "books".into(),
        tables: vec!["public.books".into()],
        position: 17,
        last_change_at: Some(at(0)),
        contract: Some("books".into()),
        contract_version: Some("1.0.0".into()),
        in_force: Some(InForce {
            name: "books".into(),
            version: "1.0.0".into(),
            hash: "aa".into(),
            at: at(1),
            activated_by: "anna".into(),
        }),
        paused: None,
        gap: None,
        quarantine: Waiting {
            open: 12,
            reasons: BTreeMap::from([("minimum".into(), 3), ("type".into(), 9)]),
            growth: 9,
            growing_since: Some(at(2)),
        },
        registration: RegistrationState::default(),
        silent_since: None,
        check: Some(Checked {
            run: 4,
            finished_at: at(3),
            passed: 9,
            warned: 1,
            failed: 0,
            not_executed: 2,
            failing: Vec::new(),
            failing_since: None,
        }),
        reconciliation: None,
        held: None,
    }
}

fn expected() -> Expected {
    Expected { contract: Some("aa".into()), ..Expected::default() }
}

fn live() -> Live {
    Live { health: Health::Ready, lag: Duration::ZERO }
}

fn told(standing: &Standing, live: &Live) -> String {
    let conditions = all(Some(standing), live, &expected(), at(100));
    let spell = |c: &Condition| {
        format!("{} {:?} {}: {}\n", c.kind.as_str(), c.severity, (c.since - at(0)).num_seconds(), c.message)
    };
    conditions.iter().map(spell).collect()
}

#[test]
fn what_is_well_has_no_condition() {
    assert_eq!(told(&well(), &live()), "");
    assert_eq!(all(None, &live(), &expected(), at(0)), []);
}

#[test]
fn every_condition_says_since_when_and_the_way_out() {
    let ill = Standing {
        in_force: well().in_force.map(|in_force| InForce { hash: "bb".into(), ..in_force }),
        paused: Some(Pause { since: at(8), by: "anna".into(), reason: "moving house".into() }),
        gap: Some(GapRecord { since: at(7), reasons: vec!["outage".into(), "start".into()] }),
        quarantine: Waiting { growth: 10, ..well().quarantine },
        silent_since: Some(at(6)),
        check: well().check.map(|check| Checked {
            failed: 7,
            failing: ["a", "b", "c", "d", "e", "f", "g"].map(String::from).to_vec(),
            failing_since: Some(at(3)),
            ..check
        }),
        held: Some(HeldRun { run: 5, reason: Some("the reference is empty".into()), since: at(5) }),
        ..well()
    };
    let away = Health::Away { since: at(9), reason: "connection refused".into() };
    insta::assert_snapshot!(told(&ill, &Live { health: away, lag: Duration::from_secs(7) }), @"
    library_away Error 9: the library's database is away, changes are held (connection refused): see `accord doctor`
    checks_failed Error 3: 7 rules are broken in the library (a, b, c, d, e and 2 more): `accord check books` shows the rows
    breaker_held Error 5: reconciliation 5 is held: the reference is empty
    silent_source Error 6: the source changes and says nothing: our listener is lost or taken. Accord registers again at each comparison; is somebody else registered as its listener?
    quarantine_growing Warning 2: the quarantine grows: 10 more within 5m, 12 open (type 9, minimum 3): `accord quarantine list --pipeline books` shows them
    lagging Warning 93: a change has been waiting for its commit for 7 s: see what blocks the library's database, with `select pid, query from pg_stat_activity where wait_event_type = 'Lock'`
    possible_gap Warning 7: changes may have been missed (outage, start): `accord reconcile books` makes up for them
    contract_not_active Info 1: the configured contract is not in force, books 1.0.0 is, by the word of anna: `accord contract activate books` shows what the configured one would mean, and puts it in force
    paused Info 8: paused by anna, “moving house”: changes go to quarantine until `accord resume books`
    ");
    let halted = Health::Halted { since: at(9), reason: "42P01".into() };
    let halted = Live { health: halted, lag: Duration::ZERO };
    assert!(told(&ill, &halted).starts_with("halted Error 9: the library refuses our statements (42P01)"));
}

#[test]
fn thresholds_are_where_they_are_said_to_be() {
    let grown = |growth| Standing { quarantine: Waiting { growth, ..well().quarantine }, ..well() };
    assert_eq!(grown(9).conditions(&expected()), []);
    assert_eq!(grown(10).conditions(&expected())[0].kind, Kind::QuarantineGrowing);
    let waits = |millis| Live { lag: Duration::from_millis(millis), ..live() }.conditions(at(0)).len();
    assert_eq!((waits(5000), waits(5001)), (0, 1));
}

#[test]
fn a_mere_start_is_no_reason_to_wake_anybody() {
    let severity = |reasons: &[&str]| {
        let reasons = reasons.iter().map(ToString::to_string).collect();
        let gap = Standing { gap: Some(GapRecord { since: at(0), reasons }), ..well() };
        gap.conditions(&expected())[0].severity
    };
    assert_eq!((severity(&["start"]), severity(&["outage", "start"])), (Severity::Info, Severity::Warning));
}

#[test]
fn a_contract_that_was_never_activated_or_cannot_be_read_is_no_condition() {
    let never = Standing { in_force: None, ..well() };
    assert_eq!(never.conditions(&expected()), []);
    assert_eq!(well().conditions(&Expected::default()), []);
}

#[test]
fn the_words_are_those_that_are_serialized_and_the_order_is_theirs() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert!(Kind::ALL.is_sorted());
}

#[test]
fn what_processes_may_see_differently_each_tells_by_itself() {
    let of_processes = Kind::ALL.into_iter().filter(|kind| kind.scope() == Scope::Process);
    assert_eq!(
        of_processes.collect::<Vec<_>>(),
        [Kind::LibraryAway, Kind::Halted, Kind::Lagging, Kind::ContractNotActive],
        "replicas may be configured with other files"
    );
}
