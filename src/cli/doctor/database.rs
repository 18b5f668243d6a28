//! The library's database: there, direct, durable, writable, up to date, and of one mind about the time.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use super::Findings;
use crate::config::Config;
use crate::library::{self, session};

/// How far two clocks may be apart before it is worth a word.
const SKEW_LIMIT: f64 = 2.0;

/// Sessions that hold a transaction while another one is asked which backend serves it.
const BYSTANDERS: usize = 3;

/// Examines the library's database; gives a connection to it for further checks, if there is one to be had.
pub(super) async fn examine(config: &Config, findings: &mut Findings) -> Option<PgConnection> {
    const CHECK: &str = "library";
    let url = &config.library.url;
    let options: PgConnectOptions = match url.expose().parse() {
        Ok(options) => options,
        Err(error) => {
            findings.fail(CHECK, format!("library.url cannot be used: {error}"), "correct library.url");
            return None;
        }
    };
    let mut conn = match session::connect_reader(&options, session::PATIENCE).await {
        Ok(conn) => conn,
        Err(error) => {
            findings.fail(CHECK, format!("{url}: {error}"), way_out(&error, "library.url"));
            return None;
        }
    };
    let facts = "select current_setting('server_version'), pg_is_in_recovery()";
    match within(sqlx::query_as::<_, (String, bool)>(facts).fetch_one(&mut conn)).await {
        Ok((version, false)) => findings.ok(CHECK, format!("PostgreSQL {version} at {url}")),
        Ok((_, true)) => {
            findings.fail(
                CHECK,
                format!("{url} is a standby, which takes no writes"),
                "name the primary in library.url",
            );
        }
        Err(error) => {
            findings.broken(CHECK, &error);
            return None;
        }
    }
    rights(&mut conn, findings).await;
    direct(&options, findings).await;
    durable(&mut conn, findings).await;
    schema(&mut conn, findings).await;
    clock(&mut conn, findings).await;
    Some(conn)
}

/// Bounds a check; a check that takes longer has failed.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(session::PATIENCE, work).await.unwrap_or_else(|_| Err(session::no_answer()))
}

/// What to do about a connection that cannot be had; `key` is the setting that names the server.
pub(super) fn way_out(error: &sqlx::Error, key: &str) -> String {
    let code = error.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
    match (error, code.as_deref()) {
        (_, Some("28P01" | "28000")) => format!("correct user and password in {key}, or pg_hba.conf"),
        (_, Some("3D000")) => format!("create the database, or correct its name in {key}"),
        (_, Some("53300")) => {
            "the server is full: raise its max_connections, or close other clients".to_owned()
        }
        (sqlx::Error::Tls(_), _) => format!("correct sslmode and sslrootcert in {key}"),
        (sqlx::Error::Io(_), _) => format!("start the server, or correct host and port in {key}"),
        _ => format!("see the server's log; is {key} right?"),
    }
}

/// Whether the role has rights that nobody here needs: a contract's own SQL (`type: sql`) runs with them.
async fn rights(conn: &mut PgConnection, findings: &mut Findings) {
    const CHECK: &str = "role";
    let asked =
        "select current_user::text, rolsuper, pg_has_role(current_user, 'pg_read_server_files', 'usage')
                 from pg_roles where rolname = current_user";
    let (role, too_much) = match within(sqlx::query_as(asked).fetch_one(conn)).await {
        Ok((role, true, _)) => (role, "is a superuser"),
        Ok((role, false, true)) => (role, "may read the server's files (pg_read_server_files)"),
        Ok((role, false, false)) => {
            let role: String = role;
            findings.ok(CHECK, format!("`{role}` is no superuser, and reads no files of the server"));
            return;
        }
        Err(error) => {
            findings.broken(CHECK, &error);
            return;
        }
    };
    findings.warn(
        CHECK,
        format!("`{role}` {too_much}: so may the SQL of a contract's `type: sql` rules, which runs as that role"),
        "let library.url name a role with no more than it needs, made by: create role accord login password '…'; \
         grant create on database DATABASE to accord; grant usage on schema public to accord; \
         grant select, insert, update, delete on TABLE to accord",
    );
}

/// Whether one session is always served by one backend. A pooler that lends backends out for a transaction
/// gives itself away when other sessions keep the backend that it lent before.
async fn direct(options: &PgConnectOptions, findings: &mut Findings) {
    const CHECK: &str = "direct connection";
    match within(is_direct(options)).await {
        Ok(true) => findings.ok(CHECK, "each session keeps its backend"),
        Ok(false) => findings.fail(
            CHECK,
            "a transaction pooler is in between: locks and settings of a session would go to strangers",
            "let library.url lead to Postgres itself, or to a pool in session mode",
        ),
        Err(error) => findings.broken(CHECK, &error),
    }
}

async fn is_direct(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut asked = PgConnection::connect_with(options).await?;
    let first = backend(&mut asked).await?;
    let mut bystanders = Vec::with_capacity(BYSTANDERS);
    let mut is_direct = true;
    for _ in 0..BYSTANDERS {
        let mut bystander = PgConnection::connect_with(options).await?;
        sqlx::raw_sql("begin; select 1").execute(&mut bystander).await?;
        bystanders.push(bystander);
        is_direct &= backend(&mut asked).await? == first;
    }
    for bystander in bystanders {
        bystander.close().await?;
    }
    asked.close().await?;
    Ok(is_direct)
}

