//! Stand-in.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use std::collections::BTreeMap;

use super::{Bytes, ChangedColumn, Counts, Drift, Kind, Plan, Progress, Report, Rows, State};
use crate::apply::Applier;
use crate::change::{Body, Change, Intent, Key, Origin};
use crate::value::Value;

pub struct Limits {
    pub max_deletes: Option<u64>,
    pub max_changes: Option<u64>,
    pub lifted: bool,
    pub last_good_source_rows: Option<u64>,
}
pub struct Work<'a> {
    pub repair: Option<&'a Applier>,
    pub limits: Limits,
    pub all_keys: bool,
    pub quarantine: Option<(PgPool, i16)>,
}

async fn rows(end: &super::Endpoint, key: &str) -> Result<BTreeMap<i64, serde_json::Value>, sqlx::Error> {
    let mut c = PgConnection::connect_with(&end.connect).await?;
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(format!("select {key}::bigint, to_jsonb(t) from {} t", end.table)))
            .fetch_all(&mut c)
            .await?;
    rows.iter().map(|r| Ok((r.try_get(0)?, r.try_get(1)?))).collect()
}

pub async fn run(plan: &Plan, work: Work<'_>, progress: &Progress) -> Report {
    let mut report = Report {
        state: State::Inconclusive,
        counts: Counts::default(),
        rows: Rows::default(),
        dirty_buckets: None,
        candidates: 0,
        drift: vec![],
        reason: None,
        seconds: 0.0,
        bytes: Bytes::default(),
    };
    tokio::time::sleep(plan.grace).await;
    let key = plan.contract.columns[plan.contract.key[0]].name.as_str();
    let (s, t) = match (rows(&plan.source, key).await, rows(&plan.target, key).await) {
        (Ok(s), Ok(t)) => (s, t),
        (Err(e), _) | (_, Err(e)) => {
            report.reason = Some(e.to_string());
            return report;
        }
    };
    report.rows = Rows { source: s.len() as u64, target: t.len() as u64 };
    progress.rows((s.len() + t.len()) as u64);
    let mut changes = Vec::new();
    for k in s.keys().chain(t.keys().filter(|k| !s.contains_key(k))) {
        let (a, b) = (s.get(k), t.get(k));
        if a == b {
            continue;
        }
        let kind = match (a, b) {
            (Some(_), None) => Kind::Missing,
            (None, Some(_)) => Kind::Orphan,
            _ => Kind::Stale,
        };
        let mut columns = vec![];
        if let (Some(a), Some(b)) = (a, b) {
            for c in &plan.contract.columns {
                let n = c.name.as_str();
                if a[n] != b[n] {
                    columns.push(ChangedColumn {
                        name: n.into(),
                        source: a[n].clone(),
                        target: b[n].clone(),
                    });
                }
            }
        }
        match kind {
            Kind::Missing => report.counts.missing += 1,
            Kind::Stale => report.counts.stale += 1,
            Kind::Orphan => report.counts.orphan += 1,
        }
        report.drift.push(Drift { table: plan.target.table.to_string(), key: k.to_string(), kind, columns });
        changes.push(Change {
            intent: Intent::Follow { key: Key::new(vec![Value::Int(*k)]), may_delete: true },
            origin: Origin::Reconcile,
            event_id: None,
            body: Body::new(format!("follow {k}"), vec![]),
            pointer: String::new(),
        });
    }
    if !work.all_keys {
        report.drift.truncate(Report::SAMPLE);
    }
    let n = changes.len() as u64;
    if n == 0 {
        report.state = State::Clean;
        return report;
    }
    let Some(applier) = work.repair else {
        report.state = State::Drift;
        return report;
    };
    if !work.limits.lifted {
        if report.counts.orphan > work.limits.max_deletes.unwrap_or(50)
            || n > work.limits.max_changes.unwrap_or(1000)
            || (s.is_empty())
        {
            report.state = State::Held;
            report.counts.held = n;
            report.reason = Some("too many".into());
            return report;
        }
    }
    for chunk in changes.chunks(100) {
        if applier.apply(chunk.to_vec()).await.is_err() {
            report.reason = Some("refused".into());
            return report;
        }
    }
    report.counts.repaired = n;
    report.state = State::Repaired;
    report
}
