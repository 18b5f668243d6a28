//! A Postgres for the tests: the server at `ACCORD_TEST_DATABASE_URL` (where the tests' databases stay behind), else a
//! throwaway one of this machine's binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// A database of one test's own, with `rows` fragrances in it.
pub(crate) struct Database {
    pub(crate) options: PgConnectOptions,
    _server: Arc<Server>,
}

impl Database {
    pub(crate) async fn with_fragrances(rows: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = Server::shared();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("cms_simulator_test_{}_{number}", std::process::id());
        let mut admin = PgConnection::connect_with(&server.options).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("create database {name} template template0")))
            .execute(&mut admin)
            .await
            .unwrap();
        let options = server.options.clone().database(&name);
        let database = Self { options, _server: server };
        cms_simulator::seed::seed(&mut database.connect().await, rows).await.unwrap();
        database
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }
}

/// One server for the tests that run at the same time; the last of them stops it.
struct Server {
    options: PgConnectOptions,
    _throwaway: Option<Throwaway>,
}

struct Throwaway {
    binaries: PathBuf,
    data: PathBuf,
}

impl Server {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        if let Ok(url) = std::env::var("ACCORD_TEST_DATABASE_URL") {
            return Self { options: PgConnectOptions::from_str(&url).unwrap(), _throwaway: None };
        }
        let binaries = binaries();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = std::env::temp_dir().join(format!("cms_simulator_test_{}_{port}", std::process::id()));
        let throwaway = Throwaway { binaries, data };
        throwaway.run(
            "initdb",
            &["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"],
        );
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        );
        let log = throwaway.data.join("log");
        throwaway
            .run("pg_ctl", &["start", "--wait", "--silent", "--log", log.to_str().unwrap(), "-o", &settings]);
        let options =
            PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("postgres");
        Self { options, _throwaway: Some(throwaway) }
    }
}

impl Throwaway {
    /// Postgres refuses to run as root, so root runs it as `postgres`.
    fn run(&self, binary: &str, arguments: &[&str]) {
        let binary = self.binaries.join(binary);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&binary);
            command
        } else {
            Command::new(&binary)
        };
        command
            .arg("-D")
            .arg(&self.data)
            .args(arguments)
            .current_dir("/")
            .stdout(std::process::Stdio::null());
        assert!(command.status().unwrap().success(), "{} failed", binary.display());
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "--wait", "--silent", "--mode=immediate"]);
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// The newest installed Postgres.
fn binaries() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed
        .map(|version| version.path().join("bin"))
        .filter(|path| path.join("initdb").exists())
        .max_by_key(|path| version(path))
        .expect("install Postgres (apt install postgresql), or set ACCORD_TEST_DATABASE_URL")
}

fn version(binaries: &Path) -> Option<u32> {
    binaries.parent()?.file_name()?.to_str()?.parse().ok()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}
