//! Changes that were accepted lately: what the sender is likely to send again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sqlx::{PgConnection, Row as _};
use tokio::sync::watch;

use super::tally::Counter;
use super::{Gates, Progress, Stage, Subject, Tally};

/// Lines of the ledger a statement.
const PAGE: i64 = 5000;

/// What both contracts think of changes that were accepted lately.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// The counts.
    #[serde(flatten)]
    pub tally: Tally,
    /// Changes before this moment were not looked at.
    pub since: DateTime<Utc>,
    /// There were more: only the newest ones were judged.
    pub cut: bool,
}

/// Judges the newest accepted changes, from the newest on.
pub(super) async fn judge(
    conn: &mut PgConnection,
    gates: &Gates,
    subject: &Subject<'_>,
    progress: &watch::Sender<Progress>,
) -> Result<Changes, sqlx::Error> {
    let since: DateTime<Utc> = sqlx::query_scalar(
        // No further back than there are dates for certain.
        "select now() - make_interval(secs => least($1, extract(epoch from now())))",
    )
    .bind(subject.since.as_secs_f64())
    .fetch_one(&mut *conn)
    .await?;
    let mut counter = Counter::new(gates.names_keys());
    let mut before = i64::MAX;
    let cut = loop {
        // By position alone, which is the order of time and has an index.
        let lines = sqlx::query(
            "select l.position, l.at, l.key, l.op, l.outcome, l.changes from accord.ledger l
             join accord.pipeline p on p.id = l.pipeline
             where p.name = $1 and l.position < $2 order by l.position desc limit $3",
        )
        .bind(subject.pipeline)
        .bind(before)
        .bind(PAGE)
        .fetch_all(&mut *conn)
        .await?;
        let Some(last) = lines.last() else { break false };
        before = last.try_get(0)?;
        let mut is_over = false;
        for line in &lines {
            if line.try_get::<DateTime<Utc>, _>(1)? < since {
                is_over = true;
                break;
            }
            let Some((key, delta)) = accepted(gates, line)? else { continue };
            if counter.judged() == subject.newest {
                return Ok(Changes { tally: counter.into_tally(), since, cut: true });
            }
            let proposed = gates.proposed.judge_delta(delta.clone());
            counter.count(|| key, proposed, &gates.active.judge_delta(delta));
        }
        progress.send_replace(Progress { stage: Stage::Changes, done: counter.judged(), of: None });
        if is_over {
            break false;
        }
    };
    Ok(Changes { tally: counter.into_tally(), since, cut })
}

/// The key and the delta of a change.
type Accepted = (String, Map<String, Json>);

/// The change of a line, where that was accepted and set or confirmed something.
fn accepted(gates: &Gates, line: &sqlx::postgres::PgRow) -> Result<Option<Accepted>, sqlx::Error> {
    let (key, op, outcome): (Option<String>, Option<String>, String) =
        (line.try_get(2)?, line.try_get(3)?, line.try_get(4)?);
    let was_accepted = outcome == "applied" || outcome == "unchanged";
    // A delete carries nothing to judge.
    if !was_accepted || op.as_deref() == Some("delete") {
        return Ok(None);
    }
    let (Some(key), Some(Json::Object(changes))) = (key, line.try_get(5)?) else { return Ok(None) };
    let contract = gates.active.contract();
    let delta =
        contract.recalled(&key, &changes).or_else(|| gates.proposed.contract().recalled(&key, &changes));
    Ok(delta.map(|delta| (key, delta)))
}
