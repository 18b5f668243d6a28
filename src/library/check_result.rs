//! `accord.check_run` and `accord.check_result`: what was measured of a table, each time.
//!
//! Promises: passes are kept with their values, so that there is a history to plot; a run is seen from its start on; its results appear with its end, together. Must not know: how
//! they are come by.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::types::Json as Jsonb;
use sqlx::{PgExecutor, Row as _};

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The rule's id, unique within its contract.
    pub id: String,
    /// What the rule promises.
    pub name: String,
    /// The kind of quality it is about.
    pub dimension: String,
    /// `error` or `warning`: whether breaking it fails or warns.
    pub severity: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was measured; null where nothing was.
    pub value: Json,
    /// What the value counts.
    pub unit: String,
    /// What the value must be, in the standard's words.
    pub threshold: Json,
    /// The rows that were looked at.
    pub rows: Option<i64>,
    /// Keys of rows that break the rule, the first few.
    pub keys: Vec<String>,
    /// The statement that measures it, to be run by hand.
    pub sql: Option<String>,
    /// Why it was not executed, or what else is to be said.
    pub reason: Option<String>,
    /// How long its statement took; the checks of one scan share it.
    pub duration_ms: f64,
    /// It should have been executed, and could not be.
    #[serde(skip)]
    pub inconclusive: bool,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The value is as promised.
    Passed,
    /// It is not, and that is a warning.
    Warned,
    /// It is not, and that is a failure.
    Failed,
    /// Nothing was measured.
    NotExecuted,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::NotExecuted => "not_executed",
        }
    }
}

/// One run of a pipeline's checks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// Whose checks.
    pub pipeline: String,
    /// The contract's version.
    pub contract: String,
    /// `running`, `done`, `error`, or `lost` when its process ended before it.
    pub state: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it has no results.
    pub error: Option<String>,
    /// How many rules passed.
    pub passed: i64,
    /// How many warned.
    pub warned: i64,
    /// How many failed.
    pub failed: i64,
    /// How many were not executed.
    pub not_executed: i64,
}

/// Writes down that a run begins; gives its number.
pub async fn begin(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
    contract: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("insert into accord.check_run (pipeline, contract) values ($1, $2) returning id")
        .bind(pipeline)
        .bind(contract)
        .fetch_one(executor)
        .await
}

/// Writes down that a run gave no results.
pub async fn fail(executor: impl PgExecutor<'_>, run: i64, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update accord.check_run set finished_at = now(), error = $2 where id = $1")
        .bind(run)
        .bind(error)
        .execute(executor)
        .await
        .map(drop)
}

/// Writes down what a run gave.
pub async fn finish(
    executor: impl PgExecutor<'_>,
    run: i64,
    results: &[CheckResult],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with done as (update accord.check_run set finished_at = now() where id = $1)
         insert into accord.check_result
             (run, n, rule, name, dimension, severity, outcome, value, unit, threshold, rows, keys, sql, reason,
              duration_ms)
         select $1, n, r->>'id', r->>'name', r->>'dimension', r->>'severity', r->>'outcome',
                nullif(r->'value', 'null'), r->>'unit', r->'threshold', (r->>'rows')::bigint,
                array(select jsonb_array_elements_text(r->'keys')), r->>'sql', r->>'reason',
                (r->>'duration_ms')::double precision
         from jsonb_array_elements($2) with ordinality as results(r, n)",
    )
    .bind(run)
    .bind(Jsonb(results))
    .execute(executor)
    .await
    .map(drop)
}

// A check's statements are bounded: nobody can be at one for an hour.
const RUNS: &str = "
    select r.id, r.pipeline, r.contract,
           case when r.error is not null then 'error' when r.finished_at is not null then 'done'
                when r.started_at < now() - interval '1 hour' then 'lost' else 'running' end,
           r.started_at, r.finished_at, r.error,
           count(*) filter (where c.outcome = 'passed'), count(*) filter (where c.outcome = 'warned'),
           count(*) filter (where c.outcome = 'failed'), count(*) filter (where c.outcome = 'not_executed')
    from accord.check_run r left join accord.check_result c on c.run = r.id
    where ($1::text is null or r.pipeline = $1) and ($2::bigint is null or r.id = $2)
      and ($4::bigint is null or r.id < $4)
    group by r.id order by r.id desc limit $3";

