//! Which router answers: one can be taken away and another be put in its place while connections stay open.
//!
//! Promises: a request that comes while there is none waits for the next one; whoever shuts the door can wait until
//! every request that had come in is answered. Must not know: routes.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service as _;

use super::error::{Kind, Problem};

/// The way of requests to the router of the moment; cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(Arc<watch::Sender<Behind>>);

/// What is behind the door.
#[derive(Debug)]
enum Behind {
    /// A router, and the requests that it answers.
    Router(Router, TaskTracker),
    /// Nothing yet: another router is to come.
    NothingYet,
    /// Nothing any more.
    Nothing,
}

/// A shut door. Dropped, it answers those who wait that there is nothing behind it any more.
#[derive(Debug)]
pub struct Shut {
    door: Option<Door>,
    requests: TaskTracker,
}

impl Door {
    /// A door that is open.
    pub fn open(router: Router) -> Self {
        Self(Arc::new(watch::Sender::new(Behind::of(router))))
    }

    /// Lets nobody in from now on: who comes waits.
    pub fn shut(&self) -> Shut {
        let requests = match self.0.send_replace(Behind::NothingYet) {
            Behind::Router(_, requests) => requests,
            Behind::NothingYet | Behind::Nothing => TaskTracker::new(),
        };
        requests.close();
        Shut { door: Some(self.clone()), requests }
    }

    /// Answers a request, as soon as the door is open.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        match self.enter().await {
            Some((mut router, _inside)) => router.call(request).await.unwrap_or_else(|never| match never {}),
            None => Problem::new(Kind::Unavailable, "The server is stopping: send it again.").into_response(),
        }
    }

    /// The router, and what is held while a request is inside.
    async fn enter(&self) -> Option<(Router, TaskTrackerToken)> {
        let mut behind = self.0.subscribe();
        let behind = behind.wait_for(|behind| !matches!(behind, Behind::NothingYet)).await.ok()?;
        match &*behind {
            Behind::Router(router, requests) => Some((router.clone(), requests.token())),
            Behind::NothingYet | Behind::Nothing => None,
        }
    }
}

impl Behind {
    fn of(router: Router) -> Self {
        Self::Router(router, TaskTracker::new())
    }
}

impl Shut {
    /// Waits until every request that had come in is answered.
    pub async fn emptied(&self) {
        self.requests.wait().await;
    }

    /// Lets in those who wait, and whoever comes.
    pub fn open(mut self, router: Router) {
        if let Some(door) = self.door.take() {
            door.0.send_replace(Behind::of(router));
        }
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        if let Some(door) = &self.door {
            door.0.send_replace(Behind::Nothing);
        }
    }
}
