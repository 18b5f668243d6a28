//! One process among the replicas leads: it schedules, registers with senders and publishes.
//!
//! Promises: of the processes on one library at most one leads. Leadership is an advisory lock of a session
//! of its own; when that session ends, however it ends, this process stops leading at once. Over a dead
//! network neither side hears the other: the leader steps down within 8 s, and the server frees the lock only
//! after 20 s. A process that was suspended finds out when it wakes, so what a leader does has to be harmless
//! when done twice for a moment. Must not know: what that is.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The advisory lock that a leader holds in the library's database: `ACCORD` in ASCII, then 1.
pub const LOCK: i64 = 0x4143_434f_5244_0001;

/// How often a process that does not lead asks for the lock.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How often the leader makes sure that it still is.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long Postgres may take to answer before the leader steps down.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// When the server gives up on a session whose other end is silent.
const SERVER_GIVES_UP: Duration = Duration::from_secs(20);

// Were the server the first to notice, two would lead.
const _: () = assert!(PING_EVERY.as_secs() + PING_TIMEOUT.as_secs() < SERVER_GIVES_UP.as_secs());

/// Whether some process leads now.
pub async fn is_led(executor: impl sqlx::PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from pg_locks
                        where locktype = 'advisory' and granted and objsubid = 1
                          and database = (select oid from pg_database where datname = current_database())
                          and (classid::bigint << 32 | objid::bigint) = $1)",
    )
    .bind(LOCK)
    .fetch_one(executor)
    .await
}