/// The latest runs before this one, of one pipeline or of all, the latest first.
pub async fn latest(
    executor: impl PgExecutor<'_>,
    pipeline: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Run>, sqlx::Error> {
    let query = sqlx::query(RUNS).bind(pipeline).bind(None::<i64>).bind(limit).bind(before);
    query.fetch_all(executor).await?.iter().map(run).collect()
}

/// What a rule gave in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// The run.
    pub run: i64,
    /// When that ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The version of the contract that the rule was of.
    pub contract: String,
    /// What became of the rule.
    pub outcome: Outcome,
    /// What was measured; null where nothing was.
    pub value: Json,
    /// What the value counts.
    pub unit: String,
    /// What the value had to be.
    pub threshold: Json,
    /// The rows that were looked at.
    pub rows: Option<i64>,
}

/// What one rule of a pipeline gave in the runs before this one, the latest first.
pub async fn of_rule(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
    rule: &str,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Sample>, sqlx::Error> {
    let rows = sqlx::query(
        "select r.id, r.finished_at, r.contract, to_jsonb(c.outcome), coalesce(c.value, 'null'), c.unit, c.threshold,
                c.rows
         from accord.check_run r join accord.check_result c on c.run = r.id
         where r.pipeline = $1 and c.rule = $2 and ($3::bigint is null or r.id < $3)
         order by r.id desc limit $4",
    )
    .bind(pipeline)
    .bind(rule)
    .bind(before)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Sample {
                run: row.try_get(0)?,
                finished_at: row.try_get(1)?,
                contract: row.try_get(2)?,
                outcome: row.try_get::<Jsonb<_>, _>(3)?.0,
                value: row.try_get(4)?,
                unit: row.try_get(5)?,
                threshold: row.try_get(6)?,
                rows: row.try_get(7)?,
            })
        })
        .collect()
}

/// When the newest of a pipeline's runs began that gave results or may yet; runs that gave none do not count, unless
/// there are no others.
pub async fn last_begun(
    executor: impl PgExecutor<'_>,
    pipeline: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(max(started_at) filter (where error is null
                                                   and (finished_at is not null
                                                        or started_at > now() - interval '1 hour')),
                         min(started_at))
         from (select * from accord.check_run where pipeline = $1 order by id desc limit 100) newest",
    )
    .bind(pipeline)
    .fetch_one(executor)
    .await
}

/// One run.
pub async fn one(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Run>, sqlx::Error> {
    let row = sqlx::query(RUNS)
        .bind(None::<&str>)
        .bind(id)
        .bind(1_i64)
        .bind(None::<i64>)
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(run).transpose()
}

fn run(row: &sqlx::postgres::PgRow) -> Result<Run, sqlx::Error> {
    Ok(Run {
        id: row.try_get(0)?,
        pipeline: row.try_get(1)?,
        contract: row.try_get(2)?,
        state: row.try_get(3)?,
        started_at: row.try_get(4)?,
        finished_at: row.try_get(5)?,
        error: row.try_get(6)?,
        passed: row.try_get(7)?,
        warned: row.try_get(8)?,
        failed: row.try_get(9)?,
        not_executed: row.try_get(10)?,
    })
}

/// The results of a run, in the order of its contract.
pub async fn results(executor: impl PgExecutor<'_>, run: i64) -> Result<Vec<CheckResult>, sqlx::Error> {
    let results = sqlx::query_scalar::<_, Jsonb<CheckResult>>(
        "select to_jsonb(r) || jsonb_build_object('id', rule)
         from accord.check_result r where run = $1 order by n",
    );
    let results = results.bind(run).fetch_all(executor).await?;
    Ok(results.into_iter().map(|Jsonb(result)| result).collect())
}
