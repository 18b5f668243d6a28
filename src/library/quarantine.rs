//! `accord.quarantine` and `accord.body`: what could not be applied, with its original bytes.
//!
//! Promises: an entry and its bytes commit together; the same bytes are stored once. Must not know: why an
//! entry is refused, beyond what it carries.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, Row as _};

use crate::change::{Body, Violation};
use crate::library::pipeline::Ids;

/// An entry to keep.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its place in the ledger.
    pub position: i64,
    /// The row, where known.
    pub key: Option<&'a str>,
    /// Why: at least one.
    pub violations: &'a [Violation],
    /// The origin's word.
    pub origin: &'static str,
    /// The sender's id.
    pub event_id: Option<&'a str>,
    /// The bytes it came in.
    pub body: &'a Body,
    /// Its place in them.
    pub pointer: &'a str,
    /// The row as it was, as JSON; none when there was no row.
    pub row: Option<String>,
}

/// Keeps entries and their bodies; gives the entries' ids, in order.
pub async fn keep(
    conn: &mut PgConnection,
    ids: Ids,
    at: DateTime<Utc>,
    entries: &[Entry<'_>],
) -> Result<Vec<i64>, sqlx::Error> {
    let mut hashes: Vec<[u8; 32]> = Vec::with_capacity(entries.len());
    let mut last: Option<(&Body, [u8; 32])> = None;
    for entry in entries {
        // Neighbours usually share their body: hash and store it once.
        let hash = match last {
            Some((body, hash)) if std::ptr::eq(body, entry.body) => hash,
            _ => {
                let hash = entry.body.sha256();
                keep_body(conn, &hash, entry.body).await?;
                hash
            }
        };
        last = Some((entry.body, hash));
        hashes.push(hash);
    }
    let violations =
        entries.iter().map(|e| serde_json::to_string(e.violations).unwrap_or_else(|_| "[]".into()));
    let rows = sqlx::query(
        "insert into accord.quarantine
             (pipeline, contract, at, position, key, reason, violations, origin, event_id, body, pointer, row)
         select $1, $2, $3, position, key, reason, violations::jsonb, origin, event_id, body, pointer, row::jsonb
         from unnest($4::int8[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[],
                     $11::text[], $12::text[])
             with ordinality as e(position, key, reason, violations, origin, event_id, body, pointer, row, n)
         order by n
         returning id",
    )
    .bind(ids.pipeline)
    .bind(ids.contract)
    .bind(at)
    .bind(entries.iter().map(|e| e.position).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.key).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.violations.first().map_or("unknown", |v| v.rule.as_str())).collect::<Vec<_>>())
    .bind(violations.collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.origin).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.pointer).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.row.as_deref()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Which of these (key, hash of the body) wait already, by their index: open entries of this origin that this
/// same contract document has refused.
pub async fn open_among(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    contract_hash: &str,
    origin: &str,
    entries: &[(&str, [u8; 32])],
) -> Result<HashSet<usize>, sqlx::Error> {
    let found: Vec<i64> = sqlx::query_scalar(
        "select e.n - 1 from unnest($4::text[], $5::bytea[]) with ordinality as e(key, body, n)
         where exists (select from accord.quarantine q join accord.contract c on c.id = q.contract
                       where q.pipeline = $1 and c.hash = $2 and q.origin = $3 and q.state = 'open'
                         and q.key = e.key and q.body = e.body)",
    )
    .bind(pipeline)
    .bind(contract_hash)
    .bind(origin)
    .bind(entries.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, body)| body.as_slice()).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    Ok(found.into_iter().filter_map(|n| usize::try_from(n).ok()).collect())
}

async fn keep_body(conn: &mut PgConnection, hash: &[u8; 32], body: &Body) -> Result<(), sqlx::Error> {
    let headers: serde_json::Value = body.headers.iter().map(|(k, v)| serde_json::json!([k, v])).collect();
    sqlx::query(
        // The update keeps a sweep from taking the body away before its entry refers to it.
        "insert into accord.body (hash, bytes, headers, received_at) values ($1, $2, $3, $4)
         on conflict (hash) do update set hash = excluded.hash",
    )
    .bind(hash.as_slice())
    .bind(body.bytes.as_ref())
    .bind(headers)
    .bind(body.received_at)
    .execute(conn)
    .await
    .map(drop)
}
