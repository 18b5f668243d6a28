//! Which router answers: one can be taken away and another be put in its place while connections stay open.
//!
//! Promises: a request that comes while there is none waits for the next one; whoever shuts the door knows that every
//! request that had come in is answered. Must not know: routes.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tower::Service as _;

use super::error::{Kind, Problem};

/// The way of requests to the router of the moment; cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(Arc<RwLock<Option<Router>>>);

/// A shut door. Dropped, it answers those who wait that there is nothing behind it any more.
#[derive(Debug)]
pub struct Shut(OwnedRwLockWriteGuard<Option<Router>>);

impl Door {
    /// A door that is open.
    pub fn open(router: Router) -> Self {
        Self(Arc::new(RwLock::new(Some(router))))
    }

    /// Waits until every request that came in is answered, and lets none in from now on: they wait.
    pub async fn shut(&self) -> Shut {
        let mut shut = Arc::clone(&self.0).write_owned().await;
        *shut = None;
        Shut(shut)
    }

    /// Answers a request, as soon as the door is open.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        let behind = self.0.read().await;
        match behind.clone() {
            // `behind` is held until there is an answer: by that it is seen that one is in.
            Some(mut router) => router.call(request).await.unwrap_or_else(|never| match never {}),
            None => Problem::new(Kind::Unavailable, "The server is stopping: send it again.").into_response(),
        }
    }
}

impl Shut {
    /// Lets in those who wait, and whoever comes.
    pub fn open(mut self, router: Router) {
        *self.0 = Some(router);
    }
}
