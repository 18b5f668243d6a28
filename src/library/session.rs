//! Connections whose behaviour does not depend on what an administrator set as a default.
//!
//! Promises: values read back in one spelling on every server; a commit that we acknowledge was flushed; a
//! dead peer is noticed. Must not know: tables.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};

/// How long a server may take to answer a connection attempt, or a sign of life.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Settings of every session of ours.
///
/// Nested loops keep `update … from unnest` in the order of the arrays (see ARCHITECTURE.md, "Batches equal
/// one-by-one") and on the primary key's index whatever the statistics say. The timeouts free the lock of a
/// process that froze while it held it.
const PINNED: &str = "
    set timezone = 'UTC';
    set datestyle = 'ISO, YMD';
    set extra_float_digits = 1;
    set jit = off;
    set enable_hashjoin = off;
    set enable_mergejoin = off;
    set enable_seqscan = off;
    set lock_timeout = '10s';
    set statement_timeout = '15s';
    set idle_in_transaction_session_timeout = '30s';
    set plan_cache_mode = force_generic_plan;
    select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
";

/// Opens a connection for the waist.
pub async fn connect_writer(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    connect(options, PINNED).await
}

/// Opens a read-only connection to a reference.
pub async fn connect_reader(
    options: &PgConnectOptions,
    statement_timeout: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let mut connection = connect(options, PINNED).await?;
    sqlx::query("select set_config('statement_timeout', $1, false), set_config('default_transaction_read_only', 'on', false)")
        .bind(statement_timeout.as_millis().to_string())
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Settings of a session that measures a whole table: the planner is free, and a grouping may stay in memory.
const MEASURING: &str = "
    set timezone = 'UTC';
    set datestyle = 'ISO, YMD';
    set intervalstyle = 'postgres';
    set extra_float_digits = 1;
    set standard_conforming_strings = on;
    set jit = off;
    set work_mem = '128MB';
    set lock_timeout = '10s';
    set idle_in_transaction_session_timeout = '30s';
    set default_transaction_read_only = on;
";

/// Opens a read-only connection for checks of whole tables.
pub async fn connect_checker(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    connect(options, MEASURING).await
}

/// Opens a connection with settings of its own.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    pinned: &'static str,
) -> Result<PgConnection, sqlx::Error> {
    let options = options.clone().application_name("accord").disable_statement_logging();
    let connecting = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql(pinned).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(no_answer()))
}

/// The error of a server that kept us waiting.
pub fn no_answer() -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time").into()
}
