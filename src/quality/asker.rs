//! A read-only snapshot that outlives the statements which the database refuses.
//!
//! Promises: whatever a statement did to its session is rolled back, refused or not; none outlasts the
//! patience, also where the server froze. Must not know: what is asked.

use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::library::session;
use crate::library::statement::check::Statement;

/// The rows of a statement as texts, or why there are none.
pub(super) type Rows = Result<Vec<Vec<Option<String>>>, Refusal>;

/// Why a statement gave nothing.
pub(super) struct Refusal {
    /// What the database has against it.
    pub(super) reason: String,
    /// It took too long, or waited too long for a lock.
    pub(super) is_slow: bool,
}

impl Refusal {
    pub(super) fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_slow: false }
    }

    fn slow(reason: String) -> Self {
        Self { reason, is_slow: true }
    }
}

/// An answer, and how long it took.
pub(super) struct Answer {
    pub(super) rows: Rows,
    pub(super) took: Duration,
}

/// Asks statements one after another, all in one snapshot.
pub(super) struct Asker<'c> {
    conn: &'c mut PgConnection,
    patience: Duration,
}

impl<'c> Asker<'c> {
    pub(super) async fn begin(conn: &'c mut PgConnection, patience: Duration) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql("begin isolation level repeatable read read only").execute(&mut *conn).await?;
        sqlx::query("select set_config('statement_timeout', $1, true)")
            .bind(patience.as_millis().to_string())
            .execute(&mut *conn)
            .await?;
        sqlx::raw_sql("savepoint clean").execute(&mut *conn).await?;
        Ok(Self { conn, patience })
    }

    /// The snapshot itself, for reads of the catalog.
    pub(super) fn snapshot(&mut self) -> &mut PgConnection {
        self.conn
    }

    /// Runs a statement. Only trouble with the connection or the server is an error.
    pub(super) async fn ask(&mut self, statement: &Statement) -> Result<Answer, sqlx::Error> {
        let started = Instant::now();
        let query = statement.query().persistent(false);
        let asked = tokio::time::timeout(self.patience + session::PATIENCE, query.fetch_all(&mut *self.conn));
        let answer = asked.await.unwrap_or_else(|_| Err(session::no_answer()));
        let took = started.elapsed();
        let rows = match answer {
            Ok(rows) => Ok(rows.iter().map(texts).collect::<Result<_, _>>()?),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014") => {
                Err(Refusal::slow(format!("it took longer than {} s", self.patience.as_secs_f64())))
            }
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                Err(Refusal::slow("somebody has locked the table: ask again later".to_owned()))
            }
            Err(sqlx::Error::Database(error)) if is_of_the_statement(error.code().as_deref()) => {
                Err(Refusal::of(format!("the database refuses it: {}", error.message())))
            }
            Err(error) => return Err(error),
        };
        sqlx::raw_sql("rollback to savepoint clean").execute(&mut *self.conn).await?;
        Ok(Answer { rows, took })
    }

    pub(super) async fn end(self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("rollback").execute(self.conn).await.map(drop)
    }
}

/// Whether an error is about the statement rather than about the server or the connection.
fn is_of_the_statement(code: Option<&str>) -> bool {
    !code.is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class)))
}

fn texts(row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
    (0..row.len()).map(|i| row.try_get(i)).collect()
}
