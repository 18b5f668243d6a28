//! The CMS itself: edits its table, commits, and tells the listener.
//!
//! Promises, all of them the real CMS's: an edit is committed before the listener hears of it; there is one attempt a
//! call; the answer changes nothing; only one listener is known, and only in memory.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller::Caller;
use crate::config::Config;
use crate::dice::{Dice, Kind};
use crate::event::Event;
use crate::http;
use crate::listener::{Listener, Slot};
use crate::record::{Fields, Message};
use crate::seed;
use crate::store::{self, Edit, StoreError};

/// Runs a CMS on a port that the caller has bound, until the caller stops it.
///
/// Every call starts without a listener, so stopping one and running another is a restart of the CMS.
pub async fn run(
    listener: TcpListener,
    config: Config,
    events: Option<broadcast::Sender<Event>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    Cms::new(config, events)?.run(listener, shutdown).await
}

/// Runs a CMS as the real one starts: its port refuses connections until `warm_up` is over.
pub async fn warm_up_and_run(
    address: SocketAddr,
    warm_up: Duration,
    config: Config,
    events: Option<broadcast::Sender<Event>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let cms = Cms::new(config, events)?;
    if shutdown.run_until_cancelled(tokio::time::sleep(warm_up)).await.is_none() {
        return Ok(());
    }
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what uses the port, or choose another one with --listen")
    })?;
    tracing::info!("the CMS listens on http://{address}, its API is described at http://{address}/docs");
    cms.run(listener, shutdown).await
}

/// One CMS. Clones are handles to the same one, so a test can run it and edit by hand at the same time.
#[derive(Clone)]
pub struct Cms(Arc<Inner>);

struct Inner {
    config: Config,
    database: PgPool,
    caller: Caller,
    slot: Slot,
    dice: Mutex<Dice>,
    events: Option<broadcast::Sender<Event>>,
    late_calls: TaskTracker,
    stopped: CancellationToken,
}

