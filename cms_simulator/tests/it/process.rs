//! The simulator as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::postgres::Database;

fn start(address: &str, database_url: &str, warm_up: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cms_simulator"))
        .args(["--listen", address, "--every", "50ms", "--warm-up", warm_up])
        .env("DATABASE_URL", database_url)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn connections_are_refused_until_the_warm_up_is_over() {
    let address = free_address().await;
    let _process = start(&address, "postgres://nobody@127.0.0.1:1/nothing", "1s");
    assert!(TcpStream::connect(&address).await.is_err());
    let accepted = async {
        while TcpStream::connect(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), accepted).await.unwrap();
}

#[tokio::test]
async fn it_edits_logs_json_and_stops_cleanly_on_sigterm() {
    let database = Database::with_fragrances(100).await;
    let url = database.url().replace("postgres@", "postgres:s3cret@");
    let mut process = start(&free_address().await, &url, "0s");
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("edited fragrance")) {
        lines.push(
            tokio::time::timeout(Duration::from_secs(20), log.next_line()).await.unwrap().unwrap().unwrap(),
        );
    }
    Command::new("kill").arg(process.id().unwrap().to_string()).status().await.unwrap();
    while let Some(line) = log.next_line().await.unwrap() {
        lines.push(line);
    }
    assert!(process.wait().await.unwrap().success());
    for line in &lines {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
        assert!(!line.contains("s3cret"), "the password is logged: {line}");
    }
    assert!(lines.last().unwrap().contains("stopped"), "{lines:?}");
}

#[tokio::test]
async fn a_port_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let process = start(&address, "postgres://nobody@127.0.0.1:1/nothing", "0s");
    let output = process.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains(&format!("cannot listen on {address}")) && message.contains("--listen"),
        "{message}"
    );
}
