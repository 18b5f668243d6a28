//! Who is measured.

use std::fmt;

use clap::ValueEnum;

/// How many connections senders hold, where a request carries one change.
pub(crate) const CONNECTIONS: [usize; 2] = [64, 256];

/// How many changes a batch carries.
pub(crate) const BATCH: usize = 500;

/// One of those that are measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// Accord's server, answering without a database.
    NoDatabase,
    /// A plain handler: one upsert a request, without gate or ledger.
    PerRequest,
    /// Accord, applying payloads.
    Apply,
    /// Accord, reading each row afresh from a reference.
    Refetch,
    /// Postgres alone, taking batches of rows and ledger entries on one connection.
    PostgresOnly,
    /// Accord, applying payloads, with a batch in each request.
    Batch,
}

impl Contender {
    /// Those that take one change a request.
    pub(crate) const ONE_A_REQUEST: [Self; 4] =
        [Self::NoDatabase, Self::PerRequest, Self::Apply, Self::Refetch];

    /// Those that take batches.
    pub(crate) const IN_BATCHES: [Self; 2] = [Self::PostgresOnly, Self::Batch];

    /// How many connections send batches.
    pub(crate) fn batch_clients(self) -> usize {
        if self == Self::PostgresOnly { 1 } else { 4 }
    }

    /// How many changes a request carries.
    pub(crate) fn changes_a_request(self) -> usize {
        if Self::IN_BATCHES.contains(&self) { BATCH } else { 1 }
    }

    /// Its database, where it has one.
    pub(crate) fn database(self) -> Option<&'static str> {
        match self {
            Self::NoDatabase => None,
            Self::PerRequest => Some("per_request"),
            Self::Apply | Self::Batch => Some("apply"),
            Self::Refetch => Some("refetch"),
            Self::PostgresOnly => Some("postgres_only"),
        }
    }

    /// Whether it writes down every change in `accord.ledger`.
    pub(crate) fn keeps_ledger(self) -> bool {
        matches!(self, Self::Apply | Self::Batch | Self::Refetch | Self::PostgresOnly)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDatabase => "a  same server, no database",
            Self::PerRequest => "b  plain, one upsert a request",
            Self::Apply => "c  Accord, apply",
            Self::Refetch => "d  Accord, refetch",
            Self::PostgresOnly => "e  Postgres alone",
            Self::Batch => "   Accord, apply",
        })
    }
}

/// A contender under a certain load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) contender: Contender,
    pub(crate) connections: usize,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contender, connections } = self;
        write!(f, "{contender}, {connections} connections, {} a request", contender.changes_a_request())
    }
}
