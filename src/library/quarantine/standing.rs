//! What happened to a row since an entry about it was kept: what a replay, and the sweep, go by.
//!
//! Promises: the ledger of every pipeline that writes the same table counts; a replay counts as old as the entry
//! that it replayed. Must not know: what is made of it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use sqlx::{PgConnection, PgExecutor, Row as _};

/// An entry, and the row to look at: its own, or the one that a newer reading of its payload names.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The entry.
    pub entry: i64,
    /// The row, where known.
    pub key: Option<&'a str>,
}

/// An open entry.
#[derive(Debug)]
pub struct Open {
    /// Its id.
    pub id: i64,
    /// Its place in the ledger.
    pub position: i64,
    /// When it was kept.
    pub at: DateTime<Utc>,
    /// The row it is about, where that was known.
    pub key: Option<String>,
    /// That row as it was.
    pub row: Option<Map<String, Json>>,
}

/// Locks those of the entries that are open, each with how it was asked for.
pub async fn lock_open<'a>(
    conn: &mut PgConnection,
    pipeline: i16,
    asked: &'a [Asked<'a>],
) -> Result<Vec<(Open, &'a Asked<'a>)>, sqlx::Error> {
    let rows = sqlx::query(
        "select id, position, at, key, row from accord.quarantine
         where id = any($2) and pipeline = $1 and state = 'open'
         order by id for no key update",
    )
    .bind(pipeline)
    .bind(asked.iter().map(|asked| asked.entry).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut open = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = row.try_get(0)?;
        let kept: Option<Json> = row.try_get(4)?;
        let kept = kept.and_then(|row| if let Json::Object(row) = row { Some(row) } else { None });
        let (position, at, key) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        if let Some(asked) = asked.iter().find(|asked| asked.entry == id) {
            open.push((Open { id, position, at, key, row: kept }, asked));
        }
    }
    Ok(open)
}

/// What the ledger says about an entry's row since the entry was kept.
#[derive(Debug)]
pub struct Since {
    /// The entry.
    pub entry: i64,
    /// This is the replay of an entry that is older still: `op` and `changes` say what it did.
    pub is_older: bool,
    /// `insert`, `update` or `delete`.
    pub op: Option<String>,
    /// The ledger's `changes`.
    pub changes: Option<Json>,
    /// Something newer inserted or deleted the row.
    pub remade: bool,
    /// The columns that something newer has named.
    pub names: Vec<String>,
}

/// Whether this operation names every column.
pub fn is_remaking(op: Option<&str>) -> bool {
    matches!(op, Some("insert" | "delete"))
}

/// Reads what happened since, in order: one summary of all that is newer, and each replay of an older entry.
pub async fn since(
    executor: impl PgExecutor<'_>,
    pipeline: i16,
    asked: &[Asked<'_>],
) -> Result<Vec<Since>, sqlx::Error> {
    let rows = sqlx::query(
        "with since as materialized (
             select q.id, l.position, l.op, l.changes,
                    coalesce((replayed.at, replayed.position) < (q.at, q.position), false) as is_older
             from unnest($2::int8[], $3::text[]) as asked(id, key)
             join accord.quarantine q on q.id = asked.id and q.pipeline = $1
             cross join lateral (
                 select p.id from accord.pipeline p
                 where p.tables && (select tables from accord.pipeline where id = $1)) p
             join accord.ledger l
                 on l.pipeline = p.id and l.key = asked.key
                and l.position > case when p.id = $1 then q.position else 0 end
                and (p.id = $1 or l.at > q.at)
             left join accord.quarantine replayed on l.origin = 'replay' and replayed.id = l.quarantine
             where asked.key is not null and l.outcome in ('applied', 'unchanged'))
         select id, false, null::int8, null::text, null::jsonb,
                bool_or(op in ('insert', 'delete')) is true,
                coalesce(array_agg(distinct name) filter (where name is not null), '{}')
         from since left join lateral jsonb_object_keys(changes) name on true
         where not is_older group by id
         union all
         select id, true, position, op, changes, false, '{}' from since where is_older
         order by 1, 3",
    )
    .bind(pipeline)
    .bind(asked.iter().map(|asked| asked.entry).collect::<Vec<_>>())
    .bind(asked.iter().map(|asked| asked.key).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Since {
                entry: row.try_get(0)?,
                is_older: row.try_get(1)?,
                op: row.try_get(3)?,
                changes: row.try_get(4)?,
                remade: row.try_get(5)?,
                names: row.try_get(6)?,
            })
        })
        .collect()
}

/// Closes those of the entries that are open still, because newer data has settled all that they say: up to this
/// position of their pipeline's ledger, or in the ledger of another one.
pub async fn supersede(
    executor: impl PgExecutor<'_>,
    entries: &[i64],
    position: Option<i64>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update accord.quarantine
         set state = 'superseded', closed_at = now(), closed_position = $2, next_attempt_at = null
         where id = any($1) and state = 'open'",
    )
    .bind(entries)
    .bind(position)
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
