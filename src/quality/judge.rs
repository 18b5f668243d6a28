//! From a value to an outcome, and to the keys of the rows that are to blame.

use std::time::Duration;

use serde_json::Value as Json;

use super::asker::Asker;
use super::measure::Measured;
use super::{CheckError, CheckResult, Outcome};
use crate::contract::rule::{Measure, Rule};
use crate::contract::{Contract, Severity};
use crate::library::statement::check::CheckSql;

/// The longest a key is shown.
const KEY_LENGTH: usize = 200;

pub(super) async fn judge(
    asker: &mut Asker<'_>,
    contract: &Contract,
    rule: &Rule,
    measured: Measured,
) -> Result<CheckResult, CheckError> {
    let Measured { value, rows, sql, refused, note, took } = measured;
    let is_error = rule.severity == Severity::Error;
    let outcome = match (&refused, rule.expected.holds(&value)) {
        (Some(_), _) => Outcome::NotExecuted,
        (None, true) => Outcome::Passed,
        (None, false) if is_error => Outcome::Failed,
        (None, false) => Outcome::Warned,
    };
    // Where no such row at all would not do either, there is none to blame.
    let has_culprits = matches!(outcome, Outcome::Failed | Outcome::Warned) && rule.expected.holds(&0.into());
    // Results are kept and shown to everybody who may ask: a sensitive key is not for them.
    let is_named = has_culprits && !contract.has_sensitive_key();
    let keys = if is_named { culprits(asker, contract, rule).await? } else { Vec::new() };
    let by_design = matches!(rule.measure, Measure::Nothing { by_design: true, .. });
    Ok(CheckResult {
        id: rule.id.clone(),
        name: rule.name.clone(),
        dimension: rule.dimension.clone(),
        severity: if is_error { "error" } else { "warning" }.to_owned(),
        outcome,
        value,
        unit: rule.unit.as_str().to_owned(),
        threshold: rule.expected.to_json(),
        rows,
        keys,
        sql,
        inconclusive: refused.is_some() && !by_design && is_error,
        reason: refused.or(note),
        duration_ms: milliseconds(took),
    })
}

async fn culprits(
    asker: &mut Asker<'_>,
    contract: &Contract,
    rule: &Rule,
) -> Result<Vec<String>, CheckError> {
    let Some(statement) = CheckSql::new(contract).culprits(&rule.measure) else { return Ok(Vec::new()) };
    // Without them, the verdict still stands.
    let rows = asker.ask(&statement).await?.rows.unwrap_or_default();
    Ok(rows.into_iter().map(key).collect())
}

/// A key as people and the ledger write it.
fn key(mut parts: Vec<Option<String>>) -> String {
    let text = match parts.as_mut_slice() {
        [one] => one.take().unwrap_or_default(),
        _ => Json::from(parts).to_string(),
    };
    text.chars().take(KEY_LENGTH).collect()
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
