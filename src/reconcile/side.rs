//! One of the two tables, as the rest of the reconciler reads it.
//!
//! Promises: only ever reads; answers come in pieces, so memory does not grow with the table; a server that
//! falls silent is not waited for. All that is asked of a side is in the methods of [`Reader`]: whoever adds a
//! side that is no Postgres has those to answer. Must not know: the other side.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::copy::{Parser, Tuple};
use super::inconclusive::{Inconclusive, Side};
use super::key::{KeyShape, RawKey};
use super::{Endpoint, Plan};
use crate::change::Key;
use crate::library::session;
use crate::library::statement::compare::{CompareSql, Form, Hash};
use crate::library::statement::{Row, Sql, TableSql};

/// Settings of a session that scans. Unlike the waist's, they leave the planner its choice.
///
/// Values are spelled in one way on every server. Policies on rows would hide some of them, and what is hidden
/// would pass for missing: rather an error. The memory is what the digests of 80 million rows take: with less,
/// the server would write the rows to disk first.
const PINNED: &str = "
    set timezone = 'UTC';
    set datestyle = 'ISO, YMD';
    set extra_float_digits = 1;
    set jit = off;
    set row_security = off;
    set enable_hashagg = on;
    set work_mem = '64MB';
    set default_transaction_read_only = on;
";

/// How much longer than its statement a server may take before it counts as gone.
const SLACK: Duration = Duration::from_secs(5);

/// Awaits a server's answer, though not for ever: a server that hangs does not heed its own timeouts.
pub(super) async fn answered<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(patience, asked).await.unwrap_or_else(|_| Err(session::no_answer()))
}

/// A bucket of neighbouring keys on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) bucket: i64,
    pub(super) rows: i32,
    pub(super) hash: i64,
}

/// A row on one side, but for its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: RawKey,
    pub(super) hash: i64,
}

/// A connection for scans, before it is known what there is to scan.
pub(super) struct Session {
    pub(super) side: Side,
    pub(super) connection: PgConnection,
    allowed: Duration,
}

impl Session {
    pub(super) async fn open(side: Side, plan: &Plan) -> Result<Self, Inconclusive> {
        let failed = |source| Inconclusive::Connect { side, source };
        let mut connection = session::connect(&endpoint(side, plan).connect, PINNED).await.map_err(failed)?;
        let allowed = plan.statement_timeout;
        let set = sqlx::query("select set_config('statement_timeout', $1, false)")
            .bind(allowed.as_millis().to_string());
        answered(session::PATIENCE, set.execute(&mut connection)).await.map_err(failed)?;
        // Of help where it is known: a scan ends soon after nobody waits for it any more.
        let check = sqlx::query("select set_config('client_connection_check_interval', '2s', false)");
        let _ = answered(session::PATIENCE, check.execute(&mut connection)).await;
        Ok(Self { side, connection, allowed })
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> Inconclusive {
        Inconclusive::reading(self.side, self.allowed, source)
    }
}

/// One side, ready to be read.
pub(super) struct Reader {
    session: Session,
    sql: CompareSql,
    key: KeyShape,
    received: u64,
}

impl Reader {
    pub(super) fn new(session: Session, plan: &Plan, forms: &[Form]) -> Self {
        let Endpoint { schema, table, .. } = endpoint(session.side, plan);
        let sql = CompareSql::new(&plan.contract, schema.as_ref(), table, forms);
        Self { session, sql, key: KeyShape::of(&plan.contract), received: 0 }
    }

    /// Bytes that came as answers.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The digests of all buckets, in no order.
    ///
    /// The planner takes every bucket for a group of its own and would rather sort the table on disk.
    pub(super) async fn digests(&mut self) -> Result<Answer<'_, Digest>, Inconclusive> {
        self.set("set enable_sort = off").await?;
        let read: Read<Digest> =
            |_, row| Ok(Digest { bucket: row.int8()?, rows: row.int4()?, hash: row.int8()? });
        let sql = self.sql.digest();
        self.ask(&sql, read).await
    }

