//! The stage: one Postgres that syncs every commit, a database for each contender, and the contenders.
//!
//! All of them are up from beginning to end, and take load in turns. Before a turn its database is as at
//! the start: the ledger empty, the table vacuumed and analyzed, everything written out.

use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use accord::embedded::postgres::{Options, Postgres};
use accord::{embedded, library};
use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::accord_server::AccordServer;
use crate::child::Child;
use crate::contender::{Contender, Run};
use crate::cpu;
use crate::delta;
use crate::machine;
use crate::report::{Footprint, Turn};
use crate::tally;

/// The contract that Accord and the ledger go by.
pub(crate) const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");

const SCHEMA: &str = include_str!("../../database_config/schema.sql");
const ROWS: &[u8] = include_bytes!("../../database_config/fragrances.csv");

/// Each read gives a cost that no read before gave, so that each refetch finds a real change. `now()` is the
/// reading statement's own time, and lets the planner go by the key as it would on a table.
const EVER_NEW: &str = "
    alter table fragrances rename to stored;
    create view fragrances as
    select fragrance_id, name, description, forbidden,
           cost + (extract(epoch from now()) * 1000000)::bigint as cost
    from stored;
";

/// How long load is put on before it is measured, in seconds.
const WARM_UP: u64 = 1;

/// How long a simple server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers kept apart for each turn: more than any turn uses up.
const NUMBERS: u64 = 10_000_000;

/// Everything that is running.
pub(crate) struct Scene {
    no_database: Child,
    per_request: Child,
    simple: [SocketAddr; 2],
    apply: AccordServer,
    refetch: AccordServer,
    postgres: Postgres,
    number: u64,
    directory: PathBuf,
    /// Declared last: the files go after the server that uses them.
    disk: TempDir,
}

