//! One pipeline: its contract, the table that it is about, the reference and the sender.

use chrono::Utc;
use sqlx::{Connection as _, PgConnection};

use super::{Findings, database, network};
use crate::config::{OnDrift, Pipeline, PostgresReference, Reconcile};
use crate::contract::{Contract, Identifier};
use crate::library::facts::{self, Strictness};
use crate::library::session;
use crate::library::statement::TableSql;
use crate::serve::parts::Judge;

/// Examines a pipeline, and its table if the library can be asked.
pub(super) async fn examine(
    name: &str,
    pipeline: &Pipeline,
    mut library: Option<&mut PgConnection>,
    findings: &mut Findings,
) {
    if let Some(contract) = contract(name, pipeline, library.as_deref_mut(), findings).await {
        if let Some(conn) = library {
            table(name, &contract, conn, findings).await;
        }
        if let Some(reference) = &pipeline.reference {
            examine_reference(name, &contract, &reference.postgres, findings).await;
        }
    }
    if let Some(reconcile) = &pipeline.reconcile {
        findings.ok(&format!("{name}: reconcile"), occasions(reconcile));
    }
    if let Some(register) = pipeline.register() {
        network::sender(name, register, findings).await;
    }
}

/// The contract that judges the pipeline: the one in force, where the library knows one.
async fn contract(
    name: &str,
    pipeline: &Pipeline,
    library: Option<&mut PgConnection>,
    findings: &mut Findings,
) -> Option<Contract> {
    let check = format!("{name}: contract");
    let file = pipeline.contract.display();
    let judge = match library {
        Some(conn) => Judge::of(conn, name, pipeline).await,
        None => Contract::load(&pipeline.contract, pipeline.table.as_deref())
            .map(Judge::of_file)
            .map_err(anyhow::Error::new),
    };
    let Judge { contract, notice, .. } = judge
        .inspect_err(|error| {
            findings.fail(&check, format!("{error:#}"), format!("see `accord contract lint {file}`"));
        })
        .ok()?;
    let judges = format!("{} {}", contract.name, contract.version);
    match notice {
        None => findings.ok(&check, judges),
        Some(_) if !pipeline.contract.exists() => findings.warn(
            &check,
            format!("{judges} judges, and there is no {file}"),
            format!("`accord contract show {name}` prints the document in force: put it there"),
        ),
        Some(_) => findings.warn(
            &check,
            format!("{judges} judges, and {file} is not that document"),
            format!("see what it would mean: `accord contract preview {file} --pipeline {name}`"),
        ),
    }
    Some(contract)
}

/// When the pipeline is reconciled by itself, and what for.
fn occasions(reconcile: &Reconcile) -> String {
    let next = reconcile.schedule.as_ref().and_then(|schedule| schedule.next_due(Utc::now()));
    let when = match next {
        Some(next) => format!("after each gap and by schedule, next at {}", next.format("%F %T UTC")),
        None => "after each gap".to_owned(),
    };
    let what = match reconcile.on_drift {
        OnDrift::Repair => "what differs is repaired",
        OnDrift::Report => "what differs is told, and nothing is written",
    };
    format!("{when}; {what}")
}

/// The library's table: of the contract's types, and ours to write.
async fn table(name: &str, contract: &Contract, conn: &mut PgConnection, findings: &mut Findings) {
    let check = format!("{name}: table");
    let sql = TableSql::new(contract);
    match database::within(facts::disagreements(conn, sql.target(), contract)).await {
        Ok(found) if found.is_empty() => {
            findings.ok(&check, format!("{} is what the contract says", sql.target()));
        }
        Ok(found) => {
            for sentence in found {
                findings.fail(&check, sentence, "alter the table or the contract, so that they agree");
            }
            return;
        }
        Err(error) => return findings.broken(&check, &error),
    }
    grants(name, contract, sql.target(), conn, findings).await;
    let check = format!("{name}: throughput");
    match database::within(facts::strictness(conn, sql.target(), contract)).await {
        Ok(strictness) => findings.ok(&check, meaning(strictness)),
        Err(error) => findings.broken(&check, &error),
    }
}

fn meaning(strictness: Strictness) -> &'static str {
    match strictness {
        Strictness::Free => {
            "highest: nothing but the primary key can refuse a row, so batches are folded at will"
        }
        Strictness::Ordered => {
            "high: constraints may refuse rows, so a batch holds each key once, in order of arrival"
        }
        Strictness::Single => {
            "limited: triggers, rules or deferred checks judge each change, so they are written one at a time"
        }
    }
}

