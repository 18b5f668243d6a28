//! The load generator: one thread, HTTP/1.1 on connections that are kept, one request in flight on each.
//!
//! It must not be what limits a server that has no database, so it parses no more of an answer than its
//! status, its length and its outcomes.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::delta;
use crate::tally::Counter;

/// What is sent where, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    path: String,
    #[arg(long)]
    connections: usize,
    /// Changes in a request; one goes as an object, more as an array.
    #[arg(long)]
    changes: usize,
    /// The first change's number.
    #[arg(long)]
    number: u64,
    #[arg(long)]
    warm_up: u64,
    #[arg(long)]
    seconds: u64,
}

/// What the connections share.
struct Shared {
    counter: Counter,
    number: u64,
    stopping: bool,
}

impl Arguments {
    /// Puts load on a server, and tells what came of it.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let shared = Shared { counter: Counter::default(), number: self.number, stopping: false };
        let shared = Rc::new(RefCell::new(shared));
        LocalSet::new().run_until(self.drive(&shared)).await?;
        let shared = Rc::into_inner(shared).context("a connection is still at work")?;
        shared.into_inner().counter.close()
    }

    async fn drive(&self, shared: &Rc<RefCell<Shared>>) -> anyhow::Result<()> {
        let mut connections = JoinSet::new();
        for seed in 0..self.connections {
            let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            let connection = Connection {
                stream,
                head: format!(
                    "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: ",
                    self.path, self.address
                ),
                changes: self.changes,
                dice: SmallRng::seed_from_u64(seed as u64),
                answer: vec![0; 64 * 1024],
            };
            connections.spawn_local(connection.keep_busy(Rc::clone(shared)));
        }
        tokio::time::sleep(Duration::from_secs(self.warm_up)).await;
        shared.borrow_mut().counter.begin()?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        shared.borrow_mut().counter.end()?;
        shared.borrow_mut().stopping = true;
        while let Some(ended) = connections.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// One sender.
struct Connection {
    stream: TcpStream,
    head: String,
    changes: usize,
    dice: SmallRng,
    answer: Vec<u8>,
}

impl Connection {
    async fn keep_busy(mut self, shared: Rc<RefCell<Shared>>) {
        let (mut request, mut body) = (Vec::new(), Vec::new());
        while !shared.borrow().stopping {
            self.compose(&mut shared.borrow_mut().number, &mut request, &mut body);
            let began = Instant::now();
            let answered = self.exchange(&request).await;
            let latency = began.elapsed();
            let counter = &mut shared.borrow_mut().counter;
            match answered {
                Ok(applied) => counter.answered(latency, self.changes as u64, applied),
                Err(error) => return counter.failed(format!("{error:#}")),
            }
        }
    }

    fn compose(&mut self, number: &mut u64, request: &mut Vec<u8>, body: &mut Vec<u8>) {
        body.clear();
        for i in 0..self.changes {
            if self.changes > 1 {
                body.push(if i == 0 { b'[' } else { b',' });
            }
            delta::write(body, self.dice.random_range(0..delta::ROWS), *number);
            *number += 1;
        }
        if self.changes > 1 {
            body.push(b']');
        }
        request.clear();
        request.extend_from_slice(self.head.as_bytes());
        // Writing into memory does not fail.
        let _ = write!(request, "{}\r\n\r\n", body.len());
        request.extend_from_slice(body);
    }

    /// Sends a request, reads its answer, and counts the outcomes in it that say `applied`.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u64> {
        self.stream.write_all(request).await?;
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.answer[read..]).await?;
            anyhow::ensure!(more > 0, "the server closed the connection");
            read += more;
            let Some(head) = Head::parse(&self.answer[..read])? else { continue };
            let end = head.length + head.content_length;
            if self.answer.len() < end {
                self.answer.resize(end, 0);
            }
            if read < end {
                continue;
            }
            let body = &self.answer[head.length..end];
            anyhow::ensure!(head.status == 200, "{}: {}", head.status, String::from_utf8_lossy(body));
            return Ok(count_applied(body));
        }
    }
}

fn count_applied(body: &[u8]) -> u64 {
    const APPLIED: &[u8] = br#""outcome":"applied""#;
    body.windows(APPLIED.len()).filter(|window| *window == APPLIED).count() as u64
}

/// What has to be known of an answer's head.
struct Head {
    status: u16,
    length: usize,
    content_length: usize,
}

impl Head {
    /// `None` as long as it has not come whole.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        const END: &[u8] = b"\r\n\r\n";
        const LENGTH: &str = "content-length: ";
        let Some(end) = bytes.windows(END.len()).position(|window| window == END) else { return Ok(None) };
        let head = std::str::from_utf8(&bytes[..end])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let content_length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix(LENGTH))
            .context("the answer has no length")?
            .parse()?;
        Ok(Some(Self { status, length: end + END.len(), content_length }))
    }
}
