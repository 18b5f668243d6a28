//! What the process tells about itself: its log, here, and its numbers, in [`metrics`].
//!
//! Promises: log goes to stderr, for stdout is for results; text for a person at a terminal, JSON for a
//! machine, unless configured otherwise; a panic is one log event like any other. Must not know: what is logged.

pub mod metrics;

use std::fmt;
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// The environment variable that overrides the configured filter.
pub const FILTER_VARIABLE: &str = "ACCORD_LOG";

/// Starts logging for the whole process, once. `ACCORD_LOG` wins over the configured filter.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    // A filter in front of everything: what it turns away costs next to nothing.
    tracing_subscriber::registry().with(filter(log)?).with(lines(log.format)).try_init()?;
    log_panics();
    Ok(())
}

/// As [`init`], beside a listener of the caller's own, which the filter does not concern.
pub fn init_beside<L>(log: &Log, listener: L) -> Result<(), TelemetryError>
where
    L: Layer<Registry> + Send + Sync,
{
    let lines = lines(log.format).with_filter(filter(log)?);
    tracing_subscriber::registry().with(listener).with(lines).try_init()?;
    log_panics();
    Ok(())
}

fn filter(log: &Log) -> Result<EnvFilter, TelemetryError> {
    let overridden = std::env::var(FILTER_VARIABLE).ok();
    parse(overridden.as_deref().unwrap_or(&log.filter))
}

/// Lines on stderr, in colour only where a person sees them.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let at_terminal = std::io::stderr().is_terminal();
    let pretty = match format {
        LogFormat::Auto => at_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if pretty {
        lines.with_timer(WallClock).with_target(false).with_ansi(at_terminal).boxed()
    } else {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    }
}

fn parse(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        // The timer tells of its own wheels at `info`; a directive for it that follows wins.
        .parse(format!("tokio_cron_scheduler=warn,{directives}"))
        .map_err(|source| TelemetryError::Filter { directives: directives.to_owned(), source })
}

/// Makes a panic a log event instead of bare text in between.
///
/// This is the one place where a panic is logged: whoever catches it later stays silent.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        tracing::error!(place, thread, "panicked: {message}");
    }));
}

/// Logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`{directives}` is no log filter: write for example `info` or `warn,accord=debug`")]
    Filter {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Somebody else logs for this process already.
    #[error("logging was started already: start it once, in main")]
    Started(#[from] TryInitError),
}

/// The time of day where the person at the terminal is.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", chrono::Local::now().format("%H:%M:%S%.3f"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = parse("accord=loud").unwrap_err().to_string();
        assert!(error.contains("`accord=loud`"), "{error}");
        assert!(parse(&Log::default().filter).is_ok());
    }
}
