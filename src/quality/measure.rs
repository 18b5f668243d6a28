//! Values of rules, from as few statements as there can be.
//!
//! What can be counted row by row is counted by one scan. If the database refuses that scan, each of its
//! rules is asked alone, so that only the culprit goes without a value.

use std::time::Duration;

use serde_json::Value as Json;

use super::CheckError;
use super::asker::{Answer, Asker, Refusal};
use crate::contract::Contract;
use crate::contract::rule::{Measure, Rule, Unit};
use crate::library::facts;
use crate::library::statement::TableSql;
use crate::library::statement::check::{CheckSql, Statement};

/// So many rules may take too long alone. Then it is the table that is slow, and not one of them.
const SLOW: usize = 2;

/// The longest value that a query may give, as JSON.
const VALUE_LENGTH: usize = 1000;

/// What measuring a rule gave.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// The value; null where there is none.
    pub(super) value: Json,
    /// Rows looked at.
    pub(super) rows: Option<i64>,
    /// How it is measured.
    pub(super) sql: Option<String>,
    /// Why nothing was measured.
    pub(super) refused: Option<String>,
    /// What else is to be said.
    pub(super) note: Option<String>,
    /// How long the statement took.
    pub(super) took: Duration,
}

impl Measured {
    /// What a statement's first row says, as `read` reads it.
    fn from(
        statement: &Statement,
        answer: Answer,
        rows: Option<i64>,
        read: impl FnOnce(Vec<Option<String>>) -> Json,
    ) -> Self {
        let mut measured =
            Self { rows, sql: Some(statement.shown().to_owned()), took: answer.took, ..Self::default() };
        match answer.rows {
            Ok(rows) => measured.value = rows.into_iter().next().map_or(Json::Null, read),
            Err(refusal) => measured.refused = Some(refusal.reason),
        }
        measured
    }
}

/// Measures every rule, in their order.
pub(super) async fn measure(
    asker: &mut Asker<'_>,
    contract: &Contract,
    rules: &[&Rule],
) -> Result<Vec<Measured>, CheckError> {
    let sql = CheckSql::new(contract);
    let table = TableSql::new(contract).target().to_owned();
    let unique = facts::unique_columns(asker.snapshot(), &table).await?;
    let (total, mut measured) = scan(asker, &sql, rules).await?;
    for (rule, measured) in rules.iter().zip(&mut measured) {
        match &rule.measure {
            Measure::Rows | Measure::Breaking { .. } | Measure::Age(_) => {}
            Measure::Duplicates(columns) => {
                let statement = sql.duplicates(columns);
                let names: Vec<_> = columns.iter().map(|&i| contract.columns[i].name.as_str()).collect();
                let is_guarded =
                    unique.iter().any(|index| index.iter().all(|column| names.contains(&column.as_str())));
                *measured = if is_guarded {
                    guarded(&statement, total)
                } else {
                    // A share of the rows is made of rows: of those that only repeat an earlier one.
                    let which = usize::from(rule.unit == Unit::Percent);
                    let answer = asker.ask(&statement).await?;
                    Measured::from(&statement, answer, total, |row| {
                        number(row.into_iter().nth(which).flatten())
                    })
                };
            }
            Measure::Orphans { columns, target } => {
                let statement = sql.orphans(columns, target);
                let answer = asker.ask(&statement).await?;
                *measured =
                    Measured::from(&statement, answer, total, |row| number(row.into_iter().next().flatten()));
            }
            Measure::Query { text, property } => {
                *measured = own(asker, &sql.own(text, *property)).await?;
            }
            Measure::Drift => {
                let found = facts::disagreements(asker.snapshot(), &table, contract).await?;
                measured.value = found.len().into();
                measured.note = (!found.is_empty()).then(|| found.join("; "));
            }
            Measure::Nothing { reason, .. } => measured.refused = Some(reason.clone()),
        }
        scale(rule, measured);
    }
    Ok(measured)
}