impl Scene {
    /// Starts everything. Logs and configurations are kept in `directory`.
    pub(crate) async fn set(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        // What is there outlives a restart of the machine, and so is on a disk.
        let disk = tempfile::Builder::new().prefix("accord-bench-").tempdir_in("/var/tmp")?;
        // Segments of the log are used again, as in a server that has been up for long, and not made anew.
        let settings = [("min_wal_size", "1GB"), ("max_wal_size", "4GB")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options { data_dir: Some(disk.path().to_owned()), settings, ..Options::default() };
        let postgres = Postgres::start(options).await?;
        for database in ["per_request", "apply", "refetch", "reference", "postgres_only"] {
            postgres.create_database(database).await?;
            fill(&postgres.url(database)).await.with_context(|| format!("database {database}"))?;
        }
        execute(&postgres.url("reference"), &[EVER_NEW]).await?;
        let mut conn = PgConnection::connect(&postgres.url("postgres_only")).await?;
        library::migrate(&mut conn).await?;
        conn.close().await?;

        let simple = [free_address()?, free_address()?];
        let [no_database, per_request] = simple.map(|address| address.to_string());
        let url = postgres.url("per_request");
        let arguments = ["no-database", "--listen", &no_database];
        let no_database = Child::in_role(arguments, &directory.join("no_database.log"))?;
        let arguments = ["per-request", "--listen", &per_request, "--url", &url];
        let per_request = Child::in_role(arguments, &directory.join("per_request.log"))?;
        for address in simple {
            until_listening(address).await?;
        }
        let [library, refetched, reference] =
            ["apply", "refetch", "reference"].map(|name| postgres.url(name));
        Ok(Self {
            no_database,
            per_request,
            simple,
            apply: AccordServer::start(&library, None, directory, "apply").await?,
            refetch: AccordServer::start(&refetched, Some(&reference), directory, "refetch").await?,
            postgres,
            number: 1_000_000,
            directory: directory.to_owned(),
            disk,
        })
    }

    /// How soon `accord serve` is ready, and what it takes idle: started once more, for the first start has
    /// made its schema.
    pub(crate) async fn footprint(&mut self) -> anyhow::Result<Footprint> {
        self.apply.child.terminate()?;
        self.apply = AccordServer::start(&self.postgres.url("apply"), None, &self.directory, "apply").await?;
        // One beat of everything that beats.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let resident_mib = cpu::resident_mib(self.apply.child.pid());
        Ok(Footprint { ready_after: self.apply.ready_after, resident_mib })
    }

    /// Puts load on a contender, and checks that it has done what it said.
    pub(crate) async fn turn(&mut self, run: Run, time: Duration) -> anyhow::Result<Turn> {
        self.reset(run.contender).await?;
        let sync_ms = machine::sync_ms(self.disk.path())?;
        let number = self.number;
        self.number += NUMBERS;
        let mut driver = self.driver(run, number, time).await?;
        let output = BufReader::new(driver.output()?);
        let (tally, before, after) = tally::follow(output, || self.cpu(run.contender, driver.pid()))?;
        anyhow::ensure!(
            tally.failures.is_empty(),
            "requests failed; logs are in {}: {:#?}",
            self.directory.display(),
            tally.failures
        );
        let mean_batch = self.check_ledger(run.contender, tally.acknowledged).await?;
        anyhow::ensure!(
            tally.applied == tally.acknowledged || run.contender == Contender::Refetch,
            "{} of {} changes were applied; each was a real one",
            tally.applied,
            tally.acknowledged
        );
        Ok(Turn::new(&tally, before, after, mean_batch, sync_ms))
    }

    async fn reset(&self, contender: Contender) -> anyhow::Result<()> {
        let database = contender.database().unwrap_or("postgres");
        let empty = if contender.keeps_ledger() { "truncate accord.ledger" } else { "" };
        execute(&self.postgres.url(database), &[empty, "vacuum (analyze)", "checkpoint"]).await
    }

    async fn driver(&self, run: Run, number: u64, time: Duration) -> anyhow::Result<Child> {
        let [number, warm_up, seconds] = [number, WARM_UP, time.as_secs()].map(|n| n.to_string());
        let same = ["--number", &number, "--warm-up", &warm_up, "--seconds", &seconds];
        let log = self.directory.join("driver.log");
        if run.contender == Contender::PostgresOnly {
            let url = self.postgres.url("postgres_only");
            return Child::in_role(["floor", "--url", &url].iter().chain(&same), &log);
        }
        let (address, path) = match run.contender {
            Contender::NoDatabase => (self.simple[0], "/notifications/token".to_owned()),
            Contender::PerRequest => (self.simple[1], "/notifications/token".to_owned()),
            Contender::Refetch => (self.refetch.address, self.refetch.path().await?),
            _ => (self.apply.address, self.apply.path().await?),
        };
        let address = address.to_string();
        let connections = run.connections.to_string();
        let changes = run.contender.changes_a_request().to_string();
        let load = ["load", "--address", &address, "--path", &path];
        let load = load.into_iter().chain(["--connections", &connections, "--changes", &changes]);
        Child::in_role(load.chain(same), &log)
    }

    fn cpu(&self, contender: Contender, driver: u32) -> Cpu {
        let server = match contender {
            Contender::NoDatabase => Some(self.no_database.pid()),
            Contender::PerRequest => Some(self.per_request.pid()),
            Contender::Apply | Contender::Batch => Some(self.apply.child.pid()),
            Contender::Refetch => Some(self.refetch.child.pid()),
            Contender::PostgresOnly => None,
        };
        Cpu {
            at: Instant::now(),
            server: server.map_or(0.0, cpu::of),
            driver: cpu::of(driver),
            postgres: self.postgres.pid().map_or(0.0, cpu::of_family),
            machine: cpu::of_all(),
        }
    }

    /// The ledger holds every change that was acknowledged, and no other. Gives the mean size of its batches.
    async fn check_ledger(&self, contender: Contender, acknowledged: u64) -> anyhow::Result<Option<f64>> {
        let Some(database) = contender.database().filter(|_| contender.keeps_ledger()) else {
            return Ok(None);
        };
        let mut conn = PgConnection::connect(&self.postgres.url(database)).await?;
        let (entries, batches): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct at) from accord.ledger")
                .fetch_one(&mut conn)
                .await?;
        conn.close().await?;
        anyhow::ensure!(
            u64::try_from(entries)? == acknowledged,
            "{acknowledged} changes were acknowledged, and {entries} are in the ledger"
        );
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Some(entries as f64 / batches.max(1) as f64))
    }
}

/// CPU time so far, in seconds, by who used it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) at: Instant,
    pub(crate) server: f64,
    pub(crate) driver: f64,
    pub(crate) postgres: f64,
    pub(crate) machine: f64,
}

/// An address that nothing listens on.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, embedded::free_port()?).into())
}

async fn until_listening(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Err(error) = TcpStream::connect(address).await {
        anyhow::ensure!(began.elapsed() < PATIENCE, "nothing listens on {address}: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn fill(url: &str) -> anyhow::Result<()> {
    execute(url, &[SCHEMA]).await?;
    let mut conn = PgConnection::connect(url).await?;
    let mut copy = conn.copy_in_raw("copy fragrances from stdin with (format csv, header true)").await?;
    copy.send(ROWS).await?;
    let copied = copy.finish().await?;
    anyhow::ensure!(copied == u64::from(delta::ROWS), "{copied} rows, where {} were meant", delta::ROWS);
    Ok(conn.close().await?)
}

/// Runs each text by itself, for some statements take no company.
async fn execute(url: &str, statements: &[&'static str]) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    for statement in statements {
        sqlx::raw_sql(*statement).execute(&mut conn).await.with_context(|| (*statement).to_owned())?;
    }
    Ok(conn.close().await?)
}
