//! A transaction pooler: between two transactions of a session it lends the session's backend to others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A pooler in front of one Postgres. It ends when it is dropped.
pub(crate) struct Pooler {
    pub(crate) address: SocketAddr,
    _acceptor: AbortOnDropHandle<()>,
}

/// Backends that nobody uses; the last one is lent first.
type Idle = Arc<Mutex<Vec<TcpStream>>>;

impl Pooler {
    pub(crate) async fn in_front_of(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let idle = Idle::default();
        let acceptor = async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, Arc::clone(&idle)));
            }
        };
        Self { address, _acceptor: AbortOnDropHandle::new(tokio::spawn(acceptor)) }
    }
}

/// One session: it is let in by a backend of its own, which then goes to the end of the queue.
async fn serve(mut client: TcpStream, target: SocketAddr, idle: Idle) -> Option<()> {
    let mut backend = TcpStream::connect(target).await.ok()?;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = client.read(&mut bytes).await.ok()?;
        backend.write_all(&bytes[..count]).await.ok()?;
        if answer(&mut backend, &mut client, true).await? == Some(b'I') {
            break;
        }
    }
    idle.lock().unwrap().insert(0, backend);

    let mut lent: Option<TcpStream> = None;
    loop {
        let count = client.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        // A session that ends does not end a backend, unless it leaves a transaction in it.
        if bytes[0] == b'X' {
            return None;
        }
        let mut backend = lent.take().or_else(|| idle.lock().unwrap().pop())?;
        backend.write_all(&bytes[..count]).await.ok()?;
        match answer(&mut backend, &mut client, false).await? {
            Some(b'I') => idle.lock().unwrap().push(backend),
            _ => lent = Some(backend),
        }
    }
}

/// Carries messages to the client until the backend is ready for the next query, and gives its state. While
/// the client is being let in, it stops at each question to it, too.
async fn answer(backend: &mut TcpStream, client: &mut TcpStream, letting_in: bool) -> Option<Option<u8>> {
    loop {
        let mut head = [0; 5];
        backend.read_exact(&mut head[..1]).await.ok()?;
        // The answer to "do you speak TLS?" is a single letter.
        if letting_in && head[0] == b'N' {
            client.write_all(&head[..1]).await.ok()?;
            return Some(None);
        }
        backend.read_exact(&mut head[1..]).await.ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).ok()? - 4];
        backend.read_exact(&mut body).await.ok()?;
        client.write_all(&[&head[..], &body[..]].concat()).await.ok()?;
        match head[0] {
            b'Z' => return Some(body.first().copied()),
            // SASL asks twice, and then says that it is content.
            b'R' if matches!(body.get(3), Some(10 | 11)) => return Some(None),
            _ => {}
        }
    }
}
