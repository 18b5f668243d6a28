//! Reads how pipelines stand: two statements, however many there are.
//!
//! Promises: reads only; a run whose process died is told as `aborted`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use super::{Checked, Expected, HeldRun, InForce, Standing, Waiting};
use crate::library::pause::Pause;
use crate::library::pipeline::GapRecord;
use crate::library::registration::RegistrationState;
use crate::reconcile::lock::LOCK;
use crate::reconcile::record::{Run, RunState};

/// How the pipelines stand of which it is known what is normal.
pub async fn read(
    conn: &mut PgConnection,
    expected: &BTreeMap<String, Expected>,
) -> Result<Vec<Standing>, sqlx::Error> {
    rows(conn, expected, false).await
}

/// How all pipelines stand that ever ran against this library, by name.
pub async fn read_all(
    conn: &mut PgConnection,
    expected: &BTreeMap<String, Expected>,
) -> Result<Vec<Standing>, sqlx::Error> {
    rows(conn, expected, true).await
}

async fn rows(
    conn: &mut PgConnection,
    expected: &BTreeMap<String, Expected>,
    others_too: bool,
) -> Result<Vec<Standing>, sqlx::Error> {
    // Locks first: what runs since before, and holds none, is dead.
    let (looked_at, locked): (DateTime<Utc>, Vec<i32>) = sqlx::query_as(
        "select clock_timestamp(), array(
             select objid::int from pg_locks
             where locktype = 'advisory' and granted and objsubid = 2 and classid = $1::int::oid
               and database = (select oid from pg_database where datname = current_database()))",
    )
    .bind(LOCK)
    .fetch_one(&mut *conn)
    .await?;
    let names: Vec<&str> = expected.keys().map(String::as_str).collect();
    let windows: Vec<f64> = expected.values().map(|known| known.quarantine.within.as_secs_f64()).collect();
    let rows: Vec<Row> = sqlx::query_as(STANDINGS)
        .bind(names)
        .bind(windows)
        .bind(Expected::default().quarantine.within.as_secs_f64())
        .bind(others_too)
        .bind(CHECK_RUNS)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| row.into_standing(looked_at, &locked)).collect())
}

/// A rule's newest result is looked for in so many runs: a run of one rule says nothing about the others.
const CHECK_RUNS: i64 = 20;

