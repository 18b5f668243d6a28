//! `cms_simulator`: the simulated CMS as a process of its own.

mod cli;

use std::io::IsTerminal;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cli::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    log_to_stderr();
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    tracing::info!(
        "warming up for {}, then editing a fragrance every {}",
        humantime::format_duration(args.warm_up),
        args.every
    );
    cms_simulator::warm_up_and_run(args.listen, args.warm_up, args.config(), None, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Pretty for a person at a terminal, JSON for everything else. `RUST_LOG` overrides the level.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
}

/// SIGTERM and Ctrl-C stop in good order, which takes two seconds at most.
fn stop_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}
