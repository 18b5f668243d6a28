//! The embedded Postgres is a real server, closed to strangers, and gone when its owner is.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use accord::embedded::postgres::{Durability, Error, Options, Postgres};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::harness::{Process, eventually, private_postgres};

const SOON: Duration = Duration::from_secs(10);

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn text(connection: &mut PgConnection, query: &'static str) -> String {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn it_listens_on_loopback_alone_and_asks_for_a_password() {
    let postgres = private_postgres().await;
    let mut connection = connect(&postgres.url("postgres")).await;
    assert_eq!(text(&mut connection, "show listen_addresses").await, "127.0.0.1");
    assert_eq!(text(&mut connection, "show unix_socket_directories").await, "");

    let guessed = postgres.url_as("postgres", "postgres", "postgres");
    let refused = PgConnection::connect(&guessed).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "28P01");
}

#[tokio::test]
async fn names_and_passwords_may_hold_any_character() {
    let postgres = private_postgres().await;
    let (role, password, database) = ("o'role \"x\"", "p@ss:w/o'rd %1", "data \"base\"/?");
    postgres.create_role(role, "an older one").await.unwrap();
    postgres.create_role(role, password).await.unwrap();
    assert!(postgres.create_database_for(role, database).await.unwrap());
    assert!(!postgres.create_database_for(role, database).await.unwrap());

    let mut connection = connect(&postgres.url_as(role, password, database)).await;

    assert_eq!(text(&mut connection, "select current_user::text").await, role);
    assert_eq!(text(&mut connection, "select current_database()::text").await, database);
    sqlx::query("create table owned ()").execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_a_crash_of_the_server() {
    let mut postgres = private_postgres().await;
    let url = postgres.url("postgres");
    let mut connection = connect(&url).await;
    sqlx::query("create table kept as select 42 as value").execute(&mut connection).await.unwrap();

    postgres.stop_immediate().await.unwrap();
    assert_eq!(postgres.pid(), None);
    assert!(PgConnection::connect(&url).await.is_err());
    postgres.start_again().await.unwrap();

    assert_eq!(text(&mut connect(&url).await, "select value::text from kept").await, "42");
}

/// A directory that the server's user can reach even if we are root.
fn reachable_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

fn kept_in(path: &Path) -> Options {
    Options { data_dir: Some(path.to_owned()), durability: Durability::ProcessOnly, ..Options::default() }
}

#[tokio::test]
async fn a_data_directory_of_ones_own_is_kept_and_has_one_owner() {
    let directory = reachable_directory();
    let path = directory.path().join("library");
    let mut postgres = Postgres::start(kept_in(&path)).await.unwrap();
    let mut connection = connect(&postgres.url("postgres")).await;
    sqlx::query("create table kept as select 42 as value").execute(&mut connection).await.unwrap();
    assert!(matches!(Postgres::start(kept_in(&path)).await, Err(Error::InUse { .. })));
    postgres.stop_fast().await.unwrap();
    drop(postgres);

    let again = Postgres::start(kept_in(&path)).await.unwrap();

    let mut connection = connect(&again.url("postgres")).await;
    assert_eq!(text(&mut connection, "select value::text from kept").await, "42");
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
    let settings = vec![("shared_buffers".to_owned(), "a lot".to_owned())];
    let error = Postgres::start(Options { settings, ..Options::default() }).await.unwrap_err();
    assert!(matches!(&error, Error::EndedAtStart { log, .. } if log.contains("shared_buffers")), "{error}");
}

/// Runs itself a second time, as the owner that is killed.
#[tokio::test]
async fn a_killed_owner_takes_its_server_along() {
    const AS_OWNER: &str = "ACCORD_TEST_REPORT_PID_TO";
    if let Some(report) = env::var_os(AS_OWNER) {
        let postgres = private_postgres().await;
        fs::write(report, postgres.pid().unwrap().to_string()).unwrap();
        std::future::pending::<()>().await;
    }

    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("pid");
    let variable = format!("{AS_OWNER}={}", report.display());
    let this_test = env::current_exe().unwrap();
    let name = "embedded_postgres::a_killed_owner_takes_its_server_along";
    let arguments = [&variable, this_test.to_str().unwrap(), "--exact", name];
    let mut owner = Process::spawn("env", &arguments, &directory.path().join("log"));
    let server = eventually(SOON, "the owner has a server", async || {
        let pid = fs::read_to_string(&report).unwrap_or_default();
        if pid.is_empty() { Err(owner.log()) } else { Ok(Path::new("/proc").join(pid)) }
    })
    .await;
    assert!(server.exists());

    owner.kill9();

    eventually(SOON, "the server is gone", async || if server.exists() { Err(&server) } else { Ok(()) })
        .await;
}
