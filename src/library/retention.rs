//! Retention: what is older than its policy leaves, a bounded piece at a time.
//!
//! Promises: the ledger is never cut past the oldest open quarantine entry, of any pipeline that writes the same
//! table; open entries and the bytes they
//! need are kept, and so is the newest reconciliation that found something out; each statement is short. Must not know: who runs it, or when.

use std::time::Duration;

use sqlx::PgConnection;

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Ledger entries.
    pub ledger: Duration,
    /// Quarantine entries, from when they were closed.
    pub quarantine: Duration,
    /// Event ids: the window within which a repeat is recognised.
    pub event_id: Duration,
    /// Reconciliations that ended, and replays of many entries.
    pub reconciliation: Duration,
    /// Results of dataset checks.
    pub check: Duration,
}

/// Rows removed by one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Ledger entries.
    pub ledger: u64,
    /// Quarantine entries.
    pub quarantine: u64,
    /// Bodies that nothing refers to any more.
    pub bodies: u64,
    /// Event ids.
    pub event_ids: u64,
    /// Reconciliations.
    pub reconciliations: u64,
    /// Replays of many entries.
    pub replays: u64,
    /// Runs of dataset checks, with their results.
    pub checks: u64,
}

/// Rows a statement: short enough that nobody waits for it.
const PIECE: i64 = 5000;

/// Removes what its policy no longer keeps.
pub async fn sweep(conn: &mut PgConnection, policy: Policy) -> Result<Swept, sqlx::Error> {
    let event_ids = pieces(
        conn,
        "delete from accord.event_id where ctid = any(array(
             select ctid from accord.event_id where at < now() - make_interval(secs => $1) limit $2))",
        policy.event_id,
    )
    .await?;
    let quarantine = pieces(
        conn,
        "delete from accord.quarantine where ctid = any(array(
             select ctid from accord.quarantine
             where state <> 'open' and coalesce(closed_at, at) < now() - make_interval(secs => $1) limit $2))",
        policy.quarantine,
    )
    .await?;
    let ledger = pieces(
        conn,
        // Positions are in order of time, so the oldest entries are the first ones, and need no index of their own.
        // What an open entry is judged by is newer than it, in the ledgers of all pipelines of its tables.
        "delete from accord.ledger where ctid = any(array(
             select oldest.ctid from accord.pipeline p
             cross join lateral (
                 select min(open.position) filter (where open.pipeline = p.id) as own,
                        min(open.at) filter (where open.pipeline <> p.id) as others
                 from accord.pipeline o
                 cross join lateral (
                     select q.pipeline, q.position, q.at from accord.quarantine q
                     where q.pipeline = o.id and q.state = 'open' order by q.position limit 1) open
                 where o.tables && p.tables) needed
             cross join lateral (
                 select l.ctid, l.at from accord.ledger l
                 where l.pipeline = p.id
                   and l.position < coalesce(needed.own, l.position + 1)
                   and l.at <= coalesce(needed.others, l.at)
                 order by l.position limit $2) oldest
             where oldest.at < now() - make_interval(secs => $1)
             limit $2))",
        policy.ledger,
    )
    .await?;
    // An hour's grace: a body is stored just before the entry that refers to it.
    let bodies = pieces(
        conn,
        "delete from accord.body where hash = any(array(
             select hash from accord.body b
             where received_at < now() - make_interval(secs => $1)
               and not exists (select from accord.quarantine q where q.body = b.hash)
               and not exists (select from accord.quarantine q where q.edit = b.hash) limit $2))",
        Duration::from_hours(1),
    )
    .await?;
    let reconciliations = pieces(
        conn,
        // The newest that counted the reference's rows stays: the next one is measured by it.
        "delete from accord.reconciliation where ctid = any(array(
             select r.ctid from accord.reconciliation r
             where r.finished_at < now() - make_interval(secs => $1)
               and exists (select from accord.reconciliation newer
                           where newer.pipeline = r.pipeline and newer.id > r.id
                             and newer.state in ('clean', 'drift', 'repaired')) limit $2))",
        policy.reconciliation,
    )
    .await?;
    let replays = pieces(
        conn,
        // One whose process died never ends: it is silent.
        "delete from accord.replay where id = any(array(
             select id from accord.replay
             where coalesce(finished_at, seen_at) < now() - make_interval(secs => $1) order by id limit $2))",
        policy.reconciliation,
    )
    .await?;
    let checks = pieces(
        conn,
        "delete from accord.check_run where id = any(array(
             select id from accord.check_run where started_at < now() - make_interval(secs => $1)
             order by id limit $2))",
        policy.check,
    )
    .await?;
    Ok(Swept { ledger, quarantine, bodies, event_ids, reconciliations, replays, checks })
}

async fn pieces(conn: &mut PgConnection, sql: &'static str, age: Duration) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    loop {
        let query = sqlx::query(sql).bind(age.as_secs_f64()).bind(PIECE);
        let piece = query.execute(&mut *conn).await?.rows_affected();
        removed += piece;
        if piece < PIECE.unsigned_abs() {
            return Ok(removed);
        }
    }
}
