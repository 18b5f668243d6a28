//! The reconciler: finds every row in which library and reference differ, repairs it safely, proves it.
//!
//! Promises: a finding is a candidate until both full rows were read twice and said the same; a repair goes
//! through the waist, which reads the reference afresh under the lock before it writes; what cannot be known
//! is `inconclusive`, never `clean`. Must not know: HTTP, command lines, who asked.
//!
//! `diff` (preflight ► digest ► leaf ► confirm) only reads. `run` adds breakers and `repair`. `runner` and
//! `store` keep runs in the database, one at a time, whoever asked for them.

pub mod backfill;
mod breaker;
mod confirm;
mod copy;
mod cron;
mod diff;
mod digest;
mod inconclusive;
mod key;
mod leaf;
pub mod lock;
mod preflight;
mod progress;
pub mod record;
mod repair;
mod report;
mod run;
pub mod runner;
pub mod schedule;
mod side;
mod silence;
pub mod store;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::contract::{Contract, Identifier, IdentifierError};

pub use breaker::Limits;
pub use cron::{Schedule, ScheduleError};
pub use diff::{Difference, Findings, Found, diff};
pub use inconclusive::{Inconclusive, Side};
pub use progress::{Progress, Snapshot, Stage};
pub use report::{Bytes, ChangedColumn, Counts, Drift, Kind, Report, Rows, State};
pub use run::{Work, run};

/// One of the two tables.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// How to connect.
    pub connect: PgConnectOptions,
    /// Its schema; `None` for the search path.
    pub schema: Option<Identifier>,
    /// Its table.
    pub table: Identifier,
}

impl Endpoint {
    /// The table of this name, as a person writes it: `name` or `schema.name`.
    pub fn named(connect: PgConnectOptions, name: &str) -> Result<Self, IdentifierError> {
        let (schema, table) = match name.split_once('.') {
            Some((schema, table)) => (Some(Identifier::new(schema)?), table),
            None => (None, name),
        };
        Ok(Self { connect, schema, table: Identifier::new(table)? })
    }

    /// The contract's own table.
    pub fn of(connect: PgConnectOptions, contract: &Contract) -> Self {
        Self { connect, schema: contract.schema.clone(), table: contract.table.clone() }
    }
}

/// What to compare, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The columns that count, and the key.
    pub contract: Arc<Contract>,
    /// The reference: it is only ever read.
    pub source: Endpoint,
    /// The library.
    pub target: Endpoint,
    /// How long a difference must last to be one: longer than a change usually takes to arrive.
    pub grace: Duration,
    /// How long one statement may take on either side.
    pub statement_timeout: Duration,
    /// A way of comparing to take whatever the tables are like.
    pub force: Option<Method>,
}

/// How two tables are compared; each is as exact as the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Digests of 64 neighbouring keys each, then the keys of those that differ: whole-number keys.
    Buckets,
    /// Every key with the hash of its row, in order of the keys.
    Stream,
    /// As `Stream`, with hashes of canonical text: servers whose record hashes differ.
    TextStream,
}