    /// The rows of some buckets, in no order.
    pub(super) async fn leaf(&mut self, buckets: &[i64]) -> Result<Answer<'_, Entry>, Inconclusive> {
        self.set("set enable_seqscan = off").await?;
        let sql = self.sql.leaf(buckets);
        self.ask(&sql, entry).await
    }

    /// All rows, in order of their keys.
    pub(super) async fn stream(&mut self, hash: Hash) -> Result<Answer<'_, Entry>, Inconclusive> {
        self.set("set enable_sort = on; set enable_seqscan = on").await?;
        let sql = self.sql.stream(hash);
        self.ask(&sql, entry).await
    }

    async fn set(&mut self, settings: &'static str) -> Result<(), Inconclusive> {
        let set = sqlx::raw_sql(settings).execute(&mut self.session.connection);
        let set = answered(session::PATIENCE, set).await;
        set.map(drop).map_err(|source| self.session.failed(source))
    }

    async fn ask<T>(&mut self, sql: &Sql, read: Read<T>) -> Result<Answer<'_, T>, Inconclusive> {
        let Session { side, allowed, connection } = &mut self.session;
        let (side, allowed) = (*side, *allowed);
        let failed = |source| Inconclusive::reading(side, allowed, source);
        let stream = answered(allowed + SLACK, sql.copy_out(connection)).await.map_err(failed)?;
        let (parser, received) = (Parser::default(), &mut self.received);
        Ok(Answer { stream, parser, received, side, allowed, read, key: &self.key })
    }
}

/// Reads the full rows of keys on one side, by a connection of its own.
pub(super) struct Lookup {
    side: Side,
    connection: PgConnection,
    sql: TableSql,
    allowed: Duration,
}

impl Lookup {
    pub(super) async fn open(side: Side, plan: &Plan) -> Result<Self, Inconclusive> {
        let Endpoint { connect, schema, table } = endpoint(side, plan);
        let allowed = plan.statement_timeout;
        let connection = session::connect_reader(connect, allowed).await;
        let connection = connection.map_err(|source| Inconclusive::Connect { side, source })?;
        let sql = TableSql::for_table(&plan.contract, schema.as_ref(), table);
        Ok(Self { side, connection, sql, allowed })
    }

    /// The rows of these keys, in the same order; `None` where there is none.
    pub(super) async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Row>>, Inconclusive> {
        let failed = |source| Inconclusive::reading(self.side, self.allowed, source);
        let asked: Vec<&Key> = keys.iter().collect();
        let query = self.sql.read(&asked, false);
        let answer = answered(self.allowed + SLACK, query.fetch_all(&mut self.connection)).await;
        let answer = answer.map_err(failed)?;
        let mut rows = vec![None; keys.len()];
        for row in &answer {
            let (index, row) = self.sql.decode(row).map_err(failed)?;
            if let Some(place) = rows.get_mut(index) {
                *place = Some(row);
            }
        }
        Ok(rows)
    }
}

/// The table's quoted name on one side.
pub(super) fn table_name(side: Side, plan: &Plan) -> String {
    let Endpoint { schema, table, .. } = endpoint(side, plan);
    TableSql::for_table(&plan.contract, schema.as_ref(), table).target().to_owned()
}

fn endpoint(side: Side, plan: &Plan) -> &Endpoint {
    match side {
        Side::Source => &plan.source,
        Side::Target => &plan.target,
    }
}

type Read<T> = fn(&KeyShape, &mut Tuple) -> Result<T, super::copy::Malformed>;

fn entry(key: &KeyShape, row: &mut Tuple) -> Result<Entry, super::copy::Malformed> {
    Ok(Entry { key: key.take(row)?, hash: row.int8()? })
}

/// An answer as it comes in.
pub(super) struct Answer<'a, T> {
    stream: BoxStream<'a, Result<Bytes, sqlx::Error>>,
    parser: Parser,
    received: &'a mut u64,
    pub(super) side: Side,
    allowed: Duration,
    read: Read<T>,
    key: &'a KeyShape,
}

impl<T> Answer<'_, T> {
    /// The next piece of the answer; `None` at its end, once it is known to be complete.
    pub(super) async fn next(&mut self) -> Result<Option<T>, Inconclusive> {
        let side = self.side;
        let malformed = |_| Inconclusive::Incomplete { side };
        loop {
            if let Some(mut row) = self.parser.tuple().map_err(malformed)? {
                return (self.read)(self.key, &mut row).map(Some).map_err(malformed);
            }
            let piece = timeout(self.allowed + SLACK, self.stream.next()).await;
            match piece.unwrap_or_else(|_| Some(Err(session::no_answer()))) {
                Some(Ok(piece)) => {
                    *self.received += u64::try_from(piece.len()).unwrap_or_default();
                    self.parser.feed(piece);
                }
                Some(Err(source)) => return Err(Inconclusive::reading(side, self.allowed, source)),
                None => return self.parser.finish().map(|()| None).map_err(malformed),
            }
        }
    }
}
