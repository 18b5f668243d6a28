//! `accord demo`: a CMS that edits and a library that follows, in one process that needs nothing else.
//!
//! Promises: what runs is `serve` itself, with a configuration of the demo's own; no password and no token is
//! printed; it ends in order and leaves nothing behind but the data directory that was asked for. Must not
//! know: how serving, simulating or embedding is done.

mod databases;
mod ear;
mod teller;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cms_simulator::{Faults, Interval};
use reqwest::StatusCode;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use self::databases::Databases;
use self::teller::Teller;
use crate::config::{Config, Log, LogFormat};
use crate::prose::{self, Paint};
use crate::serve::Service;
use crate::supervisor::{Phase, Requests, Supervisor};
use crate::telemetry;

/// The demo's one pipeline.
const PIPELINE: &str = "fragrances";

/// The contract comes with the program, so that the demo runs from any directory.
const CONTRACT: &str = include_str!("../../contracts/fragrances.yaml");

/// Shorter than by default: a person who waits for a registration waits for this.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Seconds between two comparisons: a person who makes the CMS lose calls waits for the repair.
const COMPARE_EVERY: u32 = 20;

/// How long everything may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How many events of the CMS wait for the teller.
const TOLD_LATER: usize = 4096;

/// What can be set about the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of the library.
    pub port: u16,
    /// The port of the CMS.
    pub cms_port: u16,
    /// How many fragrances both begin with.
    pub rows: u32,
    /// The time between two edits.
    pub every: Interval,
    /// The same seed makes the same edits.
    pub seed: u64,
    /// What goes wrong between CMS and library.
    pub faults: Faults,
    /// Where the data is kept from one demo to the next; `None` for a throwaway one.
    pub data_dir: Option<PathBuf>,
}

/// Runs the demo until it is told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut requests = Requests::signals()?;
    let (ear, heard) = ear::ear();
    telemetry::init_beside(&log(), ear)?;

    // Both from the first moment on: a port in use is told before anything is started.
    let library_port = bind(options.port, "--port").await?;
    let cms_port = bind(options.cms_port, "--cms-port").await?;
    let mut supervisor = Supervisor::new(Duration::from_secs(5));
    let house = tokio::select! {
        house = House::build(&options, library_port, &mut supervisor) => house?,
        _ = requests.next() => return Ok(()),
    };

    let (events, cms_events) = broadcast::channel(TOLD_LATER);
    let cms = house.cms(&options);
    let stop = supervisor.soft(Phase::Intake);
    supervisor.spawn(Phase::Intake, "CMS simulator", async move {
        cms_simulator::run(cms_port, cms, Some(events), stop).await
    });
    let paint = Paint::stdout();
    say(&house.banner(&options, began.elapsed(), paint));
    let library = PgPoolOptions::new().max_connections(1).connect_lazy(&house.databases.library)?;
    let teller = Teller::new(library, paint, Box::new(std::io::stdout()));
    let stop = supervisor.soft(Phase::Foundation);
    supervisor.spawn(Phase::Foundation, "story", teller::tell(teller, cms_events, heard, stop));

    let ended = supervisor.run(&mut requests).await;
    // Last of all, for everything else stands on it.
    let mut postgres = house.databases.postgres;
    postgres.stop_fast().await?;
    ended?;
    match &options.data_dir {
        Some(directory) => say(&format!("Stopped; the data is kept in {}.\n", directory.display())),
        None => say("Stopped; nothing is left behind.\n"),
    }
    Ok(())
}

/// Says it on stdout; that nobody listens is no reason to stop.
fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The story is told on stdout; on stderr there is only what should not happen.
fn log() -> Log {
    // What goes wrong with a call is part of the story.
    Log { filter: "warn,cms_simulator::event=off".to_owned(), format: LogFormat::Pretty }
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another port with {flag}"))
}

/// What the demo stands on.
struct House {
    databases: Databases,
    /// Holds contract and configuration, for `accord --config … status`.
    directory: TempDir,
}

