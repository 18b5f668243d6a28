//! What an error means for a batch: ONE function decides.
//!
//! Promises: only *data* errors lead to quarantine; what is our fault or the database's never does. Must not
//! know: what is done about it.

use crate::change::Violation;

/// What to do about an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The data is at fault: find the culprit and quarantine it.
    Quarantine(Violation),
    /// The statement was cancelled: a lone change gets three tries.
    Cancelled(Violation),
    /// Bad luck among concurrent transactions: the same batch again, at once.
    Retry,
    /// The database is away, full or read-only: wait for it.
    Wait,
    /// Our statement or our configuration is wrong: a person has to look.
    Halt,
}

/// Decides by SQLSTATE.
pub(super) fn of(error: &sqlx::Error) -> Disposition {
    let database = match error {
        sqlx::Error::Database(database) => database.downcast_ref::<sqlx::postgres::PgDatabaseError>(),
        sqlx::Error::Configuration(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::InvalidArgument(_) => return Disposition::Halt,
        _ => return Disposition::Wait,
    };
    match database.code() {
        // A plan outlived a change of the table: a new session plans anew.
        "0A000" if database.message().contains("cached plan") => Disposition::Retry,
        "57014" => Disposition::Cancelled(violation(database)),
        "55P03" => Disposition::Retry,
        "25006" | "25P03" => Disposition::Wait,
        "P0001" | "44000" => Disposition::Quarantine(violation(database)),
        code => match &code[..code.len().min(2)] {
            "22" | "23" | "54" => Disposition::Quarantine(violation(database)),
            "40" => Disposition::Retry,
            "42" | "0A" | "3F" | "55" => Disposition::Halt,
            // 08 connection, 53 resources, 57 operator, 28 and 3D at a fail-over, XX, and what we do not know:
            // waiting loses nothing.
            _ => Disposition::Wait,
        },
    }
}

fn violation(error: &sqlx::postgres::PgDatabaseError) -> Violation {
    let rule = match error.code() {
        "22001" => "maxLength",
        "22003" => "range",
        "23502" => "notNull",
        "23503" => "foreignKey",
        "23505" => "unique",
        "23514" => "check",
        "23P01" => "exclusion",
        "P0001" => "raised",
        "57014" => "timeout",
        other => other,
    };
    Violation {
        pointer: error.column().map(|column| format!("/{column}")).unwrap_or_default(),
        rule: rule.to_owned(),
        value: error.constraint().map(Violation::cut),
        message: Violation::cut(&format!("the library's database refused it: {}", error.message())),
    }
}
