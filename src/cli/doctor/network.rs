//! The ports on both sides: our own, and the sender's.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpListener;
use url::Url;

use super::Findings;
use crate::cli::reach;
use crate::config::{Config, Register};

/// How long a sender may take to show that it is there.
const SENDER_PATIENCE: Duration = Duration::from_secs(3);

/// Whether we can listen, or do already.
pub(super) async fn port(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "http.listen";
    let listen = config.http.listen;
    match TcpListener::bind(listen).await {
        Ok(_) => findings.ok(CHECK, format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            match reach::ask_server(config, "/healthz").await {
                Ok((_, report)) if report.status == "ok" => {
                    findings.ok(CHECK, format!("{listen} is in use by a running Accord"));
                }
                _ => findings.fail(
                    CHECK,
                    format!("{listen} is in use by another program"),
                    "stop that program, or set http.listen to a free port",
                ),
            }
        }
        Err(error) => {
            let way_out = "set http.listen to an address of this machine and a port that this user may open";
            findings.fail(CHECK, format!("{listen}: {error}"), way_out);
        }
    }
}

/// Whether the sender answers at all. It is not registered with: that would take its listener away.
pub(super) async fn sender(name: &str, register: &Register, findings: &mut Findings) {
    let check = format!("{name}: sender");
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().timeout(SENDER_PATIENCE).build()?;
        let url = register.url.expose().parse().map(|url: Url| url.origin().ascii_serialization());
        let answer = client.get(url.unwrap_or_default()).send().await.map_err(reqwest::Error::without_url)?;
        Ok::<_, reqwest::Error>(answer.status())
    };
    match ask.await {
        Ok(status) => findings.ok(&check, format!("{} answers ({})", register.url, status.as_u16())),
        Err(error) => findings.fail(
            &check,
            format!("{} does not answer: {}", register.url, reach::reason(&error)),
            format!("start the sender, or correct pipeline.{name}.source.webhook.register.url"),
        ),
    }
}