/// By the simple protocol: some poolers stumble over prepared statements, which is not the question here.
async fn backend(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(conn).await?.try_get(0)
}

async fn durable(conn: &mut PgConnection, findings: &mut Findings) {
    const CHECK: &str = "durability";
    let settings = "select current_setting('fsync'), current_setting('full_page_writes'),
                           (select reset_val from pg_settings where name = 'synchronous_commit')";
    match within(sqlx::query_as::<_, (String, String, String)>(settings).fetch_one(conn)).await {
        Ok((fsync, _, _)) if fsync == "off" => findings.warn(
            CHECK,
            "fsync is off: a crash of the machine loses changes that were acknowledged, and may ruin the database",
            "set fsync = on in postgresql.conf, unless the data is throwaway",
        ),
        Ok((_, pages, _)) if pages == "off" => findings.warn(
            CHECK,
            "full_page_writes is off: a crash of the machine may ruin the database",
            "set full_page_writes = on, unless the file system never tears a page",
        ),
        Ok((_, _, commit)) if commit == "off" => {
            findings.ok(CHECK, "fsync on; synchronous_commit is off here, Accord sets it on for its own sessions");
        }
        Ok((_, _, commit)) => findings.ok(CHECK, format!("fsync on, synchronous_commit {commit}")),
        Err(error) => findings.broken(CHECK, &error),
    }
}

/// Schema `accord`: there or to be made, ours to write, and of our version.
async fn schema(conn: &mut PgConnection, findings: &mut Findings) {
    const CHECK: &str = "schema accord";
    match within(foreign_tables(conn)).await {
        Ok(Tables::Missing { may_create: true }) => {
            findings.ok(CHECK, "not there yet; `accord serve` makes it, or `accord migrate`");
            return;
        }
        Ok(Tables::Missing { may_create: false }) => {
            findings.fail(
                CHECK,
                "not there, and this role may not make it",
                "let the database's owner run: create schema accord authorization ROLE",
            );
            return;
        }
        Ok(Tables::Refused(names)) => {
            findings.fail(
                CHECK,
                format!("this role may not use: {}", names.join(", ")),
                "let its owner run: grant usage, create on schema accord to ROLE; \
                 grant all on all tables in schema accord to ROLE",
            );
            return;
        }
        Ok(Tables::Usable) => {}
        Err(error) => {
            findings.broken(CHECK, &error);
            return;
        }
    }
    let known: BTreeSet<i64> = library::migrator().iter().map(|migration| migration.version).collect();
    let done = sqlx::query_scalar("select version from accord.migration where success");
    match within(done.fetch_all(conn)).await {
        Ok(done) => {
            let done: BTreeSet<i64> = done.into_iter().collect();
            if !done.is_subset(&known) {
                findings.fail(
                    CHECK,
                    "made by a newer Accord than this one",
                    "run that version, or a newer one",
                );
            } else if known.is_subset(&done) {
                findings.ok(CHECK, "up to date");
            } else {
                let missing = known.difference(&done).count();
                let message = format!("{missing} of {} migrations are not done", known.len());
                findings.warn(CHECK, message, "run `accord migrate`, or start `accord serve`, which does it");
            }
        }
        Err(error) => findings.broken(CHECK, &error),
    }
}

enum Tables {
    Missing { may_create: bool },
    Refused(Vec<String>),
    Usable,
}

async fn foreign_tables(conn: &mut PgConnection) -> Result<Tables, sqlx::Error> {
    let (there, may_create): (bool, bool) = sqlx::query_as(
        "select to_regnamespace('accord') is not null, has_database_privilege(current_database(), 'create')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !there {
        return Ok(Tables::Missing { may_create });
    }
    let refused: Vec<String> = sqlx::query_scalar(
        "select 'schema accord' where not has_schema_privilege('accord', 'usage')
                                   or not has_schema_privilege('accord', 'create')
         union all
         select 'accord.' || relname::text from pg_class
         where relnamespace = to_regnamespace('accord') and relkind = 'r'
           and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert')
                    and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))",
    )
    .fetch_all(conn)
    .await?;
    Ok(if refused.is_empty() { Tables::Usable } else { Tables::Refused(refused) })
}

async fn clock(conn: &mut PgConnection, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let before = Utc::now();
    let asked =
        within(sqlx::query_scalar::<_, DateTime<Utc>>("select clock_timestamp()").fetch_one(conn)).await;
    let round_trip = Utc::now() - before;
    match asked {
        Ok(theirs) => {
            let ours = before + round_trip / 2;
            let skew = Duration::from_millis((ours - theirs).num_milliseconds().unsigned_abs()).as_secs_f64();
            let side = if ours > theirs { "ahead of" } else { "behind" };
            if skew > SKEW_LIMIT {
                let message = format!("{skew:.1} s {side} the database's: times in logs and ledger disagree");
                findings.warn(CHECK, message, "synchronize both machines with NTP");
            } else {
                findings.ok(CHECK, "agrees with the database's");
            }
        }
        Err(error) => findings.broken(CHECK, &error),
    }
}
