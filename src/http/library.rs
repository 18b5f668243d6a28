//! The smart library's old routes: the whole table as one document, and one row of it.
//!
//! Promises: memory stays bounded however many rows there are; every digit of a number is kept; a read that
//! fails half-way breaks the connection rather than end a truncated document well; a client that stops
//! reading holds a database connection for a bounded time only. Must not know: which table it serves.

use std::future::ready;
use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Row};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::JSON;
use super::error::{Kind, Problem};
use super::path::RoutePath;
use crate::contract::column::IdentifierError;
use crate::contract::{ColumnType, Contract, Identifier};
use crate::library::statement::{JsonReads, Sql};

/// Where a pipeline's table can be read.
#[derive(Clone, Debug)]
pub struct LibraryRoutes {
    /// All rows: `/fragrances`.
    pub list_path: RoutePath,
    /// One row, its key as one more segment: `/fragrance`.
    pub item_path: RoutePath,
}

/// The routes do not fit the contract.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A row cannot be named by one path segment.
    #[error(
        "`{0}` has a key of several columns, which one path segment cannot name: leave its read routes out"
    )]
    CompositeKey(Identifier),
    /// A field cannot be the name of a column in an answer.
    #[error("a field's name is too long to be read back: leave the read routes out or shorten it")]
    Field(#[from] IdentifierError),
}

/// How many whole-table reads run at once; each holds a database connection.
const LISTS_AT_ONCE: usize = 4;
/// How long a client may leave a frame unread before its read is given up.
const STALL: Duration = Duration::from_secs(30);
/// Bytes gathered before they are sent.
const FRAME: usize = 64 * 1024;

struct Table {
    pool: PgPool,
    reads: JsonReads,
    key_type: ColumnType,
    lists: Arc<Semaphore>,
}

/// The two read routes of a contract's table.
pub(super) fn routes(
    contract: &Contract,
    paths: &LibraryRoutes,
    pool: &PgPool,
) -> Result<Router, LibraryError> {
    let [key] = *contract.key.as_slice() else {
        return Err(LibraryError::CompositeKey(contract.table.clone()));
    };
    let table = Table {
        pool: pool.clone(),
        reads: JsonReads::new(contract, key)?,
        key_type: contract.columns[key].ty,
        lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
    };
    Ok(Router::new()
        .route(paths.list_path.as_str(), get(list))
        .route(&format!("{}/{{key}}", paths.item_path), get(item))
        .with_state(Arc::new(table)))
}

async fn list(State(table): State<Arc<Table>>) -> Result<Response, Problem> {
    let Ok(slot) = Arc::clone(&table.lists).try_acquire_owned() else {
        let detail = "As many whole-table reads run as are allowed: try again later.";
        return Err(Problem::unavailable(STALL, detail));
    };
    let connection = table.pool.acquire().await.map_err(|error| Problem::database(&error))?;
    let (frames, read) = mpsc::channel(1);
    tokio::spawn(read_all(connection, table.reads.list.clone(), frames, slot));
    let mut document = Box::pin(document(read));
    // The status waits for the first frame: until then a failure can still be told as one.
    let first = document.try_next().await.map_err(|error| Problem::database(&error))?.unwrap_or_default();
    let rest =
        document.inspect_err(|error| tracing::error!(%error, "a read of the whole table broke off: {error}"));
    Ok((HEADERS, Body::from_stream(stream::once(ready(Ok(first))).chain(rest))).into_response())
}

/// The frames until the one that says that it was the last; without that one the document is broken off.
fn document(read: mpsc::Receiver<Frame>) -> impl Stream<Item = Result<Bytes, sqlx::Error>> {
    stream::try_unfold(read, async |mut read| {
        let frame = read.recv().await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
        Ok(frame.map(|rows| (rows, read)))
    })
}

async fn item(
    State(table): State<Arc<Table>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(key) = key.map_err(|_not_text| unfit_key(table.key_type))?;
    check_key(table.key_type, &key)?;
    let read = table.reads.item.query().bind(key).fetch_optional(&table.pool).await;
    match read.and_then(|row| row.map(|row| row.try_get::<String, _>(0)).transpose()) {
        Ok(Some(row)) => Ok((HEADERS, row).into_response()),
        Ok(None) => Err(absent()),
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("22")) => {
            Err(unfit_key(table.key_type))
        }
        Err(error) => Err(Problem::database(&error)),
    }
}

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_TYPE, JSON),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Why a whole-table read ended before its end.
enum Cut {
    /// Nobody reads any more.
    Reader,
    /// The database failed.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Cut {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A piece of the document; none after its end.
type Frame = Result<Option<Bytes>, sqlx::Error>;

/// Reads for as long as somebody takes the frames; its receiver is the body of the answer.
async fn read_all(
    mut connection: PoolConnection<Postgres>,
    statement: Sql,
    frames: mpsc::Sender<Frame>,
    _slot: OwnedSemaphorePermit,
) {
    let Err(cut) = send_rows(&mut connection, statement, &frames).await else { return };
    // Rows are still on their way: to give the connection back would mean to read them all.
    connection.close_on_drop();
    if let Cut::Database(error) = cut {
        // When the reader has gone too, there is nobody left to tell.
        let _gone = frames.send_timeout(Err(error), STALL).await;
    }
}

async fn send_rows(
    connection: &mut PoolConnection<Postgres>,
    statement: Sql,
    frames: &mpsc::Sender<Frame>,
) -> Result<(), Cut> {
    let mut rows = statement.query().fetch(&mut **connection);
    let mut frame = BytesMut::from(r#"{"data":["#);
    let mut is_first = true;
    while let Some(row) = rows.try_next().await? {
        if !std::mem::take(&mut is_first) {
            frame.extend_from_slice(b",");
        }
        frame.extend_from_slice(row.try_get::<&str, _>(0)?.as_bytes());
        if frame.len() >= FRAME {
            send(frames, Some(frame.split().freeze())).await?;
        }
    }
    frame.extend_from_slice(b"]}");
    send(frames, Some(frame.freeze())).await?;
    send(frames, None).await
}

async fn send(frames: &mpsc::Sender<Frame>, frame: Option<Bytes>) -> Result<(), Cut> {
    frames.send_timeout(Ok(frame), STALL).await.map_err(|_unread| Cut::Reader)
}

/// Refuses a key that cannot be one, before the database is asked.
fn check_key(key_type: ColumnType, key: &str) -> Result<(), Problem> {
    if !matches!(key_type, ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt) {
        return Ok(());
    }
    match key.parse::<i64>() {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            Err(absent())
        }
        Err(_) => Err(unfit_key(key_type)),
    }
}

fn absent() -> Problem {
    Problem::new(Kind::NotFound, "No row has this key.")
}

fn unfit_key(key_type: ColumnType) -> Problem {
    Problem::new(Kind::BadRequest, format!("The last path segment is the row's key: write it as {key_type}."))
}

#[cfg(test)]
mod tests;
