//! What a contract promises of its table as a whole: rules that are measured, and what is expected of them.
//!
//! Promises: every rule of the document is here, also the one that nobody can execute, with the reason; numbers
//! are compared by their digits. Must not know: SQL, connections, how a rule is measured.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

use super::{Identifier, Severity};
use crate::value::Numeric;

/// One promise of the contract.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The document's `id`, else a name made of the property and what is measured; no two rules share one.
    pub id: String,
    /// What it promises, for a person.
    pub name: String,
    /// The standard's word for the kind of quality: `completeness`, `uniqueness`, …
    pub dimension: String,
    /// Whether breaking it is a failure or a warning.
    pub severity: Severity,
    /// What the measured value counts.
    pub unit: Unit,
    /// What is measured.
    pub measure: Measure,
    /// What the value must be.
    pub expected: Expectation,
    /// JSON Pointer to its place in the document.
    pub path: String,
}

/// Why a rule without a metric is not executed.
pub(crate) const NEEDS_METRIC: &str = "it needs a `metric`, or a `type`";

/// Why a rule of `type: text` is not executed.
pub(crate) const FOR_PEOPLE: &str = "it is for people to read";

/// What a value counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rows, or values.
    Rows,
    /// Hundredths of all rows.
    Percent,
    /// A time, of so many seconds, under the document's own word.
    Time(String, u32),
}

impl Unit {
    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rows => "rows",
            Self::Percent => "percent",
            Self::Time(word, _) => word,
        }
    }
}

/// What is measured. Columns are indices into the contract's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The number of rows.
    Rows,
    /// Rows of which a column does not keep its promise.
    Breaking {
        /// The column.
        column: usize,
        /// How a value breaks the promise.
        test: Test,
    },
    /// Values, of several columns together, that occur more than once; nulls equal nothing.
    Duplicates(Vec<usize>),
    /// Rows that refer to a row that is not there.
    Orphans {
        /// The columns that refer.
        columns: Vec<usize>,
        /// What they refer to.
        target: Target,
    },
    /// The time since the latest value of a column.
    Age(usize),
    /// The one value that the contract's own query gives.
    Query {
        /// The query, with its placeholders.
        text: String,
        /// The column that `{property}` stands for.
        property: Option<usize>,
    },
    /// Where table and contract disagree about columns, types and key.
    Drift,
    /// Nothing: the rule cannot be executed.
    Nothing {
        /// Why.
        reason: String,
        /// Nobody expects a program to execute it: it is for people, or for another tool.
        by_design: bool,
    },
}

/// The columns of another table that a relationship points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its schema; `None` for the search path.
    pub schema: Option<Identifier>,
    /// Its name.
    pub table: Identifier,
    /// Its columns, in the order of those that refer to them.
    pub columns: Vec<Identifier>,
}

/// How a value breaks a promise. Unless it says otherwise, a null breaks none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is null.
    Null,
    /// It is null or one of these.
    Missing(Vec<String>),
    /// It is none of these.
    Outside(Vec<String>),
    /// The pattern matches nowhere in it.
    Mismatch(String),
    /// It has fewer characters.
    Shorter(u64),
    /// It has more characters.
    Longer(u64),
    /// It is less, or (if so told) equal.
    Below(String, Equal),
    /// It is greater, or (if so told) equal.
    Above(String, Equal),
    /// It is no multiple.
    NoMultiple(String),
    /// At least one of these.
    Either(Vec<Test>),
}

impl Test {
    /// The patterns that it matches against.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        match self {
            Self::Mismatch(pattern) => vec![pattern],
            Self::Either(tests) => tests.iter().flat_map(Self::patterns).collect(),
            _ => Vec::new(),
        }
    }
}

/// What becomes of a value that equals its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equal {
    /// It keeps the promise.
    Keeps,
    /// It breaks it.
    Breaks,
}

/// What a value must be: all of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation(Vec<Condition>);

/// One of the standard's operators, with its bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `mustBe`
    Is(Json),
    /// `mustNotBe`
    IsNot(Json),
    /// `mustBeGreaterThan`
    Greater(Numeric),
    /// `mustBeGreaterOrEqualTo`
    AtLeast(Numeric),
    /// `mustBeLessThan`
    Less(Numeric),
    /// `mustBeLessOrEqualTo`
    AtMost(Numeric),
    /// `mustBeBetween`, the bounds included
    Between(Numeric, Numeric),
    /// `mustNotBeBetween`, the bounds included
    NotBetween(Numeric, Numeric),
}

impl Expectation {
    /// All of these conditions.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// That nothing breaks the rule.
    pub fn none() -> Self {
        Self(vec![Condition::Is(0.into())])
    }

