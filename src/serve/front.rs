//! The part of a server that outlives what it is laid out with: the listening socket and the open connections.
//!
//! Promises: during a renewal nobody is refused and no connection is closed: who calls waits. Must not know: routes.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::http::{self, Door, Limits, Shut};
use crate::supervisor::{Phase, Requests, Supervisor};

/// A running HTTP server; dropped, it cuts what is open.
pub(super) struct Front {
    door: Door,
    stop: CancellationToken,
    server: AbortOnDropHandle<()>,
    /// How long the requests in flight are waited for at a renewal.
    patience: Duration,
}

/// A server whose callers wait, to be opened to what is laid out next.
pub(super) struct Waiting {
    front: Front,
    shut: Shut,
    /// No request was left behind, to be refused when its body comes at last.
    pub(super) all_answered: bool,
}

/// Where a server is handed over when it was told of a renewal. It is not when it ended.
pub(super) type Handover = oneshot::Receiver<Waiting>;

impl Front {
    /// Begins to serve.
    pub(super) fn open(listener: TcpListener, router: Router, config: &Config) -> Self {
        let http = &config.http;
        let limits = Limits { connections: http.max_connections, header_timeout: http.header_timeout };
        let (door, stop) = (Door::open(router), CancellationToken::new());
        let server = tokio::spawn(http::serve(listener, door.clone(), limits, stop.clone()));
        // The other parts need some of the grace, too.
        Self { door, stop, server: AbortOnDropHandle::new(server), patience: config.shutdown.grace / 2 }
    }

    /// Has the supervisor end it, or hand it over, when it takes nothing new in.
    pub(super) fn attend(mut self, supervisor: &mut Supervisor) -> Handover {
        let (give, handover) = oneshot::channel();
        let (stop, renewal) = (supervisor.soft(Phase::Intake), supervisor.renewal());
        supervisor.spawn(Phase::Intake, "http", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = &mut self.server => return Ok(ended?),
            }
            if renewal.is_cancelled() {
                let shut = self.door.shut();
                let all_answered = timeout(self.patience, shut.emptied()).await.is_ok();
                // Nobody is there to take it when the process ends.
                let _ = give.send(Waiting { front: self, shut, all_answered });
            } else {
                self.end().await;
            }
            Ok(())
        });
        handover
    }

    /// Takes nothing more in, and waits until the requests in flight are answered.
    async fn end(self) {
        self.stop.cancel();
        // A panic is logged, and there is nothing left to serve.
        let _ = self.server.await;
    }
}

impl Waiting {
    /// Lets those who wait in.
    pub(super) fn open(self, router: Router) -> Front {
        self.shut.open(router);
        self.front
    }

    /// Tells those who wait that there is nothing more, and ends; at once when that is asked for meanwhile.
    pub(super) async fn turn_away(self, requests: &mut Requests) {
        drop(self.shut);
        // Who was left behind sends slowly, and may take longer than anybody has time.
        let patience = self.front.patience;
        tokio::select! {
            _ = timeout(patience, self.front.end()) => {}
            _ = requests.next() => {}
        }
    }
}
