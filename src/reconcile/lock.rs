//! One reconciliation a pipeline at a time, whichever process carries it out.
//!
//! Promises: the lock is a session's; it goes when the process dies, and the server gives a silent one up after
//! 20 s. Must not know: what is done under it.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::library::session;

/// The first key of the advisory lock, `ACRN` in ASCII; the second one is the pipeline's id.
pub const LOCK: i32 = 0x4143_524e;

/// The right to reconcile a pipeline, for as long as the connection lives.
#[derive(Debug)]
pub struct Lock {
    connection: PgConnection,
}

impl Lock {
    /// Takes the lock on a connection of its own; none when somebody has it.
    pub async fn take(options: &PgConnectOptions, pipeline: i16) -> Result<Option<Self>, sqlx::Error> {
        let options = options.clone().options([
            ("tcp_user_timeout", "20000"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "2"),
            ("idle_session_timeout", "0"),
        ]);
        let mut connection = session::connect_writer(&options).await?;
        let is_ours: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(LOCK)
            .bind(i32::from(pipeline))
            .fetch_one(&mut connection)
            .await?;
        if is_ours {
            return Ok(Some(Self { connection }));
        }
        connection.close().await?;
        Ok(None)
    }

    /// The connection that holds it: what is written here is written by the one who has the lock.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the lock back. Dropping it does so too, a little later.
    pub async fn release(self) {
        // The lock goes with the session, however that ends.
        let _ = self.connection.close().await;
    }
}