async fn grants(
    name: &str,
    contract: &Contract,
    target: &str,
    conn: &mut PgConnection,
    findings: &mut Findings,
) {
    let check = format!("{name}: grants");
    let all: Vec<&str> = contract.columns.iter().map(|column| column.name.as_str()).collect();
    let rest: Vec<&str> = (0..all.len()).filter(|i| !contract.key.contains(i)).map(|i| all[i]).collect();
    let missing = sqlx::query_scalar(
        "with t as (select to_regclass($1)::oid as id)
         select 'select' from t where exists
             (select from unnest($2::text[]) c where not has_column_privilege(id, c, 'select'))
         union all select 'insert' from t where exists
             (select from unnest($2::text[]) c where not has_column_privilege(id, c, 'insert'))
         union all select 'update' from t where exists
             (select from unnest($3::text[]) c where not has_column_privilege(id, c, 'update'))
             -- a row is locked before it is written, which asks for `update` too
             or not has_any_column_privilege(id, 'update')
         union all select 'delete' from t where not has_table_privilege(id, 'delete')",
    )
    .bind(target)
    .bind(&all)
    .bind(&rest);
    match database::within(missing.fetch_all(conn)).await {
        Ok(missing) if missing.is_empty() => findings.ok(&check, "select, insert, update, delete"),
        Ok(missing) => {
            let missing: Vec<String> = missing;
            let missing = missing.join(", ");
            findings.fail(
                &check,
                format!("this role lacks {missing} on {target}"),
                format!("let the table's owner run: grant {missing} on {target} to ROLE"),
            );
        }
        Err(error) => findings.broken(&check, &error),
    }
}

/// The reference: there, read-only for us, and readable as the waist reads it.
async fn examine_reference(
    name: &str,
    contract: &Contract,
    config: &PostgresReference,
    findings: &mut Findings,
) {
    let check = format!("{name}: reference");
    let key = format!("pipeline.{name}.reference.postgres.url");
    let connected = match config.url.expose().parse() {
        Ok(options) => session::connect_reader(&options, session::PATIENCE).await,
        Err(error) => Err(error),
    };
    let mut conn = match connected {
        Ok(conn) => conn,
        Err(error) => {
            let way_out = database::way_out(&error, &key);
            return findings.fail(&check, format!("{}: {error}", config.url), way_out);
        }
    };
    let facts = "select current_setting('transaction_read_only') = 'on', pg_is_in_recovery()";
    match database::within(sqlx::query_as::<_, (bool, bool)>(facts).fetch_one(&mut conn)).await {
        Ok((true, false)) => findings.ok(&check, format!("{}, read-only", config.url)),
        Ok((true, true)) => findings.warn(
            &check,
            format!("{} is a standby: what is read afresh may be older than what was announced", config.url),
            format!("name the primary in {key}, or keep the standby's lag below the sender's pace"),
        ),
        Ok((false, _)) => findings.fail(
            &check,
            "its sessions cannot be made read-only",
            format!("is a pooler in between that drops settings? Let {key} lead to Postgres itself"),
        ),
        Err(error) => return findings.broken(&check, &error),
    }
    let check = format!("{name}: reference table");
    if let Err(error) = reference_table(&check, contract, config, &mut conn, findings).await {
        findings.broken(&check, &error);
    }
    // It only read; how it ends is no matter.
    let _ = conn.close().await;
}

async fn reference_table(
    check: &str,
    contract: &Contract,
    config: &PostgresReference,
    conn: &mut PgConnection,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let (schema, table) = match config.table.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, config.table.as_str()),
    };
    let named = (schema.map(Identifier::new).transpose(), Identifier::new(table));
    let (Ok(schema), Ok(table)) = named else {
        findings.fail(check, format!("`{}` names no table", config.table), "write TABLE or SCHEMA.TABLE");
        return Ok(());
    };
    let sql = TableSql::for_table(contract, schema.as_ref(), &table);
    // The very statement that the waist will use, for no keys.
    if let Err(error) = database::within(sql.read(&[], false).fetch_all(&mut *conn)).await {
        let way_out = "correct reference.postgres.table, or let its owner grant select on it";
        findings.fail(check, format!("cannot be read: {error}"), way_out);
        return Ok(());
    }
    let found = database::within(facts::disagreements(conn, sql.target(), contract)).await?;
    for sentence in &found {
        let way_out =
            "a row that breaks the contract goes to quarantine: align the two, or widen the contract";
        findings.warn(check, sentence, way_out);
    }
    if found.is_empty() {
        findings.ok(check, format!("{} is what the contract says", sql.target()));
    }
    Ok(())
}