impl Cms {
    /// Makes a CMS that does nothing yet. It connects to its database when it first needs it, and must be made within
    /// a Tokio runtime.
    pub fn new(config: Config, events: Option<broadcast::Sender<Event>>) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(config.database_url.expose_secret()).context(
            "the database URL cannot be read: write it as postgres://user:password@host:port/database",
        )?;
        tracing::debug!(
            host = options.get_host(),
            port = options.get_port(),
            database = options.get_database(),
            "the CMS uses this database"
        );
        let database = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options);
        Ok(Self(Arc::new(Inner {
            caller: Caller::new().context("cannot set up the HTTP client")?,
            dice: Mutex::new(Dice::new(config.seed)),
            slot: Slot::default(),
            late_calls: TaskTracker::new(),
            stopped: CancellationToken::new(),
            config,
            database,
            events,
        })))
    }

    /// Serves the API and edits on its own, until `shutdown`. A call that is under way is then given up, as it is when
    /// the real CMS is killed.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
        let work = async {
            shutdown
                .run_until_cancelled(async { tokio::join!(self.keep_editing(), self.keep_forgetting()) })
                .await;
            Ok(())
        };
        let served = tokio::try_join!(self.serve(listener, shutdown.clone()), work);
        self.0.stopped.cancel();
        self.0.late_calls.close();
        self.0.late_calls.wait().await;
        self.0.database.close().await;
        served.map(|_| ())
    }

    /// Serves the API alone, until `shutdown`: edits are then up to the caller.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
        const GRACE: Duration = Duration::from_secs(2);
        let server = axum::serve(listener, http::router(self.clone()))
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let overtime = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = server.into_future() => result.context("the CMS's API stopped"),
            () = overtime => Ok(()),
        }
    }

    /// Makes the next edit that the seed has in store (or the insert or delete), and tells the listener of it.
    /// Returns once the call is over; a call that a fault delays goes on by itself.
    pub async fn edit_once(&self) -> Result<Event, StoreError> {
        let plan = self.dice().plan(&self.0.config);
        match plan.kind {
            Kind::Edit => {
                let edit = store::edit_any(&self.0.database, &plan).await?;
                Ok(self.edited(edit, true).await)
            }
            Kind::Insert => {
                let fields = seed::fragrance(plan.fragrance).into();
                self.insert(fields, self.0.config.announce_inserts).await
            }
            Kind::Delete => {
                let key = store::delete_any(&self.0.database, &plan).await?;
                Ok(self.deleted(key, self.0.config.announce_deletes).await)
            }
        }
    }

    /// Sets fields of one row, as a person at the CMS would, and tells the listener if `announce`.
    pub async fn edit(&self, key: i32, fields: Fields, announce: bool) -> Result<Event, StoreError> {
        let edit = store::edit(&self.0.database, key, fields).await?;
        Ok(self.edited(edit, announce).await)
    }

    /// Adds a row; the event holds its key. The real CMS never announces one; this one sends all that was set.
    pub async fn insert(&self, fields: Fields, announce: bool) -> Result<Event, StoreError> {
        let key = store::insert(&self.0.database, &fields).await?;
        let event = self.tell(Event::Inserted { key });
        if announce {
            self.announce(key, &Message::Set { key, fields: &fields }).await;
        }
        Ok(event)
    }

    /// Deletes a row. The real CMS never announces that; this one sends the key with `"operation": "delete"`.
    pub async fn delete(&self, key: i32, announce: bool) -> Result<Event, StoreError> {
        store::delete(&self.0.database, key).await?;
        Ok(self.deleted(key, announce).await)
    }

    /// Puts a listener in the place of any other.
    pub fn set_listener(&self, listener: Listener) {
        let url = listener.public_url();
        self.0.slot.put(Some(listener));
        self.tell(Event::ListenerSet { url });
    }

    /// Removes the listener, if there is one.
    pub(crate) fn remove_listener(&self) {
        if self.0.slot.put(None).is_some() {
            self.tell(Event::ListenerRemoved);
        }
    }

    async fn edited(&self, Edit { key, fields, changes }: Edit, announce: bool) -> Event {
        let event = self.tell(Event::Edited { key, changes });
        if announce {
            self.announce(key, &Message::Set { key, fields: &fields }).await;
        }
        event
    }

    async fn deleted(&self, key: i32, announce: bool) -> Event {
        let event = self.tell(Event::Deleted { key });
        if announce {
            self.announce(key, &Message::Deleted { key }).await;
        }
        event
    }

    /// Tells the listener of a committed change, unless a fault has it otherwise.
    async fn announce(&self, key: i32, message: &Message<'_>) {
        let fate = self.dice().fate(&self.0.config.faults);
        let Some(listener) = self.0.slot.get() else {
            self.tell(Event::Unheard { key });
            return;
        };
        if fate.dropped {
            self.tell(Event::Dropped { key });
            return;
        }
        let body = match message.to_bytes() {
            Ok(body) => body,
            Err(error) => {
                return tracing::error!(fragrance_id = key, %error, "fragrance {key} has no JSON form");
            }
        };
        let call = Call {
            key,
            url: listener.url(),
            body: fate.malformation.map_or_else(|| body.clone(), |malformation| malformation.apply(&body)),
            times: if fate.duplicated { 2 } else { 1 },
        };
        match fate.delay {
            None => self.call(call).await,
            Some(delay) => {
                let cms = self.clone();
                self.0.late_calls.spawn(async move {
                    let late = async {
                        tokio::time::sleep(delay).await;
                        cms.call(call).await;
                    };
                    cms.0.stopped.run_until_cancelled(late).await;
                });
            }
        }
    }

    async fn call(&self, Call { key, url, body, times }: Call) {
        for _ in 0..times {
            let event = match self.0.caller.post(&url, body.clone()).await {
                Ok(status) => Event::Called { key, status },
                Err(reason) => Event::Unreachable { key, reason },
            };
            self.tell(event);
        }
    }

    async fn keep_editing(&self) -> std::convert::Infallible {
        let burst = self.0.config.faults.burst.unwrap_or(1).max(1);
        loop {
            let pause = self.dice().pause(self.0.config.every);
            tokio::time::sleep(pause).await;
            let mut spread = tokio::time::interval(Duration::from_secs(1) / burst);
            for _ in 0..burst {
                spread.tick().await;
                if let Err(error) = self.edit_once().await {
                    let error = anyhow::Error::new(error);
                    tracing::warn!("no edit this time: {error:#}");
                }
            }
        }
    }

    async fn keep_forgetting(&self) -> std::convert::Infallible {
        let Some(every) = self.0.config.faults.forget_listener else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            if self.0.slot.put(None).is_some() {
                self.tell(Event::ListenerForgotten);
            }
        }
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs the event and hands it to the subscribers; it is no matter if there are none.
    fn tell(&self, event: Event) -> Event {
        event.log();
        if let Some(events) = &self.0.events {
            let _ = events.send(event.clone());
        }
        event
    }
}

/// One announcement on its way.
struct Call {
    key: i32,
    url: String,
    body: Vec<u8>,
    times: u32,
}
