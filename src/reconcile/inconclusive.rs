//! Why it could not be found out whether two tables differ, and what to do about it.
//!
//! Promises: nothing in here is ever reported as clean. Must not know: how the tables are compared.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The reference.
    Source,
    /// The library.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Inconclusive {
    /// No connection.
    #[error(
        "cannot connect to the {side}: check its URL, and whether its server takes connections from here"
    )]
    Connect {
        /// Which one.
        side: Side,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The two tables do not match the contract, or each other.
    #[error("the tables cannot be compared: {}", .0.join("; "))]
    Shape(Vec<String>),
    /// The source follows another server, and may be behind it.
    #[error(
        "the source is a standby, which may be behind: what it lacks may not be missing. Give the URL of its primary"
    )]
    Standby,
    /// The server lacks functions that are needed.
    #[error("the {side} runs Postgres {major}, and 13 is the oldest that can be compared: upgrade it")]
    Old {
        /// Which one.
        side: Side,
        /// Its major version.
        major: i32,
    },
    /// Buckets were asked for, and are not possible.
    #[error("the table cannot be compared by buckets: {0}. Leave the way of comparing to Accord")]
    NoBuckets(&'static str),
    /// A statement took too long.
    #[error(
        "a statement on the {side} took longer than {}: allow more time, or compare while its server has less to do",
        humantime::format_duration(*after)
    )]
    Timeout {
        /// Which one.
        side: Side,
        /// What it was allowed.
        after: Duration,
    },
    /// Neither an answer nor an error came.
    #[error(
        "the {side} stopped answering: see that its server and the network between are well, and compare again"
    )]
    Silent {
        /// Which one.
        side: Side,
    },
    /// The role may not read the table.
    #[error("the {side} may not be read: grant select on its table to the role of its URL")]
    Denied {
        /// Which one.
        side: Side,
        /// What the server says.
        #[source]
        source: sqlx::Error,
    },
    /// A scan broke off.
    #[error("the {side} broke off while it was read: see that its server is well, and compare again")]
    Broken {
        /// Which one.
        side: Side,
        /// What happened.
        #[source]
        source: sqlx::Error,
    },
    /// The server stopped in the middle of its answer, or gave one of another shape.
    #[error(
        "the {side} gave no complete answer: connect to Postgres itself, not through something that stands between"
    )]
    Incomplete {
        /// Which one.
        side: Side,
    },
    /// The keys came in another order than the one that was asked for, or twice.
    #[error(
        "the {side} gives its keys in no order that can be followed: see that its index on the key is sound (`reindex`), \
         and that its database is encoded in UTF-8"
    )]
    Order {
        /// Which one.
        side: Side,
    },
}

impl Inconclusive {
    /// What went wrong while a side was read.
    pub(super) fn reading(side: Side, allowed: Duration, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
        match code.as_deref() {
            Some("57014") => Self::Timeout { side, after: allowed },
            Some("42501") => Self::Denied { side, source },
            _ if is_timeout(&source) => Self::Silent { side },
            _ => Self::Broken { side, source },
        }
    }

    /// The whole of it in one line, causes included.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text} ({error})");
            cause = error.source();
        }
        text
    }
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}
