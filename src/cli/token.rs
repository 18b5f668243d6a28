//! `accord token …`: the secret at the end of a webhook's URL.
//!
//! Promises: a token is printed only when it is asked for by name. Must not know: how calls are let in.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::output::{pretty, print};
use super::reach;
use crate::config::{Auth, Config, Webhook};
use crate::library::session;
use crate::source::token::Tokens;

/// The secret at the end of a webhook's URL.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a new token. The old one is accepted for another week.
    Rotate {
        /// The pipeline's name.
        pipeline: String,
    },
    /// Print the webhook's whole URL, for a sender that Accord does not register with.
    Show {
        /// The pipeline's name.
        pipeline: String,
    },
}

/// How often replicas learn of each other's tokens, where no keep-alive says otherwise.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Does what the command says.
pub async fn run(command: TokenCommand, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Rotate { pipeline } => rotate(&pipeline, config, json).await,
        TokenCommand::Show { pipeline } => show(&pipeline, config, json).await,
    }
}

async fn rotate(name: &str, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let webhook = webhook(name, config)?;
    tokens(name, webhook, config).await?.rotate().await?;
    let settled = settling(webhook).as_secs();
    if json {
        let answer = serde_json::json!({ "pipeline": name, "used_after_seconds": settled });
        print(&pretty(&answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let next = match &webhook.register {
        Some(register) => format!(
            "Accord tells the sender ({}) by itself, at the first registration after every replica has had \
             {settled} s to learn it.",
            register.url
        ),
        None => format!(
            "In {settled} s every replica knows it: then give the sender what `accord token show {name}` prints."
        ),
    };
    print(&format!("A new token is made. {next}\nThe old one is accepted for another week.\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(name: &str, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let webhook = webhook(name, config)?;
    let tokens = tokens(name, webhook, config).await?;
    let base = match &config.http.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => reach::server_url(config.http.listen),
    };
    let url = format!("{base}{}/{}", webhook.path, tokens.current().expose());
    eprintln!("Whoever knows this URL may change the library: give it to the sender alone.");
    print(&if json { pretty(&serde_json::json!({ "url": url }))? } else { format!("{url}\n") })?;
    Ok(ExitCode::SUCCESS)
}

/// The pipeline's webhook, if its callers have to show a token.
fn webhook<'a>(name: &str, config: &'a Config) -> anyhow::Result<&'a Webhook> {
    let names = || config.pipeline.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let pipeline = config
        .pipeline
        .get(name)
        .with_context(|| format!("no pipeline `{name}` is configured; there is: {}", names()))?;
    let webhook = pipeline.source.webhook.as_ref();
    let webhook = webhook.with_context(|| format!("pipeline `{name}` has no webhook, and so no token"))?;
    ensure!(
        webhook.auth == Auth::Token,
        "pipeline `{name}` asks its callers for no token: pipeline.{name}.source.webhook.auth is \"none\""
    );
    Ok(webhook)
}

async fn tokens(name: &str, webhook: &Webhook, config: &Config) -> anyhow::Result<Tokens> {
    let mut conn = reach::prepared_library(config).await?;
    let id: Option<i16> = sqlx::query_scalar("select id from accord.pipeline where name = $1")
        .bind(name)
        .fetch_optional(&mut conn)
        .await?;
    let id = id.with_context(|| {
        format!("pipeline `{name}` never ran against this library, and so has no token: run `accord serve`")
    })?;
    let options: PgConnectOptions = config.library.url.expose().parse()?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(session::PATIENCE)
        .connect_lazy_with(options.application_name("accord"));
    Ok(Tokens::load(pool, id, exchange(webhook)).await?)
}

fn exchange(webhook: &Webhook) -> Duration {
    webhook.register.as_ref().map_or(EXCHANGE, |register| register.keep_alive)
}

/// After this time, every replica has had two chances to learn a token.
fn settling(webhook: &Webhook) -> Duration {
    exchange(webhook) * 2
}
