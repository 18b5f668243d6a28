//! `accord demo`, as a person runs it.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Process, accord, eventually, free_port};

const SOON: Duration = Duration::from_mins(1);

/// A demo that runs.
struct Demo {
    process: Process,
    library: String,
    _directory: TempDir,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, cms_port) = (free_port().to_string(), free_port().to_string());
        let mut arguments = vec!["demo", "--port", &port, "--cms-port", &cms_port, "--seed", "7"];
        arguments.extend(flags);
        let log = directory.path().join("log");
        let process = Process::spawn(env!("CARGO_BIN_EXE_accord"), &arguments, &log);
        Self { process, library: format!("http://127.0.0.1:{port}"), _directory: directory }
    }

    /// Waits until the story holds all of these.
    async fn tells(&mut self, pieces: &[&str]) {
        let process = &mut self.process;
        eventually(SOON, "the demo's story", async || {
            let log = process.log();
            assert!(process.ended().is_none(), "the demo ended:\n{log}");
            let missing: Vec<_> = pieces.iter().filter(|piece| !log.contains(**piece)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("no {missing:?} in\n{log}")) }
        })
        .await;
    }

    /// The configuration file that it offers for other commands.
    fn config(&self) -> PathBuf {
        let log = self.process.log();
        let words = log.split_whitespace();
        words.skip_while(|word| *word != "--config").nth(1).expect("a configuration file").into()
    }

    /// Ends it by SIGTERM; what it started is gone, and it says so with exit code 0.
    async fn end(mut self) -> String {
        let servers = children(self.process.pid());
        assert!(!servers.is_empty(), "a Postgres runs as a child of the demo");
        self.process.terminate();
        let status = self.process.wait().await;
        let log = self.process.log();
        assert_eq!(status.code(), Some(0), "{log}");
        // They die with their owner, yet after it.
        eventually(SOON, "the servers are gone", async || {
            let left: Vec<_> =
                servers.iter().filter(|server| Path::new(&format!("/proc/{server}")).exists()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        log
    }
}

/// The processes that this one started and that still live.
fn children(of: u32) -> Vec<u32> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).and_then(|stat| parent(&stat)) == Some(of))
        .collect()
}

/// The first line of the story that begins so, after its time.
fn line<'a>(log: &'a str, beginning: &str) -> &'a str {
    log.lines().find(|line| line.get(10..).is_some_and(|text| text.starts_with(beginning))).expect(beginning)
}

#[tokio::test]
async fn the_demo_tells_how_the_library_follows_its_cms() {
    let mut demo = Demo::start(&["--rows", "50", "--every", "200ms"]);
    demo.tells(&["library follows: applied in"]).await;

    let log = demo.process.log();
    assert!(log.contains("50 fragrances in each, ready in "), "{log}");
    assert!(line(&log, "Accord registers with the CMS").contains("/notifications/***"), "{log}");
    let edit = line(&log, "CMS edits #");
    assert!(edit.contains(" → "), "{edit}");
    assert!(line(&log, "library follows").ends_with("ledger #1"), "{log}");

    // What was told is true.
    let key = edit.split(['#', ' ']).find(|word| word.parse::<u32>().is_ok()).expect("a key");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let row = client.get(format!("{}/fragrance/{key}", demo.library)).send().await.unwrap();
    let row: Value = row.json().await.unwrap();
    assert!(row["description"].as_str().unwrap().ends_with("  blabla..."), "{row}");

    // The other commands can look at it.
    let config = demo.config();
    let status = accord(&config, &["status", "--json"]).await.json();
    assert_eq!((&status["server"]["status"], &status["led"]), (&"ready".into(), &true.into()));
    let history = accord(&config, &["history", "fragrances", key]).await;
    assert!(history.stdout.contains("applied update"), "{history:?}");

    // No secret was told.
    let toml: toml::Table = fs::read_to_string(&config).unwrap().parse().unwrap();
    let library: url::Url = toml["library"]["url"].as_str().unwrap().parse().unwrap();
    let shown = accord(&config, &["token", "show", "fragrances"]).await.stdout;
    let token = shown.trim().rsplit('/').next().unwrap().to_owned();
    let log = demo.end().await;
    for secret in [library.password().unwrap(), &token] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.ends_with("Stopped; nothing is left behind.\n"), "{log}");
    assert!(!config.exists());
}

