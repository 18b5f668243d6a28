//! Counting what two contracts think of one thing after the other.
//!
//! Promises: memory does not grow with what is counted; what fails under both is no news. Must not know: what is
//! judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::Violation;

/// The most keys that are given of what breaks a rule.
pub const KEYS: usize = 20;

/// The longest a key is shown.
const KEY_LENGTH: usize = 200;

/// A rule of the new contract, and what breaks it that the active contract has nothing against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The rule's word, as violations have it.
    pub rule: String,
    /// The field; none where the rule is about the record as a whole.
    pub field: Option<String>,
    /// How many break it.
    pub count: u64,
    /// Keys of the first few.
    pub keys: Vec<String>,
}

/// What both contracts think of what was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many were judged.
    pub judged: u64,
    /// Fail under the new contract, and not under the active one.
    pub would_fail: u64,
    /// Fail under both.
    pub fail_already: u64,
    /// Fail under the active contract alone.
    pub would_pass: u64,
    /// What `would_fail` breaks; what breaks several rules stands with each.
    pub broken: Vec<Broken>,
}

/// What one contract thinks.
pub(super) type Verdict = Result<(), Vec<Violation>>;

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    tally: Tally,
    broken: BTreeMap<(String, Option<String>), Broken>,
}

impl Counter {
    /// Takes what both contracts think of the row of a key.
    pub(super) fn count(&mut self, key: impl FnOnce() -> String, proposed: Verdict, active: &Verdict) {
        self.tally.judged += 1;
        match (proposed, active) {
            (Ok(()), Ok(())) => {}
            (Ok(()), Err(_)) => self.tally.would_pass += 1,
            (Err(_), Err(_)) => self.tally.fail_already += 1,
            (Err(violations), Ok(())) => {
                self.tally.would_fail += 1;
                self.note(&shown(&key()), violations);
            }
        }
    }

    fn note(&mut self, key: &str, violations: Vec<Violation>) {
        let mut rules: Vec<_> =
            violations.into_iter().map(|Violation { rule, pointer, .. }| (rule, field(&pointer))).collect();
        rules.sort_unstable();
        rules.dedup();
        for (rule, field) in rules {
            let broken = self.broken.entry((rule, field)).or_insert_with_key(|(rule, field)| Broken {
                rule: rule.clone(),
                field: field.clone(),
                count: 0,
                keys: Vec::new(),
            });
            broken.count += 1;
            // One row may be changed many times.
            if broken.keys.len() < KEYS && !broken.keys.iter().any(|known| known == key) {
                broken.keys.push(key.to_owned());
            }
        }
    }

    /// How many were judged so far.
    pub(super) fn judged(&self) -> u64 {
        self.tally.judged
    }

    /// What came out, the most frequent first.
    pub(super) fn into_tally(self) -> Tally {
        let mut broken: Vec<Broken> = self.broken.into_values().collect();
        broken.sort_by_key(|broken| std::cmp::Reverse(broken.count));
        Tally { broken, ..self.tally }
    }
}

/// A key as it is shown.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(KEY_LENGTH).collect()
}

/// The field that a pointer into a record begins with: what is inside of a value is that value's matter.
fn field(pointer: &str) -> Option<String> {
    let first = pointer.strip_prefix('/')?.split('/').next()?;
    Some(first.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rules: &[(&str, &str)]) -> Verdict {
        Err(rules.iter().map(|(pointer, rule)| Violation::at(*pointer, *rule, "x", "")).collect())
    }

    #[test]
    fn only_what_the_active_contract_takes_is_news() {
        let mut counter = Counter::default();
        counter.count(|| "1".to_owned(), Ok(()), &Ok(()));
        counter.count(|| "2".to_owned(), Ok(()), &refused(&[("/cost", "minimum")]));
        counter.count(|| "3".to_owned(), refused(&[("/cost", "minimum")]), &refused(&[("/name", "type")]));
        for _ in 0..2 {
            let both = refused(&[("/cost", "minimum"), ("/tags/0/a~1b", "type"), ("/tags/1", "type")]);
            counter.count(|| "4".to_owned(), both, &Ok(()));
        }
        counter.count(|| "5".to_owned(), refused(&[("/cost", "minimum"), ("", "required")]), &Ok(()));
        let tally = counter.into_tally();
        assert_eq!((tally.judged, tally.would_pass, tally.fail_already, tally.would_fail), (6, 1, 1, 3));
        let told: Vec<_> = tally
            .broken
            .iter()
            .map(|b| (b.rule.as_str(), b.field.as_deref(), b.count, b.keys.join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                ("minimum", Some("cost"), 3, "4 5".to_owned()),
                ("type", Some("tags"), 2, "4".to_owned()),
                ("required", None, 1, "5".to_owned()),
            ]
        );
    }

    #[test]
    fn keys_are_few_and_short() {
        let mut counter = Counter::default();
        for n in 0..1000 {
            let key = || format!("{n}{}", "x".repeat(1000));
            counter.count(key, refused(&[("/cost", "minimum")]), &Ok(()));
        }
        let tally = counter.into_tally();
        assert_eq!((tally.broken[0].count, tally.broken[0].keys.len()), (1000, KEYS));
        assert!(tally.broken[0].keys.iter().all(|key| key.len() == KEY_LENGTH));
    }
}