/// Measures what one scan can, and counts the rows for those that need to know of how many.
async fn scan(
    asker: &mut Asker<'_>,
    sql: &CheckSql<'_>,
    rules: &[&Rule],
) -> Result<(Option<i64>, Vec<Measured>), CheckError> {
    let mut measured: Vec<Measured> = rules.iter().map(|_| Measured::default()).collect();
    let scanned: Vec<usize> = (0..rules.len()).filter(|&i| CheckSql::is_scanned(&rules[i].measure)).collect();
    let is_counted = |rule: &&Rule| matches!(rule.measure, Measure::Duplicates(_) | Measure::Orphans { .. });
    if scanned.is_empty() && !rules.iter().any(is_counted) {
        return Ok((None, measured));
    }
    let wanted: Vec<&Measure> = scanned.iter().map(|&i| &rules[i].measure).collect();
    let (mut total, mut took, mut values) = (None, Duration::ZERO, Vec::new());
    for statement in sql.scans(&wanted) {
        let answer = asker.ask(&statement).await?;
        took += answer.took;
        let Ok(rows) = answer.rows else {
            return one_by_one(asker, sql, rules, &scanned, measured).await;
        };
        let mut row = rows.into_iter().flatten();
        total = count(row.next().flatten());
        values.extend(row);
    }
    for (&i, value) in scanned.iter().zip(values) {
        let shown = sql.scan(&[&rules[i].measure]).shown().to_owned();
        let value = number(value);
        measured[i] = Measured { value, rows: total, sql: Some(shown), took, ..Measured::default() };
    }
    Ok((total, measured))
}

async fn one_by_one(
    asker: &mut Asker<'_>,
    sql: &CheckSql<'_>,
    rules: &[&Rule],
    scanned: &[usize],
    mut measured: Vec<Measured>,
) -> Result<(Option<i64>, Vec<Measured>), CheckError> {
    let mut total = None;
    let mut slow = 0;
    for &i in scanned {
        if slow == SLOW {
            measured[i].refused = Some("the rules before it took too long, so it was not asked".to_owned());
            continue;
        }
        let statement = sql.scan(&[&rules[i].measure]);
        let answer = asker.ask(&statement).await?;
        slow += usize::from(matches!(&answer.rows, Err(refusal) if refusal.is_slow));
        let rows = answer.rows.as_ref().ok().and_then(|rows| count(rows.first()?.first().cloned().flatten()));
        total = rows.or(total);
        measured[i] =
            Measured::from(&statement, answer, rows, |row| number(row.into_iter().nth(1).flatten()));
    }
    Ok((total, measured))
}

/// A unique index lets no value repeat: nothing has to be read.
fn guarded(statement: &Statement, rows: Option<i64>) -> Measured {
    Measured {
        value: 0.into(),
        rows,
        sql: Some(statement.shown().to_owned()),
        note: Some("a unique index of the table sees to it".to_owned()),
        ..Measured::default()
    }
}

/// The contract's own query: one row, one value.
async fn own(asker: &mut Asker<'_>, statement: &Statement) -> Result<Measured, CheckError> {
    let mut answer = asker.ask(statement).await?;
    if let Some(fault) = answer.rows.as_deref().ok().and_then(fault) {
        answer.rows = Err(Refusal::of(fault));
    }
    Ok(Measured::from(statement, answer, None, |row| {
        let values = row.into_iter().next().flatten();
        let values: Vec<Json> = values.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        values.into_iter().next().unwrap_or_default()
    }))
}

/// Why what a query gave is no value to be kept with each run.
fn fault(rows: &[Vec<Option<String>>]) -> Option<String> {
    if rows.len() > 1 {
        return Some("its query gives more than one row".to_owned());
    }
    let text = rows.first()?.first()?.as_deref()?;
    if text.len() > VALUE_LENGTH {
        return Some(format!(
            "its query gives a value of more than {VALUE_LENGTH} bytes: let it give a number"
        ));
    }
    let values: Vec<Json> = serde_json::from_str(text).ok()?;
    (values.len() != 1).then(|| format!("its query gives {} columns instead of one", values.len()))
}

/// Makes of a count its share of all rows, and of seconds the rule's own unit. Nothing of nothing is nothing.
fn scale(rule: &Rule, measured: &mut Measured) {
    let Some(value) = measured.value.as_f64() else { return };
    #[expect(clippy::cast_precision_loss, reason = "no table has 2^53 rows")]
    let scaled = match rule.unit {
        Unit::Rows => return,
        Unit::Percent => match measured.rows {
            Some(rows) if rows > 0 => value * 100.0 / rows as f64,
            _ => 0.0,
        },
        Unit::Time(_, seconds) => value / f64::from(seconds),
    };
    measured.value = scaled.into();
}

fn count(text: Option<String>) -> Option<i64> {
    text?.parse().ok()
}

fn number(text: Option<String>) -> Json {
    text.and_then(|text| text.parse().ok()).map_or(Json::Null, Json::Number)
}
