//! The accept loop: HTTP/1.1 on a listener that the caller owns.
//!
//! Promises: a bounded number of connections, each with a bounded time to send its headers and bounded
//! buffers; a panic in a handler costs one request; once told to stop it accepts nothing more and returns
//! when the requests in flight are answered, or cuts them when it is dropped. Must not know: routes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::error::Problem;

/// What a stranger can take of us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections are open at once; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a client may take to send a request's headers, and how long a connection may idle.
    pub header_timeout: Duration,
}

impl Limits {
    /// Bytes of headers, and of what is read or written ahead, that one connection may hold.
    const BUFFER: usize = 64 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        // Below the 1,024 open files that a process usually may have, with room for the database's.
        Self { connections: 900, header_timeout: Duration::from_secs(10) }
    }
}

/// Serves until told to stop, then until the requests in flight are answered.
///
/// Dropping the future cuts what is still open: put it under a timeout to bound the wait.
pub async fn serve(listener: TcpListener, door: Door, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(Limits::BUFFER);
    let mut connections = JoinSet::new();
    let mut waits = 0;
    loop {
        let slot = stop.run_until_cancelled(free_slot(&slots, &mut waits));
        let Some(slot) = slot.await.flatten() else { break };
        let Some((stream, peer)) = stop.run_until_cancelled(accept(&listener)).await else { break };
        while connections.try_join_next().is_some() {}
        let connection = connection(http.clone(), stream, peer, door.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn free_slot(slots: &Arc<Semaphore>, waits: &mut u64) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    *waits += 1;
    // Ever more seldom, so that a flood of connections is no flood of log.
    if waits.is_power_of_two() {
        tracing::warn!(waits, "as many connections are open as allowed; new ones wait");
    }
    Arc::clone(slots).acquire_owned().await.ok()
}

/// The next connection. Errors of one connection are skipped; a lack of resources is waited out.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections now: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    http: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        // Answers are single writes, so this costs latency at worst.
        tracing::debug!(%error, "cannot set TCP_NODELAY: {error}");
    }
    let service = service_fn(|request| respond(door.clone(), peer, request));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early: {error}");
    }
}

/// Answers one request, with 500 when its handler panics; the panic hook has logged that already.
async fn respond(
    door: Door,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = AssertUnwindSafe(door.answer(request)).catch_unwind().await;
    Ok(answer.unwrap_or_else(|_panic| Problem::internal().into_response()))
}

#[cfg(test)]
mod tests;