    /// Whether there is any condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value is as expected. A null, which stands for no value, never is.
    pub fn holds(&self, value: &Json) -> bool {
        !value.is_null() && self.0.iter().all(|condition| condition.holds(value))
    }

    /// In the standard's own words: `{"mustBeLessThan": 50}`.
    pub fn to_json(&self) -> Json {
        let number = |n: &Numeric| serde_json::from_str(n.as_str()).unwrap_or_else(|_| n.as_str().into());
        let said = self.0.iter().map(|condition| {
            let (word, bound) = match condition {
                Condition::Is(bound) => ("mustBe", bound.clone()),
                Condition::IsNot(bound) => ("mustNotBe", bound.clone()),
                Condition::Greater(bound) => ("mustBeGreaterThan", number(bound)),
                Condition::AtLeast(bound) => ("mustBeGreaterOrEqualTo", number(bound)),
                Condition::Less(bound) => ("mustBeLessThan", number(bound)),
                Condition::AtMost(bound) => ("mustBeLessOrEqualTo", number(bound)),
                Condition::Between(least, most) => {
                    ("mustBeBetween", Json::from(vec![number(least), number(most)]))
                }
                Condition::NotBetween(least, most) => {
                    ("mustNotBeBetween", Json::from(vec![number(least), number(most)]))
                }
            };
            (word.to_owned(), bound)
        });
        Json::Object(said.collect::<Map<_, _>>())
    }
}

impl Condition {
    fn holds(&self, value: &Json) -> bool {
        let order = |bound: &Numeric| numeric(value).and_then(|value| value.compare(bound));
        let within = |least: &Numeric, most: &Numeric| {
            Some(order(least)? != Ordering::Less && order(most)? != Ordering::Greater)
        };
        match self {
            Self::Is(bound) => same(value, bound),
            Self::IsNot(bound) => !same(value, bound),
            Self::Greater(bound) => order(bound) == Some(Ordering::Greater),
            Self::AtLeast(bound) => order(bound).is_some_and(|order| order != Ordering::Less),
            Self::Less(bound) => order(bound) == Some(Ordering::Less),
            Self::AtMost(bound) => order(bound).is_some_and(|order| order != Ordering::Greater),
            Self::Between(least, most) => within(least, most) == Some(true),
            Self::NotBetween(least, most) => within(least, most) == Some(false),
        }
    }
}

fn numeric(value: &Json) -> Option<Numeric> {
    value.as_number().and_then(|number| Numeric::parse(&number.to_string()))
}

fn same(a: &Json, b: &Json) -> bool {
    match (numeric(a), numeric(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Numeric {
        Numeric::parse(text).unwrap()
    }

    #[test]
    fn every_operator_under_at_and_over_its_bound() {
        let five = || number("5");
        for (condition, verdicts) in [
            (Condition::Is(5.into()), [false, true, false]),
            (Condition::IsNot(5.into()), [true, false, true]),
            (Condition::Greater(five()), [false, false, true]),
            (Condition::AtLeast(five()), [false, true, true]),
            (Condition::Less(five()), [true, false, false]),
            (Condition::AtMost(five()), [true, true, false]),
            (Condition::Between(five(), number("5.5")), [false, true, false]),
            (Condition::Between(number("4.5"), five()), [false, true, false]),
            (Condition::NotBetween(five(), number("5.5")), [true, false, true]),
        ] {
            let expected = Expectation::new(vec![condition.clone()]);
            for (value, verdict) in [4, 5, 6].into_iter().zip(verdicts) {
                assert_eq!(expected.holds(&value.into()), verdict, "{value} against {condition:?}");
            }
            assert!(!expected.holds(&Json::Null), "no value against {condition:?}");
        }
    }

    #[test]
    fn numbers_are_compared_by_their_digits_and_the_rest_as_it_is() {
        let is = |bound: Json, value: &str| {
            Expectation::new(vec![Condition::Is(bound)]).holds(&serde_json::from_str(value).unwrap())
        };
        assert!(is(1.into(), "1.00"));
        assert!(!is(1.into(), "1.000000000000000000001"));
        assert!(is(true.into(), "true") && !is(true.into(), "1"));
        assert!(is("ok".into(), "\"ok\""));
        let all = Expectation::new(vec![Condition::AtLeast(number("1")), Condition::Less(number("2"))]);
        assert!(all.holds(&1.into()) && !all.holds(&2.into()));
        assert_eq!(all.to_json().to_string(), r#"{"mustBeGreaterOrEqualTo":1,"mustBeLessThan":2}"#);
    }
}
