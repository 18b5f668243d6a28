//! The library's rows.

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use tokio::sync::watch;

use super::tally::Counter;
use super::{Gates, Progress, Stage, Tally};
use crate::change::Key;
use crate::contract::Contract;
use crate::library::statement::{Row, ScanSql};

/// Rows between two words about progress.
const STRIDE: u64 = 1000;

/// Judges every row. Where the table is none of the active contract's any more, all that fails is news.
pub(super) async fn judge(
    conn: &mut PgConnection,
    gates: &Gates,
    has_moved_on: bool,
    progress: &watch::Sender<Progress>,
) -> Result<Tally, sqlx::Error> {
    let (proposed, active) = (gates.proposed.contract(), gates.active.contract());
    let sql = ScanSql::new(proposed, (!has_moved_on).then_some(active));
    let estimate: Option<i64> = sql.estimate().fetch_optional(&mut *conn).await?;
    let of = estimate.and_then(|rows| u64::try_from(rows).ok()).filter(|rows| *rows > 0);
    let mut counter = Counter::default();
    let mut rows = sql.rows().fetch(conn);
    while let Some(row) = rows.try_next().await? {
        let [new, old] = sql.decode(&row)?;
        let old = if has_moved_on { Ok(()) } else { gates.active.judge_full(&old) };
        counter.count(|| key(proposed, &new), gates.proposed.judge_full(&new), &old);
        if counter.judged().is_multiple_of(STRIDE) {
            progress.send_replace(Progress { stage: Stage::Rows, done: counter.judged(), of });
        }
    }
    Ok(counter.into_tally())
}

fn key(contract: &Contract, row: &Row) -> String {
    Key::new(contract.key.iter().map(|&index| row[index].clone()).collect()).text().to_string()
}
