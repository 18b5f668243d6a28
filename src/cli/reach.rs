//! How an operator's commands reach the library's database and a running server.
//!
//! Promises: waits for neither longer than a person would; no error holds a password. Must not know: what is
//! asked.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::config::{Config, SecretUrl};
use crate::http::health::Report;
use crate::library::{self, session};
use crate::prose;

/// How long a server on this machine may take to answer.
pub(super) const SERVER_PATIENCE: Duration = Duration::from_secs(2);

/// A connection that can only read.
pub(super) async fn library(config: &Config) -> anyhow::Result<PgConnection> {
    let options = config.library.url.expose().parse().context("library.url cannot be used")?;
    session::connect_reader(&options, session::PATIENCE).await.with_context(|| {
        format!("cannot reach the library's database at {}; see `accord doctor`", config.library.url)
    })
}

/// The same, where schema `accord` is known to be there.
pub(super) async fn prepared_library(config: &Config) -> anyhow::Result<PgConnection> {
    let mut conn = library(config).await?;
    let there: bool =
        sqlx::query_scalar("select to_regclass('accord.pipeline') is not null").fetch_one(&mut conn).await?;
    ensure!(there, "the library has no schema `accord` yet: run `accord serve`, or `accord migrate`");
    Ok(conn)
}

/// Brings schema `accord` up to date, as `serve` does at its start; true when there was none.
pub(super) async fn prepare(connect: &PgConnectOptions, url: &SecretUrl) -> anyhow::Result<bool> {
    let mut conn = session::connect_writer(connect)
        .await
        .with_context(|| format!("cannot reach the library's database at {url}"))?;
    let is_new =
        sqlx::query_scalar("select to_regclass('accord.pipeline') is null").fetch_one(&mut conn).await?;
    library::migrate(&mut conn)
        .await
        .context("cannot bring schema `accord` up to date; see `accord doctor`")?;
    conn.close().await?;
    Ok(is_new)
}

/// Tells on stderr what there is to know beside the answer.
pub(super) fn tell(notice: Option<&str>) {
    if let Some(notice) = notice {
        eprintln!("Note: {}", prose::safe(notice));
    }
}

/// Where a server with this configuration answers this machine.
pub(super) fn server_url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// What a running server answers on `/healthz` or `/readyz`, or in words why there is no such answer.
pub(super) async fn ask_server(config: &Config, path: &str) -> Result<(StatusCode, Report), String> {
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().timeout(SERVER_PATIENCE).build()?;
        let mut request = client.get(format!("{}{path}", server_url(config.http.listen)));
        if let Some(token) = &config.http.admin_token {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = request.send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?))
    };
    let (status, body) = ask.await.map_err(|error| reason(&error))?;
    let report = serde_json::from_slice(&body).map_err(|_| "what answers is no Accord".to_owned())?;
    Ok((status, report))
}

/// The innermost cause says what happened; the layers above it only that it did.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
