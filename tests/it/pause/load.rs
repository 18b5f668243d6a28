//! Servers that are paused, resumed and killed while senders go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use accord::library::pause::kept;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{pause, resume};
use crate::harness::{Configure, FRAGRANCES, Server, eventually, fragrances};

const SENDERS: u64 = 8;
const KEYS_EACH: u64 = 6;
const _: () = assert!(SENDERS * KEYS_EACH <= FRAGRANCES as u64);
const SOON: Duration = Duration::from_mins(1);

/// What senders were answered, by outcome: how often.
type Answers = HashMap<String, u64>;

/// The last number of each key, in each of two columns.
type Last = HashMap<(u64, &'static str), u64>;

/// Senders with keys of their own, each of which gets a number that grows, now in its cost, now in its name.
struct Senders {
    tasks: JoinSet<Last>,
    stop: watch::Sender<bool>,
    answers: Arc<watch::Sender<Answers>>,
}

impl Senders {
    fn start(urls: &[String]) -> Self {
        let (stop, answers) = (watch::Sender::new(false), Arc::new(watch::Sender::new(Answers::new())));
        let mut tasks = JoinSet::new();
        for (sender, url) in (0..SENDERS).zip(urls.iter().cycle()) {
            tasks.spawn(send(sender, url.clone(), stop.subscribe(), Arc::clone(&answers)));
        }
        Self { tasks, stop, answers }
    }

    /// Waits until so many more were answered in this way.
    async fn answered(&self, more: u64, outcome: &str) {
        let count = |answers: &Answers| answers.get(outcome).copied().unwrap_or_default();
        let mut answers = self.answers.subscribe();
        let enough = count(&answers.borrow()) + more;
        let seen = tokio::time::timeout(SOON, answers.wait_for(|answers| count(answers) >= enough)).await;
        assert!(seen.is_ok(), "no {more} more that are {outcome}: {:?}", self.answers.borrow());
    }

    /// Ends them; gives what was acknowledged last.
    async fn end(self) -> Last {
        self.stop.send_replace(true);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

async fn send(
    sender: u64,
    url: String,
    stop: watch::Receiver<bool>,
    answers: Arc<watch::Sender<Answers>>,
) -> Last {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut last = HashMap::new();
    for n in 1.. {
        if *stop.borrow() {
            break;
        }
        let key = sender * KEYS_EACH + n % KEYS_EACH;
        let number = 1_000_000 + n;
        let is_cost = (n / KEYS_EACH).is_multiple_of(2);
        let (column, value) =
            if is_cost { ("cost", json!(number)) } else { ("name", json!(number.to_string())) };
        let answer =
            client.post(&url).json(&json!({"fragrance_id": key, column: value})).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 202), "{answer:?}");
        let answer: Value = answer.json().await.unwrap();
        let rule = answer["violations"][0]["rule"].as_str();
        let outcome = rule.or(answer["outcome"].as_str()).unwrap().to_owned();
        last.insert((key, column), number);
        answers.send_modify(|answers| *answers.entry(outcome).or_default() += 1);
    }
    last
}

/// Waits until all that was kept is replayed.
async fn is_replayed(server: &Server) {
    eventually(SOON, "what was kept is replayed", async || {
        match kept(&server.library.pool, "fragrances").await.unwrap() {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

async fn ask(server: &Server, sql: &'static str) -> String {
    let text: Option<String> = sqlx::query_scalar(sql).fetch_one(&server.library.pool).await.unwrap();
    text.unwrap_or_default()
}

/// The numbers that senders put in.
async fn numbers(server: &Server) -> Last {
    let rows: Vec<(i32, Option<i64>, Option<i64>)> = sqlx::query_as(
        "select fragrance_id, case when cost > 1000000 then cost::int8 end,
                case when name ~ '^[0-9]+$' then name::int8 end
         from fragrances",
    )
    .fetch_all(&server.library.pool)
    .await
    .unwrap();
    let of = |(key, cost, name): (i32, Option<i64>, Option<i64>)| {
        let key = u64::from(key.cast_unsigned());
        [("cost", cost), ("name", name)]
            .map(|(column, number)| Some(((key, column), number?.cast_unsigned())))
    };
    rows.into_iter().flat_map(of).flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_and_resumed_again_and_again_two_replicas_lose_nothing() {
    let server = Server::start(Configure::default()).await;
    let other = server.replica().await;
    let (pool, hook) = (&server.library.pool, server.hook().await);
    let senders = Senders::start(&[&server.accord.url, &other.url].map(|url| format!("{url}{hook}")));
    senders.answered(100, "applied").await;
    for _ in 0..4 {
        pause(pool, "fragrances").await;
        let before = fragrances(pool, None).await;
        senders.answered(200, "paused").await;
        let refused = server.send(r#"{"fragrance_id": 1, "cost": -1}"#).await;
        assert_eq!((refused.status, &refused.json()["violations"][0]["rule"]), (202, &json!("minimum")));
        assert_eq!(fragrances(pool, None).await, before, "nothing changes while it is paused");
        resume(pool, "fragrances").await;
        // The next pause may well come while this one's changes are being replayed.
        senders.answered(50, "applied").await;
    }
    pause(pool, "fragrances").await;
    senders.answered(200, "paused").await;
    let acknowledged = senders.end().await;
    assert_ne!(numbers(&server).await, acknowledged);
    resume(pool, "fragrances").await;
    is_replayed(&server).await;

    assert_eq!(numbers(&server).await, acknowledged, "no column is behind its last acknowledged change");
    let open = "select string_agg(distinct reason, ' ') from accord.quarantine where state = 'open'";
    assert!(matches!(ask(&server, open).await.as_str(), "" | "minimum"));
    let heeded =
        "select bool_and((outcome = 'quarantined') = (quarantine is not null) or origin = 'replay')::text
                  from accord.ledger";
    assert_eq!(ask(&server, heeded).await, "true");
    let gap = ask(&server, "select array_to_string(gap_reasons, ' ') from accord.pipeline").await;
    assert!(!gap.contains("refused") && !gap.contains("outage"), "{gap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_the_replay_it_goes_on_where_it_was() {
    const BODIES: u64 = 20;
    const EACH: u64 = 200;
    let mut server = Server::start(Configure::default()).await;
    pause(&server.library.pool, "fragrances").await;
    let rows = u64::from(FRAGRANCES);
    for body in 0..BODIES {
        let changes = (0..EACH).map(|n| body * EACH + n);
        let changes: Vec<Value> =
            changes.map(|n| json!({"fragrance_id": n % rows, "cost": 2_000_000 + n})).collect();
        assert_eq!(server.send(json!(changes).to_string()).await.status, 202);
    }
    resume(&server.library.pool, "fragrances").await;
    let mut left = i64::try_from(BODIES * EACH).unwrap();
    for _ in 0..3 {
        left = eventually(SOON, "the replay goes on", async || {
            let now = kept(&server.library.pool, "fragrances").await.unwrap();
            if now < left { Ok(now) } else { Err(now) }
        })
        .await;
        assert!(left > 0, "it was over before the kill");
        server.crash().await;
    }
    is_replayed(&server).await;

    let all = BODIES * EACH;
    let expected: Last = (0..all).map(|n| ((n % rows, "cost"), 2_000_000 + n)).collect();
    assert_eq!(numbers(&server).await, expected);
    let once = "select concat_ws(' ', count(*), count(distinct quarantine)) from accord.ledger where origin = 'replay'";
    assert_eq!(ask(&server, once).await, format!("{all} {all}"), "each is replayed once");
    let states = "select string_agg(distinct state, ' ') from accord.quarantine";
    assert_eq!(ask(&server, states).await, "released");
}