impl House {
    /// Builds everything but the CMS, and waits until the library takes changes.
    async fn build(
        options: &Options,
        listener: TcpListener,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<Self> {
        let databases = Databases::start(options.data_dir.clone(), options.rows).await?;
        // Nobody but its owner may look into a directory of `tempfile`.
        let directory = tempfile::Builder::new().prefix("accord-demo-").tempdir()?;
        let house = Self { databases, directory };
        let text = house.config(options);
        std::fs::write(house.directory.path().join("fragrances.yaml"), CONTRACT)?;
        std::fs::write(house.config_file(), &text)?;
        let config = Config::from_toml(&text, house.directory.path())?;
        let service = Service::start(config, listener).await?;
        let stop = supervisor.soft(Phase::Intake);
        supervisor.spawn(Phase::Intake, "library", async move {
            service.run(&mut Requests::when(stop.cancelled_owned())).await
        });
        until_ready(options.port).await?;
        Ok(house)
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join(crate::config::DEFAULT_FILE)
    }

    /// The configuration, as anybody would write it.
    fn config(&self, options: &Options) -> String {
        let Options { port, cms_port, .. } = options;
        let Databases { cms, library, .. } = &self.databases;
        let keep_alive = KEEP_ALIVE.as_secs();
        format!(
            r#"
[http]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"

[library]
url = "{library}"

[pipeline.{PIPELINE}]
contract = "fragrances.yaml"
mode = "refetch"

[pipeline.{PIPELINE}.routes]
list = "/fragrances"
item = "/fragrance/{{id}}"

[pipeline.{PIPELINE}.source.webhook]
path = "/notifications"
auth = "token"

[pipeline.{PIPELINE}.source.webhook.register]
url = "http://127.0.0.1:{cms_port}/listener"
keep_alive = "{keep_alive}s"

[pipeline.{PIPELINE}.reference.postgres]
url = "{cms}"
table = "fragrances"

[pipeline.{PIPELINE}.reconcile]
schedule = "*/{COMPARE_EVERY} * * * * *"
grace = "1s"
"#
        )
    }

    fn cms(&self, options: &Options) -> cms_simulator::Config {
        cms_simulator::Config {
            database_url: self.databases.cms.clone().into(),
            every: options.every,
            seed: options.seed,
            faults: options.faults.clone(),
            ..cms_simulator::Config::default()
        }
    }

    fn banner(&self, options: &Options, took: Duration, paint: Paint) -> String {
        let fragrances = prose::count(self.databases.rows.unsigned_abs(), "fragrance");
        banner(options, &fragrances, took, &self.config_file(), paint)
    }
}

async fn until_ready(port: u16) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let ready = async {
        loop {
            let answer = client.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(READY_DEADLINE, ready)
        .await
        .with_context(|| format!("the library is not ready after {} s", READY_DEADLINE.as_secs()))
}

fn banner(options: &Options, fragrances: &str, took: Duration, config: &Path, paint: Paint) -> String {
    let Options { port, cms_port, every, .. } = options;
    let (library, cms) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{cms_port}"));
    let config = config.display();
    let mut text = String::new();
    let title = paint.bold("Accord: a fragrance library that follows its CMS");
    let _ = writeln!(text, "{title}\n{fragrances} in each, ready in {:.1} s\n", took.as_secs_f64());
    for (name, url) in [
        ("library", format!("{library}/fragrances")),
        ("health", format!("{library}/healthz")),
        ("readiness", format!("{library}/readyz")),
        ("numbers", format!("{library}/metrics")),
        ("the CMS", format!("{cms}/docs")),
    ] {
        let _ = writeln!(text, "  {name:<10} {url}");
    }
    let _ = writeln!(text, "\nTry, in another terminal:");
    for (command, what) in [
        (format!("curl {library}/fragrance/17"), "one fragrance, as the library knows it"),
        (format!("curl {library}/api/v1/pipelines"), "how the library is doing"),
        (format!("curl -X DELETE {cms}/listener"), "make the CMS forget us, and see us come back"),
        (format!("accord --config {config} status"), "the same for a person"),
        (format!("accord --config {config} history {PIPELINE} KEY"), "all that happened to one fragrance"),
    ] {
        let _ = writeln!(text, "  {command}\n      {}", paint.dim(what));
    }
    let _ = writeln!(text, "\nThe CMS edits a fragrance every {every}. Ctrl-C stops everything.\n");
    text
}
