//! What is promised of the table as a whole.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::contract::Contract;
use crate::library::session;
use crate::quality::{self, CheckError, CheckResult, Choice, Outcome};

/// Rules of the new contract that the table does not keep, although it keeps the active contract's rule of that id, if
/// there is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// Of severity error.
    pub would_fail: Vec<Failing>,
    /// Of severity warning.
    pub would_warn: Vec<Failing>,
    /// Of severity error, and nobody can say whether they are kept.
    pub unjudged: Vec<Failing>,
}

/// A rule, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// The rule's id.
    pub id: String,
    /// What it promises.
    pub name: String,
    /// What was measured.
    pub value: Json,
    /// What that must be.
    pub threshold: Json,
    /// What the value counts.
    pub unit: String,
    /// Keys of rows that break it, the first few.
    pub keys: Vec<String>,
    /// Why nothing was measured, or what else is to be said.
    pub reason: Option<String>,
}

/// Measures the new contract's rules, and of those that are broken the active contract's rules of the same id.
pub(super) async fn judge(
    mut conn: PgConnection,
    connect: &PgConnectOptions,
    proposed: &Contract,
    active: &Contract,
) -> Result<Checks, CheckError> {
    let results = quality::check_on(&mut conn, proposed, Choice::default()).await?;
    conn.close().await?;
    let mut checks = Checks::default();
    for result in results {
        let list = match (result.outcome, result.inconclusive) {
            (Outcome::Failed, _) => &mut checks.would_fail,
            (Outcome::Warned, _) => &mut checks.would_warn,
            (Outcome::NotExecuted, true) => &mut checks.unjudged,
            _ => continue,
        };
        if !is_old_news(connect, active, &result).await? {
            list.push(Failing::of(result));
        }
    }
    Ok(checks)
}

/// Whether the rule is as badly kept under the active contract.
async fn is_old_news(
    connect: &PgConnectOptions,
    active: &Contract,
    result: &CheckResult,
) -> Result<bool, CheckError> {
    if !active.rules.iter().any(|rule| rule.id == result.id) {
        return Ok(false);
    }
    let mut conn = session::connect_checker(connect).await?;
    let choice = Choice { rule: Some(&result.id), ..Choice::default() };
    let before = quality::check_on(&mut conn, active, choice).await?;
    conn.close().await?;
    Ok(before.iter().any(|before| match result.outcome {
        // What only warned before fails now: that is news.
        Outcome::Warned => matches!(before.outcome, Outcome::Warned | Outcome::Failed),
        outcome => before.outcome == outcome && before.inconclusive == result.inconclusive,
    }))
}

impl Failing {
    fn of(result: CheckResult) -> Self {
        let CheckResult { id, name, value, threshold, unit, keys, reason, .. } = result;
        Self { id, name, value, threshold, unit, keys, reason }
    }
}
