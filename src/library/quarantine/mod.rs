//! `accord.quarantine` and `accord.body`: what could not be applied, with its original bytes.
//!
//! Promises: an entry and its bytes commit together; the same bytes are stored once. Here is what the waist
//! writes; `standing` is what a replay goes by, `filter` says which entries, `read` lists and shows them, `close` discards and purges. Must not
//! know: why an entry is refused, beyond what it carries.

pub mod close;
mod filter;
pub mod read;
pub mod standing;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, Row as _};

use crate::change::{Body, Outcome, Violation};
use crate::library::pause;
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

/// Rules whose refusal waiting may heal: a parent or a whole row may still come, a lock may be gone. (What a pause
/// keeps is due at once, and held back by the pause alone: ending it needs no word about any entry.)
const HEALING: [&str; 3] = ["foreignKey", "incomplete", "timeout"];

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
             (pipeline, contract, at, position, key, reason, violations, origin, event_id, body, pointer, row,
              next_attempt_at)
         select $1, $2, $3, position, key, reason, violations::jsonb, origin, event_id, body, pointer, row::jsonb,
             case when reason = any($13) then $3 + interval '2 seconds' when reason = $14 then $3 end
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
    .bind(&HEALING[..])
    .bind(pause::RULE)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Another try of an open entry, and what came of it.
#[derive(Debug)]
pub struct Try<'a> {
    /// The entry.
    pub entry: i64,
    /// What came of it.
    pub outcome: Outcome,
    /// The columns that newer data had settled.
    pub left_over: Vec<String>,
    /// The payload that an operator put beside the original one.
    pub edit: Option<&'a Body>,
}

/// Writes down what came of tries: what was applied is released, what newer data settled is superseded, and what
/// was refused once more stays open, and is tried again later where waiting may heal it.
pub async fn tried(conn: &mut PgConnection, at: DateTime<Utc>, tries: &[Try<'_>]) -> Result<(), sqlx::Error> {
    if tries.is_empty() {
        return Ok(());
    }
    let edited: Vec<i64> = tries.iter().filter(|t| t.edit.is_some()).map(|t| t.entry).collect();
    let replaced = if edited.is_empty() { Vec::new() } else { close::edits(&mut *conn, &edited).await? };
    let mut edits: Vec<Option<[u8; 32]>> = Vec::with_capacity(tries.len());
    for edit in tries.iter().map(|t| t.edit) {
        let hash = edit.map(Body::sha256);
        if let (Some(hash), Some(body)) = (&hash, edit) {
            keep_body(conn, hash, body).await?;
        }
        edits.push(hash);
    }
    let state = |t: &Try<'_>| match t.outcome {
        Outcome::Applied { .. } | Outcome::Unchanged { .. } => "released",
        Outcome::Stale { .. } => "superseded",
        Outcome::Quarantined { .. } => "open",
    };
    let violations = |t: &Try<'_>| match &t.outcome {
        Outcome::Quarantined { violations, .. } => serde_json::to_string(violations).ok(),
        _ => None,
    };
    let left_over = |t: &Try<'_>| (!t.left_over.is_empty()).then(|| serde_json::json!(t.left_over));
    sqlx::query(
        "update accord.quarantine q
         set state = t.state,
             attempts = q.attempts + 1,
             attempted_at = $1,
             edit = coalesce(t.edit, q.edit),
             last_violations = coalesce(t.violations::jsonb, q.last_violations),
             left_over = t.left_over,
             next_attempt_at = case when t.state = 'open' and t.violations::jsonb -> 0 ->> 'rule' = any($2)
                 then $1 + least(interval '1 day', interval '2 seconds' * power(2, least(q.attempts + 1, 20))) end,
             closed_at = case when t.state <> 'open' then $1 end,
             closed_position = case when t.state <> 'open' then t.position end
         from unnest($3::int8[], $4::text[], $5::bytea[], $6::text[], $7::jsonb[], $8::int8[])
             as t(id, state, edit, violations, left_over, position)
         where q.id = t.id and q.state = 'open'",
    )
    .bind(at)
    .bind(&HEALING[..])
    .bind(tries.iter().map(|t| t.entry).collect::<Vec<_>>())
    .bind(tries.iter().map(state).collect::<Vec<_>>())
    .bind(edits.iter().map(|hash| hash.as_ref().map(<[u8; 32]>::as_slice)).collect::<Vec<_>>())
    .bind(tries.iter().map(violations).collect::<Vec<_>>())
    .bind(tries.iter().map(left_over).collect::<Vec<_>>())
    .bind(tries.iter().map(|t| t.outcome.position()).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    // Nobody could find an edit that another one has replaced, and so nobody could purge it.
    close::erase_bytes(conn, &replaced).await.map(drop)
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