#[tokio::test]
async fn the_demo_survives_a_cms_that_misbehaves() {
    let faults = "drop=30%,duplicate=20%,malformed=10%,forget=2s";
    let mut demo = Demo::start(&["--rows", "10", "--every", "50ms", "--faults", faults]);
    demo.tells(&[
        "(a fault): the library is not told",
        "like that already: unchanged",
        "aside, in quarantine entry",
        "CMS forgets its listener",
        "Accord registers with the CMS again",
        "library catches up on",
    ])
    .await;
    demo.end().await;
}

#[tokio::test]
async fn what_the_cms_did_not_tell_is_found_by_comparison_and_repaired() {
    let mut demo = Demo::start(&["--rows", "500", "--every", "200ms", "--faults", "drop=30%"]);
    demo.tells(&[
        "(a fault): the library is not told",
        "library was not told of #",
        ", and is repaired: ",
        "Accord compares both databases: ",
        " of 500 rows differed, ",
    ])
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let runs = format!("{}/api/v1/reconciliations?state=repaired", demo.library);
    let runs: Value = client.get(runs).send().await.unwrap().json().await.unwrap();
    assert_eq!(runs["data"][0]["state"], "repaired", "{runs}");
    demo.end().await;
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_told_by_its_flag() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let nowhere = Path::new("no-such.toml");
    for (flag, other) in [("--port", "--cms-port"), ("--cms-port", "--port")] {
        let free = free_port().to_string();
        let told = accord(nowhere, &["demo", flag, &taken, other, &free]).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(told.stderr.contains(&format!("choose another port with {flag}")), "{told:?}");
        let told = accord(nowhere, &["demo", flag, "0"]).await;
        assert_eq!(told.code, Some(2), "{told:?}");
        assert!(told.stderr.contains(&format!("'{flag} <")), "{told:?}");
    }
}

#[tokio::test]
async fn a_demo_that_is_stopped_while_it_starts_leaves_nothing() {
    for after in [50, 200, 400, 600, 800] {
        let mut demo = Demo::start(&["--rows", "10"]);
        tokio::time::sleep(Duration::from_millis(after)).await;
        let servers = children(demo.process.pid());
        demo.process.terminate();
        let status = tokio::time::timeout(SOON, demo.process.wait()).await.expect("it ends");
        let log = demo.process.log();
        // Before it could listen for signals, the signal itself has ended it.
        assert!(status.success() || servers.is_empty(), "{status} after {after} ms: {log}");
        // They die with their owner, yet after it.
        eventually(SOON, "the servers are gone", async || {
            let left: Vec<_> =
                servers.iter().filter(|server| Path::new(&format!("/proc/{server}")).exists()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn data_that_is_to_be_kept_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    // The embedded server may run as another user.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let kept = directory.path().join("demo");
    let flags = ["--rows", "10", "--every", "100ms", "--data-dir", kept.to_str().unwrap()];

    let mut first = Demo::start(&flags);
    first.tells(&["ledger #3"]).await;
    let log = first.end().await;
    assert!(log.ends_with(&format!("Stopped; the data is kept in {}.\n", kept.display())), "{log}");

    let mut second = Demo::start(&flags);
    second.tells(&["library follows"]).await;
    let log = second.end().await;
    assert!(log.contains("10 fragrances in each"), "{log}");
    assert!(!log.contains("ledger #1\n"), "the ledger goes on: {log}");
}
