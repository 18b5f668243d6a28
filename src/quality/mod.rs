//! Dataset checks: what the contract promises of its table as a whole, measured.
//!
//! Promises: a check only reads, in one snapshot; every rule of the contract has a result, also the one that
//! could not be executed, with the reason; a rule that the database refuses spoils no other. Must not know:
//! HTTP, command lines.
//!
//! `asker` (a snapshot that outlives refusals) ► `measure` (values, from as few scans as there can be) ►
//! `judge` (outcomes, and the keys of what is wrong). `checker` runs them when asked, and keeps what they gave.

mod asker;
mod checker;
mod judge;
mod measure;

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::contract::Contract;
use crate::library::session;

pub use crate::library::check_result::{CheckResult, Outcome};
pub use checker::{AskError, Checker, Checks, check_and_keep};

use asker::Asker;

/// How long one statement of a check may take.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The checks could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database did not answer, or the connection broke.
    #[error("the table's database cannot be asked")]
    Database(#[from] sqlx::Error),
    /// No rule has this id.
    #[error("the contract has no rule `{id}`: it has {}", known.join(", "))]
    NoSuchRule {
        /// What was asked for.
        id: String,
        /// The rules that there are.
        known: Vec<String>,
    },
}

/// Which rules are checked, and how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Only the rule with this id.
    pub rule: Option<&'a str>,
    /// How long one statement may take.
    pub patience: Duration,
}

impl Default for Choice<'_> {
    fn default() -> Self {
        Self { rule: None, patience: PATIENCE }
    }
}

/// Checks a contract's table over a connection of its own.
pub async fn check(
    connect: &PgConnectOptions,
    contract: &Contract,
    choice: Choice<'_>,
) -> Result<Vec<CheckResult>, CheckError> {
    let mut conn = session::connect_checker(connect).await?;
    let results = check_on(&mut conn, contract, choice).await?;
    conn.close().await?;
    Ok(results)
}

/// Checks a contract's table over this connection, in one read-only snapshot.
///
/// When it fails, the connection is in the middle of a transaction and should be closed.
pub async fn check_on(
    conn: &mut PgConnection,
    contract: &Contract,
    choice: Choice<'_>,
) -> Result<Vec<CheckResult>, CheckError> {
    let chosen = |id: &str| choice.rule.is_none_or(|rule| rule == id);
    let rules: Vec<_> = contract.rules.iter().filter(|rule| chosen(&rule.id)).collect();
    if let Some(id) = choice.rule.filter(|_| rules.is_empty()) {
        let known = contract.rules.iter().map(|rule| rule.id.clone()).collect();
        return Err(CheckError::NoSuchRule { id: id.to_owned(), known });
    }
    let mut asker = Asker::begin(conn, choice.patience).await?;
    let measured = measure::measure(&mut asker, contract, &rules).await?;
    let mut results = Vec::with_capacity(rules.len());
    for (rule, measured) in rules.into_iter().zip(measured) {
        results.push(judge::judge(&mut asker, contract, rule, measured).await?);
    }
    asker.end().await?;
    Ok(results)
}
