//! Reads the ledger as an auditor would: is it whole, does it say what was answered, does it explain the rows?

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use sqlx::{PgPool, Row as _};

use crate::harness::Ack;

/// Fragrances by key, column by column.
pub(super) type Rows = BTreeMap<String, Map<String, Value>>;

/// The fragrances that the library holds now.
pub(super) async fn rows(pool: &PgPool) -> Rows {
    let rows: Vec<(String, Value)> = sqlx::query_as(
        // 12.50 and 12.5 are one number, and the ledger writes the shorter.
        "select fragrance_id::text, to_jsonb(f) - 'fragrance_id' || jsonb_build_object('cost', trim_scale(cost))
         from fragrances f",
    )
    .fetch_all(pool)
    .await
    .expect("the fragrances");
    rows.into_iter().map(|(key, row)| (key, row.as_object().expect("a row").clone())).collect()
}

/// One line of the ledger.
#[derive(Debug)]
struct Line {
    position: i64,
    key: String,
    op: String,
    outcome: String,
    /// `{"column": [from, to], "confirmed column": [value]}`
    changes: Map<String, Value>,
}

/// The ledger of the one pipeline, in order.
#[derive(Debug)]
pub(super) struct Ledger {
    lines: Vec<Line>,
    /// The last position that was given out.
    position: i64,
}

impl Ledger {
    pub(super) async fn read(pool: &PgPool) -> Self {
        let lines = sqlx::query(
            "select position, key, op, outcome, changes from accord.ledger order by position, pipeline",
        )
        .try_map(|line: sqlx::postgres::PgRow| {
            let changes: Value = line.try_get("changes")?;
            Ok(Line {
                position: line.try_get("position")?,
                key: line.try_get("key")?,
                op: line.try_get("op")?,
                outcome: line.try_get("outcome")?,
                changes: changes.as_object().expect("an object").clone(),
            })
        })
        .fetch_all(pool)
        .await
        .expect("the ledger");
        let position = sqlx::query_scalar("select position from accord.pipeline")
            .fetch_one(pool)
            .await
            .expect("the position");
        Self { lines, position }
    }

    /// How many lines it has.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Positions begin with 1 and have neither gap nor repeat, up to the last one given out.
    pub(super) fn is_unbroken(&self) {
        for (line, expected) in self.lines.iter().zip(1..) {
            assert_eq!(line.position, expected, "a gap or a repeat in the ledger's positions");
        }
        assert_eq!(self.lines.last().map_or(0, |line| line.position), self.position);
    }

    /// Every acknowledged change stands at the position that its answer named, with the outcome it named, and
    /// no two answers named the same.
    pub(super) fn holds(&self, acknowledged: &[Ack]) {
        let mut named = HashSet::with_capacity(acknowledged.len());
        for ack in acknowledged {
            let position = ack.answer["position"].as_u64().expect("a position");
            assert!(named.insert(position), "two answers name position {position}");
            let line = usize::try_from(position).ok().and_then(|position| self.lines.get(position - 1));
            let Some(line) = line else { panic!("acknowledged and not in the ledger: {ack:?}") };
            assert_eq!(ack.answer["outcome"], line.outcome.as_str(), "{ack:?}");
            for (field, value) in ack.change.as_object().expect("a record") {
                if field == "fragrance_id" {
                    assert_eq!(value.to_string(), line.key, "{ack:?}");
                } else {
                    let to = line.changes[field].as_array().and_then(|change| change.last());
                    assert_eq!(Some(value), to, "{ack:?} {line:?}");
                }
            }
        }
    }

    /// The rows that come about when the ledger is carried out line by line, each `from` checked on the way.
    pub(super) fn replay(&self, before: &Rows) -> Rows {
        let mut rows = before.clone();
        for line in &self.lines {
            match (line.outcome.as_str(), line.op.as_str()) {
                ("applied", "insert") => {
                    assert!(!rows.contains_key(&line.key), "inserted what was there: {line:?}");
                    rows.insert(line.key.clone(), Map::new());
                }
                ("applied" | "unchanged", "update") => {}
                _ => panic!("nobody asked for this: {line:?}"),
            }
            let row =
                rows.get_mut(&line.key).unwrap_or_else(|| panic!("updated what was not there: {line:?}"));
            for (column, change) in &line.changes {
                let now = row.get(column).unwrap_or(&Value::Null);
                match change.as_array().map(Vec::as_slice) {
                    Some([from, to]) => {
                        assert_eq!(from, now, "{column} was something else before {line:?}");
                        row.insert(column.clone(), to.clone());
                    }
                    Some([confirmed]) => assert_eq!(confirmed, now, "{column} was something else: {line:?}"),
                    _ => panic!("neither set nor confirmed: {line:?}"),
                }
            }
        }
        rows
    }
}
