//! Closing entries by a person's decision: discard, and purge.
//!
//! Promises: a mark stays, with the row's key and with when, who and why, also of the decision before it; purge leaves nothing else of what the sender
//! sent, except bytes that another entry still needs, and then says so. What was applied is the library's and the
//! ledger's. Must not know: who may decide.

use sqlx::{Connection as _, PgConnection};

use super::read::State;

/// Who decided, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Who.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// What came of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It is done. So many other entries still need the same bytes, which stay until the last of them goes.
    Done {
        /// How many others.
        bytes_shared_with: i64,
    },
    /// There is no such entry.
    Unknown,
    /// The entry is in a state in which this cannot be done.
    Not(State),
}

/// Puts an open entry aside.
pub async fn discard(
    conn: &mut PgConnection,
    id: i64,
    decision: Decision<'_>,
) -> Result<Decided, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let decided = match lock(&mut transaction, id).await? {
        None => Decided::Unknown,
        Some(State::Open) => {
            sqlx::query(
                "update accord.quarantine
                 set state = 'discarded', next_attempt_at = null, closed_at = now(), closed_by = $2, closed_reason = $3
                 where id = $1",
            )
            .bind(id)
            .bind(decision.by)
            .bind(decision.reason)
            .execute(&mut *transaction)
            .await?;
            Decided::Done { bytes_shared_with: 0 }
        }
        Some(other) => Decided::Not(other),
    };
    transaction.commit().await?;
    Ok(decided)
}

/// Erases what the sender sent and what was kept with it: bytes, row, the violations' values and messages, and the
/// answer that a repeat of the event would get.
pub async fn purge(conn: &mut PgConnection, id: i64, decision: Decision<'_>) -> Result<Decided, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let decided = match lock(&mut transaction, id).await? {
        None => Decided::Unknown,
        Some(State::Purged) => Decided::Not(State::Purged),
        Some(_) => {
            let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
                "select hash from accord.quarantine q cross join lateral (values (q.body), (q.edit)) h(hash)
                 where q.id = $1 and hash is not null",
            )
            .bind(id)
            .fetch_all(&mut *transaction)
            .await?;
            erase(&mut transaction, id, decision).await?;
            let bytes_shared_with = erase_bytes(&mut transaction, &hashes).await?;
            Decided::Done { bytes_shared_with }
        }
    };
    transaction.commit().await?;
    Ok(decided)
}

/// The entry's state; nobody else changes it until the transaction ends.
async fn lock(conn: &mut PgConnection, id: i64) -> Result<Option<State>, sqlx::Error> {
    let word: Option<String> =
        sqlx::query_scalar("select state from accord.quarantine where id = $1 for no key update")
            .bind(id)
            .fetch_optional(conn)
            .await?;
    Ok(word.and_then(|word| State::ALL.into_iter().find(|state| state.as_str() == word)))
}

async fn erase(conn: &mut PgConnection, id: i64, decision: Decision<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update accord.event_id e
         set outcome = jsonb_set(e.outcome, '{violations}', '[]')
         from accord.quarantine q
         where q.id = $1 and e.pipeline = q.pipeline and e.event_id = q.event_id and e.outcome ? 'violations'",
    )
    .bind(id)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "update accord.quarantine
         set state = 'purged', body = null, edit = null, row = null, last_violations = null, next_attempt_at = null,
             violations = (
                 select coalesce(jsonb_agg(jsonb_build_object(
                     'pointer', v ->> 'pointer', 'rule', v ->> 'rule', 'message', 'purged')), '[]')
                 from jsonb_array_elements(violations) v),
             closed_before = case when state <> 'open' then jsonb_build_object(
                 'state', state, 'at', closed_at, 'by', closed_by, 'reason', closed_reason,
                 'position', closed_position) end,
             closed_at = now(), closed_by = $2, closed_reason = $3, closed_position = null
         where id = $1",
    )
    .bind(id)
    .bind(decision.by)
    .bind(decision.reason)
    .execute(conn)
    .await
    .map(drop)
}

/// The hashes of the edits that are kept beside these entries.
pub(super) async fn edits(conn: &mut PgConnection, entries: &[i64]) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("select edit from accord.quarantine where id = any($1) and edit is not null")
        .bind(entries)
        .fetch_all(conn)
        .await
}

/// Erases those of the bytes that no entry needs any more; gives how many entries need the others.
pub(super) async fn erase_bytes(conn: &mut PgConnection, hashes: &[Vec<u8>]) -> Result<i64, sqlx::Error> {
    if hashes.is_empty() {
        return Ok(0);
    }
    // Whoever is about to refer to these bytes has locked them: after this wait, it is seen who does.
    sqlx::query("select from accord.body where hash = any($1) order by hash for update")
        .bind(hashes)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "delete from accord.body b
         where b.hash = any($1)
           and not exists (select from accord.quarantine q where q.body = b.hash)
           and not exists (select from accord.quarantine q where q.edit = b.hash)",
    )
    .bind(hashes)
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar("select count(*) from accord.quarantine q where q.body = any($1) or q.edit = any($1)")
        .bind(hashes)
        .fetch_one(conn)
        .await
}
