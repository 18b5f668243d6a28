//! `accord status`: how each pipeline is doing.
//!
//! Promises: works while no server runs, from what the library's database knows; with `--ready`, the exit code
//! is that of a container's health check. Must not know: how any of it came about.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use reqwest::StatusCode;
use serde::Serialize;
use sqlx::PgConnection;

use super::output::{Lines, pretty, print};
use super::reach;
use crate::config::Config;
use crate::http::health::Report;
use crate::http::status::{HealthState, PipelineView};
use crate::leader;
use crate::prose::{self, Paint};
use crate::reconcile::record::{Run, RunState};
use crate::standing::{self, Condition, Expected, Scope, Severity, Standing};

/// The flags of `accord status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only ask the server whether a change can commit now: exit 0 if so, else 1. For health checks.
    #[arg(long)]
    ready: bool,
}

/// All that `accord status` knows.
#[derive(Serialize)]
struct Status {
    library: String,
    server: Server,
    /// Whether some process leads.
    led: bool,
    /// The database's clock, by which the ages are told.
    at: DateTime<Utc>,
    pipelines: Vec<Known>,
}

/// What the database knows of a pipeline, and what its server adds to it.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    standing: Standing,
    /// What deserves an operator's eye, the most pressing first.
    conditions: Vec<Condition>,
}

/// The server of this configuration, if it runs.
#[derive(Serialize)]
struct Server {
    url: String,
    /// `ready` or `not_ready`; none when it does not answer.
    status: Option<String>,
    /// Why it does not answer.
    reason: Option<String>,
    pipelines: Vec<PipelineView>,
}

/// Prints how it is. Exit codes: 0 told (with `--ready`: ready), 1 otherwise.
pub async fn run(args: &StatusArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    if args.ready {
        return Ok(ready(config).await);
    }
    let server = Server::ask(config).await;
    let known = async {
        let mut conn = reach::prepared_library(config).await?;
        let (led, at) = sqlx::query_as(
            "select exists (select from pg_locks
                            where locktype = 'advisory' and granted and objsubid = 1
                              and database = (select oid from pg_database where datname = current_database())
                              and (classid::bigint << 32 | objid::bigint) = $1),
                    now()",
        )
        .bind(leader::LOCK)
        .fetch_one(&mut conn)
        .await?;
        Ok::<_, anyhow::Error>((led, at, known(&mut conn, config, &server).await?))
    };
    let (led, at, pipelines) = known.await.inspect_err(|_| {
        // The database may be away while the server still answers.
        if server.status.is_some() {
            eprintln!("{}", server.sentence());
            for pipeline in &server.pipelines {
                for Condition { kind, message, .. } in &pipeline.conditions {
                    eprintln!("{}: {}: {}", pipeline.name, kind.as_str(), prose::safe(message));
                }
            }
        }
    })?;
    let status = Status { library: config.library.url.to_string(), server, led, at, pipelines };
    print(&if json { pretty(&status)? } else { status.readable(Paint::stdout()) })?;
    Ok(ExitCode::SUCCESS)
}

/// All pipelines, by name.
async fn known(conn: &mut PgConnection, config: &Config, server: &Server) -> Result<Vec<Known>, sqlx::Error> {
    let (expected, others) = (Expected::of(config), Expected::default());
    let standings = standing::read_all(conn, &expected).await?;
    let known = standings.into_iter().map(|standing| {
        let mut conditions = standing.conditions(expected.get(&standing.name).unwrap_or(&others));
        // The server tells what only a process knows.
        let live = server.pipelines.iter().filter(|live| live.name == standing.name);
        for condition in live.flat_map(|live| &live.conditions) {
            let is_known = conditions.iter().any(|known| known.kind == condition.kind);
            if condition.kind.scope() == Scope::Process && !is_known {
                conditions.push(condition.clone());
            }
        }
        conditions.sort_by_key(|condition| condition.kind);
        Known { standing, conditions }
    });
    Ok(known.collect())
}

async fn ready(config: &Config) -> ExitCode {
    match reach::ask_server(config, "/readyz").await {
        Ok((StatusCode::OK, _)) => ExitCode::SUCCESS,
        Ok((status, report)) => {
            eprintln!("accord: {} ({status})", report.status);
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("accord: not ready: {reason}");
            ExitCode::FAILURE
        }
    }
}

impl Server {
    async fn ask(config: &Config) -> Self {
        let url = reach::server_url(config.http.listen);
        match reach::ask_server(config, "/readyz").await {
            Ok((_, Report { status, pipelines })) => {
                Self { url, status: Some(status), reason: None, pipelines: pipelines.unwrap_or_default() }
            }
            Err(reason) => Self { url, status: None, reason: Some(reason), pipelines: Vec::new() },
        }
    }

    fn sentence(&self) -> String {
        match (&self.status, &self.reason) {
            (Some(status), _) => format!("{} at {}", status.replace('_', " "), self.url),
            (None, Some(reason)) => format!(
                "does not answer at {} ({reason}); this is what the library's database knows",
                self.url
            ),
            (None, None) => format!("unknown at {}", self.url),
        }
    }
}