/// Contends for leadership until `stop`; `leading` says at any time whether this process leads.
///
/// The options must reach Postgres directly: a transaction pooler would hand the lock to a stranger.
pub async fn contend(options: PgConnectOptions, leading: watch::Sender<bool>, stop: CancellationToken) {
    let mut reported = false;
    while !stop.is_cancelled() {
        match Session::open(&options).await {
            Ok(mut session) => {
                reported = false;
                let end = tokio::select! {
                    end = session.hold(&leading) => Some(end),
                    () = stop.cancelled() => None,
                };
                step_down(&leading, end.as_ref());
                session.close().await;
            }
            // Once is enough: whoever else needs the database says so too.
            Err(error) if !reported => {
                reported = true;
                warn!(%error, "cannot contend for leadership; trying again until the library answers");
            }
            Err(error) => debug!(%error, "cannot contend for leadership yet"),
        }
        tokio::select! {
            () = sleep(ASK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn step_down(leading: &watch::Sender<bool>, end: Option<&End>) {
    let led = leading.send_if_modified(std::mem::take);
    match end {
        Some(end) if led => warn!(reason = %end, "leadership lost"),
        Some(end) => debug!(reason = %end, "the session that contends for leadership ended"),
        None if led => info!("leadership given up"),
        None => {}
    }
}

/// Runs `work` while this process leads: dropped when leadership is lost, started afresh when it is back.
///
/// Returns when `work` ends by itself, or when nobody contends any more.
pub async fn while_leading<W: Future<Output = ()>>(
    mut leading: watch::Receiver<bool>,
    mut work: impl FnMut() -> W,
) {
    while leading.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = work() => return,
            // Any news is a loss, even when the lock was won back before this task looked.
            news = leading.changed() => {
                if news.is_err() {
                    return;
                }
            }
        }
    }
}

/// As [`while_leading`], until `stop`: a leader's work has to end by itself then, and nobody else is waited for.
pub async fn while_leading_until<W: Future<Output = ()>>(
    leading: watch::Receiver<bool>,
    stop: &CancellationToken,
    work: impl FnMut() -> W,
) {
    let mut leads = leading.clone();
    let not_ours = async {
        stop.cancelled().await;
        // An error says that nobody contends any more.
        let _ = leads.wait_for(|leads| !*leads).await;
    };
    tokio::select! {
        () = while_leading(leading, work) => {}
        () = not_ours => {}
    }
}

/// Why a session can no longer hold the lock.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the session was closed")]
    Closed,
    #[error("Postgres did not answer within {} s", PING_TIMEOUT.as_secs())]
    Silent,
    #[error("another session answers: connect to Postgres directly, not through a transaction pooler")]
    Moved,
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
}

/// The dedicated session whose lock is the leadership.
struct Session {
    /// Listens on no channel: it is the connection of sqlx that can be awaited while idle, so that its end is
    /// noticed when it happens and not at the next ping.
    connection: PgListener,
    pool: PgPool,
    backend: i32,
}

impl Session {
    async fn open(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let gives_up_ms = SERVER_GIVES_UP.as_millis();
        let options = options.clone().application_name("accord leader").options([
            ("tcp_user_timeout", gives_up_ms.to_string()),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "2".to_owned()),
            ("idle_session_timeout", "0".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PING_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        let mut connection = PgListener::connect_with(&pool).await?;
        // A new connection would not hold the lock.
        connection.eager_reconnect(false);
        let backend = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Self { connection, pool, backend })
    }

    /// Asks for the lock, then holds it, until the session ends.
    async fn hold(&mut self, leading: &watch::Sender<bool>) -> End {
        let mut held = false;
        loop {
            let holds = match timeout(PING_TIMEOUT, self.ask(held)).await {
                Ok(Ok(holds)) => holds,
                Ok(Err(end)) => return end,
                Err(_) => return End::Silent,
            };
            if holds && !held {
                leading.send_replace(true);
                info!("leading");
            }
            held = holds;
            let pause = if held { PING_EVERY } else { ASK_EVERY };
            tokio::select! {
                end = self.end() => return end,
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether this session holds the lock: it keeps it once it has it, so then it need only be the same session.
    async fn ask(&mut self, holds: bool) -> Result<bool, End> {
        let (backend, holds): (i32, bool) = sqlx::query_as(
            "select pg_backend_pid(), case when $1 then true else pg_try_advisory_lock($2) end",
        )
        .bind(holds)
        .bind(LOCK)
        .fetch_one(&mut self.connection)
        .await?;
        if backend == self.backend { Ok(holds) } else { Err(End::Moved) }
    }

    /// Waits for the end of the connection.
    async fn end(&mut self) -> End {
        loop {
            match self.connection.try_recv().await {
                Ok(Some(_)) => {}
                Ok(None) => return End::Closed,
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// Closes the connection, and with it frees the lock; a silent network is not waited for.
    async fn close(self) {
        drop(self.connection);
        let _ = timeout(Duration::from_secs(1), self.pool.close()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes itself off the count when it is dropped.
    struct Alive(Arc<AtomicUsize>);

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_runs_only_while_leading() {
        let (leading, receiver) = watch::channel(false);
        let (alive, starts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = (alive.clone(), starts.clone());
        let task = tokio::spawn(while_leading(receiver, move || {
            counted.0.fetch_add(1, Ordering::SeqCst);
            counted.1.fetch_add(1, Ordering::SeqCst);
            let guard = Alive(counted.0.clone());
            async move {
                std::future::pending::<()>().await;
                drop(guard);
            }
        }));
        let seen = || (alive.load(Ordering::SeqCst), starts.load(Ordering::SeqCst));

        settle().await;
        assert_eq!(seen(), (0, 0));
        leading.send_replace(true);
        settle().await;
        assert_eq!(seen(), (1, 1));
        leading.send_replace(false);
        settle().await;
        assert_eq!(seen(), (0, 1));
        leading.send_replace(true);
        settle().await;
        assert_eq!(seen(), (1, 2));

        // Lost and won again before the task could look: still a new start.
        leading.send_replace(false);
        leading.send_replace(true);
        settle().await;
        assert_eq!(seen(), (1, 3));

        drop(leading);
        task.await.unwrap();
        assert_eq!(seen().0, 0);
    }

    #[tokio::test]
    async fn a_leader_ends_its_work_when_it_is_told_to_stop_and_others_do_not_wait() {
        let (leading, receiver) = watch::channel(false);
        let stop = CancellationToken::new();
        let (stopped, mut ended) = (stop.clone(), 0);
        stop.cancel();
        while_leading_until(receiver.clone(), &stop, std::future::pending).await;
        leading.send_replace(true);
        while_leading_until(receiver.clone(), &stop, || {
            let stopped = stopped.clone();
            ended += 1;
            async move { stopped.cancelled().await }
        })
        .await;
        assert_eq!(ended, 1);
        // Leadership that is lost while it stops leaves nothing to wait for.
        let lost = async { leading.send_replace(false) };
        tokio::join!(while_leading_until(receiver, &stop, std::future::pending), lost);
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_is_not_repeated() {
        let (_leading, receiver) = watch::channel(true);
        let mut starts = 0;
        while_leading(receiver, || {
            starts += 1;
            std::future::ready(())
        })
        .await;
        assert_eq!(starts, 1);
    }
}
