//! Senders of webhooks, as other people's software is one: over HTTP, with connections kept open.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Reply;

/// A client of one Accord; clones share its connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the Accord at `url`, which has no slash at its end.
    pub(crate) fn of(url: &str) -> Self {
        let http = reqwest::Client::builder()
            // A proxy from the environment has no business between two ports of this machine.
            .no_proxy()
            .pool_max_idle_per_host(usize::MAX)
            .timeout(Duration::from_mins(1))
            .build()
            .expect("an HTTP client");
        Self { http, url: url.to_owned() }
    }

    /// Calls the webhook.
    pub(crate) async fn send(&self, body: &impl Serialize) -> reqwest::Result<Reply> {
        Self::read(self.http.post(format!("{}/notifications", self.url)).json(body)).await
    }

    /// Reads from a path.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<Reply> {
        Self::read(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        Reply::read(request.send().await?).await
    }
}

/// A change that was acknowledged with 200.
#[derive(Debug)]
pub(crate) struct Ack {
    /// What was sent.
    pub(crate) change: Value,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// What was answered.
    pub(crate) answer: Value,
}

/// What became of the requests of a [`Load`].
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Each sender's in the order in which it sent them.
    pub(crate) acknowledged: Vec<Ack>,
    /// Answers other than 200.
    pub(crate) refused: Vec<Reply>,
    /// Requests without an answer.
    pub(crate) broken: usize,
}

/// What can be seen of a [`Load`] while it goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    /// Sent, and neither answered nor broken off.
    pub(crate) outstanding: usize,
}

/// Senders that each send one change after the other, until they are told to end.
pub(crate) struct Load {
    counts: watch::Sender<Counts>,
    stop: CancellationToken,
    senders: JoinSet<Account>,
}

impl Load {
    /// Starts that many senders; the n-th change of a sender is `change(sender, n)`.
    pub(crate) fn start(
        client: &Client,
        senders: usize,
        change: impl Fn(usize, u64) -> Value + Clone + Send + 'static,
    ) -> Self {
        let counts = watch::Sender::new(Counts::default());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for sender in 0..senders {
            let (client, counts, stop) = (client.clone(), counts.clone(), stop.clone());
            let change = change.clone();
            tasks.spawn(keep_sending(client, counts, stop, move |n| change(sender, n)));
        }
        Self { counts, stop, senders: tasks }
    }

    /// How it stands now.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until the counts are as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = self.counts.subscribe();
        let seen = tokio::time::timeout(PATIENCE, counts.wait_for(wanted)).await;
        *seen.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}; {:?}", self.counts())).unwrap()
    }

    /// Waits until that many more changes have been acknowledged.
    pub(crate) async fn acknowledges(&self, more: usize) -> Counts {
        let enough = self.counts().acknowledged + more;
        self.until("more acknowledgements", |counts| counts.acknowledged >= enough).await
    }

    /// From now on nothing new is sent; the future waits for what is outstanding and tells what became of all.
    pub(crate) fn end(self) -> impl Future<Output = Account> {
        self.stop.cancel();
        async {
            let mut whole = Account::default();
            for account in self.senders.join_all().await {
                whole.acknowledged.extend(account.acknowledged);
                whole.refused.extend(account.refused);
                whole.broken += account.broken;
            }
            whole
        }
    }
}

/// How long a load may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a sender waits after it was not served.
const PAUSE: Duration = Duration::from_millis(20);

async fn keep_sending(
    client: Client,
    counts: watch::Sender<Counts>,
    stop: CancellationToken,
    change: impl Fn(u64) -> Value,
) -> Account {
    let mut account = Account::default();
    for n in 1.. {
        if stop.is_cancelled() {
            break;
        }
        let change = change(n);
        let sent = Instant::now();
        counts.send_modify(|counts| counts.outstanding += 1);
        let reply = client.send(&change).await;
        let is_ack = reply.as_ref().is_ok_and(|reply| reply.status == 200);
        counts.send_modify(|counts| {
            counts.outstanding -= 1;
            counts.acknowledged += usize::from(is_ack);
            counts.refused += usize::from(reply.is_ok() && !is_ack);
        });
        match reply {
            Ok(reply) if is_ack => {
                account.acknowledged.push(Ack { change, sent, answer: reply.json() });
                continue;
            }
            Ok(reply) => account.refused.push(reply),
            Err(_) => account.broken += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    account
}