impl Status {
    fn readable(&self, paint: Paint) -> String {
        let mut lines = Lines::default();
        let sentence = self.server.sentence();
        let well = self.server.status.as_deref() == Some("ready");
        lines.add("server", &if well { paint.good(&sentence) } else { paint.warn(&sentence) });
        lines.add("library", &self.library);
        let led =
            if self.led { "a process leads" } else { "no process leads: nobody registers or cleans up" };
        lines.add("leader", led);
        if self.pipelines.is_empty() {
            lines.heading("No pipeline ever ran against this library.");
        }
        for Known { standing, conditions } in &self.pipelines {
            let name = paint.bold(&standing.name);
            if conditions.is_empty() {
                lines.heading(&format!("{name}: {}", paint.good("all is well")));
            } else {
                lines.heading(&name);
            }
            for condition in conditions {
                self.condition(&mut lines, condition, paint);
            }
            let live = self.server.pipelines.iter().find(|view| view.name == standing.name);
            self.pipeline(&mut lines, standing, live, paint);
        }
        lines.into_text()
    }

    fn condition(&self, lines: &mut Lines, condition: &Condition, paint: Paint) {
        let Condition { kind, severity, since, message } = condition;
        let text = format!("{}, {}: {}", kind.as_str(), self.age(*since), prose::safe(message));
        match severity {
            Severity::Error => lines.add("  error", &paint.bad(&text)),
            Severity::Warning => lines.add("  warning", &paint.warn(&text)),
            Severity::Info => lines.add("  info", &text),
        }
    }

    fn pipeline(&self, lines: &mut Lines, known: &Standing, live: Option<&PipelineView>, paint: Paint) {
        if let Some(live) = live {
            lines.add("  health", &health(live, paint));
        }
        lines.add("  table", &known.tables.join(", "));
        if let (Some(contract), Some(version)) = (&known.contract, &known.contract_version) {
            lines.add("  contract", &format!("{} {version}", prose::safe(contract)));
        }
        let last = known.last_change_at.map_or_else(String::new, |at| format!(", {}", self.age(at)));
        lines.add("  ledger", &format!("position {}{last}", known.position));
        let gap = known
            .gap
            .as_ref()
            .map(|gap| format!("since {} ({})", self.age(gap.since), gap.reasons.join(", ")));
        lines.add("  gap", &gap.map_or_else(|| "none".to_owned(), |gap| paint.warn(&gap)));
        lines.add("  quarantine", &quarantine(known, paint));
        if let Some(check) = &known.check {
            let counts = format!("{} passed, {} warned, {} failed", check.passed, check.warned, check.failed);
            let at = self.age(check.finished_at);
            lines.add("  checked", &format!("{at} (run {}): {counts}", check.run));
        }
        self.registration(lines, known, paint);
        if let Some(run) = &known.reconciliation {
            lines.add("  reconciled", &self.reconciliation(run, paint));
        }
    }

    fn reconciliation(&self, run: &Run, paint: Paint) -> String {
        let at = self.age(run.finished_at.or(run.started_at).unwrap_or(run.requested_at));
        let state = match run.state {
            RunState::Clean | RunState::Repaired => paint.good(run.state.as_str()),
            RunState::Queued | RunState::Running => run.state.as_str().to_owned(),
            RunState::Drift | RunState::Held | RunState::Inconclusive | RunState::Aborted => {
                paint.warn(run.state.as_str())
            }
        };
        let rows = match &run.counts {
            Some(counts) if counts.drifted() > 0 => {
                format!("; {} missing, {} stale, {} orphaned", counts.missing, counts.stale, counts.orphan)
            }
            _ => String::new(),
        };
        let why = run.reason.as_deref().map(|why| format!(": {}", prose::safe(why))).unwrap_or_default();
        format!("{state} {at} (run {}){rows}{why}", run.id)
    }

    fn registration(&self, lines: &mut Lines, known: &Standing, paint: Paint) {
        let known = &known.registration;
        let ever = [known.registered_since, known.last_success_at, known.last_error_at];
        if ever.iter().any(Option::is_some) {
            let registered = match (known.registered_since, known.last_success_at) {
                (Some(since), Some(last)) => {
                    format!("since {}, last confirmed {}", self.age(since), self.age(last))
                }
                (Some(since), None) => format!("since {}", self.age(since)),
                (None, Some(last)) => paint.warn(&format!("no; it last was {}", self.age(last))),
                (None, None) => paint.warn("no"),
            };
            lines.add("  registered", &registered);
        }
        if let (Some(at), Some(error)) = (known.last_error_at, &known.last_error) {
            lines.add("  last error", &format!("{}: {}", self.age(at), prose::safe(error)));
        }
        let last = known.last_webhook_at.map_or_else(|| "never".to_owned(), |at| self.age(at));
        lines.add("  last webhook", &last);
        if known.unauthorized > 0 {
            let calls = prose::count(known.unauthorized.unsigned_abs(), "call");
            lines.add("  turned away", &paint.warn(&format!("{calls} without a valid token")));
        }
    }

    fn age(&self, then: DateTime<Utc>) -> String {
        prose::age(then, self.at)
    }
}

fn quarantine(known: &Standing, paint: Paint) -> String {
    match known.quarantine.open {
        0 => "nothing open".to_owned(),
        open => paint.warn(&format!("{open} open")),
    }
}

fn health(view: &PipelineView, paint: Paint) -> String {
    let word = match view.health.state {
        HealthState::Ready => paint.good("ready"),
        HealthState::Starting => paint.warn("starting"),
        HealthState::Away => paint.bad("the library's database is away"),
        HealthState::Halted => paint.bad("halted"),
    };
    let reason = view.health.reason.as_deref().map(|reason| format!(": {}", prose::safe(reason)));
    let held = match view.held {
        0 => String::new(),
        held => format!(", {} held", prose::count(held as u64, "request")),
    };
    format!("{word}{}{held}, mode {}", reason.unwrap_or_default(), view.mode)
}
