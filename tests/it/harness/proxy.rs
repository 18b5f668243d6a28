//! A TCP proxy that fails on demand, to stand in front of Postgres or of a listener.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::free_port;

/// What the proxy does with what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Forwards everything.
    None,
    /// As if the server were stopped: connections are cut, and new ones refused.
    Refuse,
    /// As if the network were stuck: connections stay and open, but nothing arrives on either side.
    Hold,
    /// Requests arrive, their answers do not. Followed by [`TcpProxy::cut`] this is the lost reply after a
    /// write that was done.
    HoldReplies,
}

/// A proxy in front of one server, on a port of its own. It ends when it is dropped.
pub(crate) struct TcpProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    listening: watch::Receiver<bool>,
    /// Cancelled to cut the connections there are; later ones get the next token.
    connections: Arc<Mutex<CancellationToken>>,
    _acceptor: AbortOnDropHandle<()>,
}

impl TcpProxy {
    /// A proxy in front of `target`, without a fault as yet.
    pub(crate) async fn in_front_of(target: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (fault, faults) = watch::channel(Fault::None);
        let (listens, mut listening) = watch::channel(false);
        let connections = Arc::<Mutex<CancellationToken>>::default();
        let acceptor = accept(address, target, faults, listens, Arc::clone(&connections));
        let acceptor = AbortOnDropHandle::new(tokio::spawn(acceptor));
        listening.wait_for(|listens| *listens).await.expect("the proxy listens");
        Self { address, fault, listening, connections, _acceptor: acceptor }
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has every connection suffer `fault` from now on, or recover from it.
    pub(crate) async fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
        let listens = fault != Fault::Refuse;
        self.listening.clone().wait_for(|now| *now == listens).await.expect("the proxy runs");
        if fault == Fault::Refuse {
            self.cut();
        }
    }

    /// Resets every connection there is, in the middle of whatever it carries.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.connections.lock().unwrap()).cancel();
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn accept(
    address: SocketAddr,
    target: SocketAddr,
    mut faults: watch::Receiver<Fault>,
    listens: watch::Sender<bool>,
    connections: Arc<Mutex<CancellationToken>>,
) {
    while faults.wait_for(|fault| *fault != Fault::Refuse).await.is_ok() {
        let listener = TcpListener::bind(address).await.expect("the proxy's port");
        listens.send_replace(true);
        let mut refuse = faults.clone();
        loop {
            tokio::select! {
                biased;
                _ = refuse.wait_for(|fault| *fault == Fault::Refuse) => break,
                Ok((client, _)) = listener.accept() => {
                    let cut = connections.lock().unwrap().clone();
                    tokio::spawn(connect(client, target, faults.clone(), cut));
                }
            }
        }
        drop(listener);
        listens.send_replace(false);
    }
}

async fn connect(
    mut client: TcpStream,
    target: SocketAddr,
    faults: watch::Receiver<Fault>,
    cut: CancellationToken,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let (requests, client_end) = client.split();
    let (replies, server_end) = server.split();
    let requests = pump(requests, server_end, faults.clone(), &[Fault::None, Fault::HoldReplies]);
    let replies = pump(replies, client_end, faults, &[Fault::None]);
    tokio::select! {
        // What was held when the connection was cut must not slip through when the fault is lifted.
        biased;
        () = cut.cancelled() => {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        _ = async { tokio::try_join!(requests, replies) } => {}
    }
}

/// Carries bytes, and the end of them, as long as the fault is one of those that let them `pass`.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut faults: watch::Receiver<Fault>,
    pass: &[Fault],
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        faults.wait_for(|fault| pass.contains(fault)).await.map_err(io::Error::other)?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