/// What is read of each pipeline. A breaker holds from the first held run on that no later one made up for: a mere
/// comparison writes nothing, so it makes up for nothing.
const STANDINGS: &str = "
    select p.id::int, p.name, p.tables, p.position, l.at as last_change_at,
           c.name as contract, c.version as contract_version,
           case when p.gap_since is not null
                then jsonb_build_object('since', p.gap_since, 'reasons', p.gap_reasons) end as gap,
           p.paused_since, p.paused_by, p.paused_reason,
           case when s.pipeline is not null
                then to_jsonb(s) end as registration,
           s.silent_since, f.in_force, q.reasons, g.growth, g.growing_since, k.checked, r.run, h.held
    from accord.pipeline p
    left join unnest($1::text[], $2::float8[]) as e(name, within) on e.name = p.name
    left join accord.registration s on s.pipeline = p.id
    left join accord.ledger l on l.pipeline = p.id and l.position = p.position
    left join accord.contract c on c.id = l.contract
    left join lateral (
        select jsonb_build_object('name', c.name, 'version', c.version, 'hash', c.hash, 'at', a.at,
                                  'activated_by', a.activated_by) as in_force
        from accord.activation a join accord.contract c on c.id = a.contract
        where a.pipeline = p.id order by a.id desc limit 1) f on true
    cross join lateral (
        select coalesce(jsonb_object_agg(reason, n), '{}') as reasons
        from (select reason, count(*) as n from accord.quarantine
              where pipeline = p.id and state = 'open' group by reason) by_reason) q
    cross join lateral (
        select count(*) as growth, min(at) as growing_since from accord.quarantine
        where pipeline = p.id and state = 'open' and reason <> 'paused'
          and at > now() - make_interval(secs => coalesce(e.within, $3))) g
    cross join lateral (
        with runs as (
            select id, contract, finished_at from accord.check_run
            where pipeline = p.name and finished_at is not null and error is null
            order by id desc limit $5),
        results as (
            select runs.id, runs.finished_at, c.rule, c.outcome,
                   max(runs.id) over of_rule as newest,
                   coalesce(max(runs.id) filter (where c.outcome <> 'failed') over of_rule, 0) as last_good
            from runs join accord.check_result c on c.run = runs.id
            -- Another contract had other rules.
            where runs.contract = (select contract from runs order by id desc limit 1)
            window of_rule as (partition by c.rule collate \"C\"))
        select case when count(*) > 0 then jsonb_build_object(
                   'run', max(id), 'finished_at', max(finished_at),
                   'passed', count(*) filter (where id = newest and outcome = 'passed'),
                   'warned', count(*) filter (where id = newest and outcome = 'warned'),
                   'failed', count(*) filter (where id = newest and outcome = 'failed'),
                   'not_executed', count(*) filter (where id = newest and outcome = 'not_executed'),
                   'failing', coalesce(jsonb_agg(rule order by rule)
                                       filter (where id = newest and outcome = 'failed'), '[]'),
                   'failing_since', min(finished_at) filter (where id > last_good)) end as checked
        from results) k
    left join lateral (
        select jsonb_build_object(
                   'id', id, 'pipeline', p.name, 'mode', mode, 'trigger', trigger, 'state', state,
                   'requested_at', requested_at, 'started_at', started_at, 'finished_at', finished_at,
                   'counts', report -> 'counts', 'reason', report ->> 'reason',
                   'releases', releases, 'release_reason', release_reason) as run
        from accord.reconciliation where pipeline = p.id order by id desc limit 1) r on true
    left join lateral (
        select jsonb_build_object('run', n.id, 'since', n.since, 'reason', o.report ->> 'reason') as held
        from (select max(id) as id, min(finished_at) as since from accord.reconciliation
              where pipeline = p.id and state = 'held' and id > coalesce(
                  (select max(id) from accord.reconciliation
                   where pipeline = p.id
                     and (state in ('clean', 'repaired') or (state = 'drift' and mode = 'repair'))), 0)) n
        join accord.reconciliation o on o.id = n.id) h on true
    where $4 or e.name is not null
    order by p.name";

#[derive(FromRow)]
struct Row {
    id: i32,
    name: String,
    tables: Vec<String>,
    position: i64,
    last_change_at: Option<DateTime<Utc>>,
    contract: Option<String>,
    contract_version: Option<String>,
    gap: Option<Json<GapRecord>>,
    paused_since: Option<DateTime<Utc>>,
    paused_by: Option<String>,
    paused_reason: Option<String>,
    registration: Option<Json<RegistrationState>>,
    silent_since: Option<DateTime<Utc>>,
    in_force: Option<Json<InForce>>,
    reasons: Json<BTreeMap<String, u64>>,
    growth: i64,
    growing_since: Option<DateTime<Utc>>,
    checked: Option<Json<Checked>>,
    run: Option<Json<Run>>,
    held: Option<Json<HeldRun>>,
}

impl Row {
    fn into_standing(self, looked_at: DateTime<Utc>, locked: &[i32]) -> Standing {
        let is_locked = locked.contains(&self.id);
        let Json(reasons) = self.reasons;
        Standing {
            name: self.name,
            tables: self.tables,
            position: self.position,
            last_change_at: self.last_change_at,
            contract: self.contract,
            contract_version: self.contract_version,
            in_force: self.in_force.map(|Json(in_force)| in_force),
            paused: Pause::from_columns(self.paused_since, self.paused_by, self.paused_reason),
            gap: self.gap.map(|Json(gap)| gap),
            quarantine: Waiting {
                open: reasons.values().sum(),
                reasons,
                growth: self.growth.unsigned_abs(),
                growing_since: self.growing_since,
            },
            registration: self.registration.map(|Json(registration)| registration).unwrap_or_default(),
            silent_since: self.silent_since,
            check: self.checked.map(|Json(checked)| checked),
            reconciliation: self.run.map(|Json(run)| judged(run, is_locked, looked_at)),
            held: self.held.map(|Json(held)| held),
        }
    }
}

fn judged(run: Run, is_locked: bool, looked_at: DateTime<Utc>) -> Run {
    let ran_then = run.started_at.is_some_and(|began| began < looked_at);
    let is_dead = run.state == RunState::Running && ran_then && !is_locked;
    Run { state: if is_dead { RunState::Aborted } else { run.state }, ..run }
}
