//! The part of a server that outlives what it is laid out with: the listening socket and the open connections.
//!
//! Promises: during a renewal nobody is refused and no connection is closed: who calls waits. Must not know: routes.

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::http::{self, Door, Limits, Shut};
use crate::supervisor::{Phase, Supervisor};

/// A running HTTP server; dropped, it cuts what is open.
pub(super) struct Front {
    door: Door,
    stop: CancellationToken,
    server: AbortOnDropHandle<()>,
}

/// A server whose callers wait, to be opened to what is laid out next.
pub(super) struct Waiting {
    front: Front,
    shut: Shut,
}

/// Where a server is handed over when it was told of a renewal. It is not when it ended.
pub(super) type Handover = oneshot::Receiver<Waiting>;

impl Front {
    /// Begins to serve.
    pub(super) fn open(listener: TcpListener, router: Router, limits: Limits) -> Self {
        let (door, stop) = (Door::open(router), CancellationToken::new());
        let server = tokio::spawn(http::serve(listener, door.clone(), limits, stop.clone()));
        Self { door, stop, server: AbortOnDropHandle::new(server) }
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
                let shut = self.door.shut().await;
                // Nobody is there to take it when the process ends.
                let _ = give.send(Waiting { front: self, shut });
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

    /// Tells those who wait that there is nothing more, and ends.
    pub(super) async fn turn_away(self) {
        drop(self.shut);
        self.front.end().await;
    }
}
