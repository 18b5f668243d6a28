//! `accord doctor`: looks at everything that Accord stands on, and says how to mend what is wrong.
//!
//! Promises: changes nothing and registers nowhere; no check waits long, and one that fails does not keep the
//! others from being made where they still can; no password is shown. Must not know: what is done when
//! everything is well.

mod database;
mod network;
mod pipeline;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{pretty, print};
use crate::config::Config;
use crate::prose::{self, Paint};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check and what came of it.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    verdict: Verdict,
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default, Serialize)]
struct Findings {
    checks: Vec<Finding>,
}

impl Findings {
    fn ok(&mut self, check: &str, message: impl Into<String>) {
        self.add(check, Verdict::Ok, message.into(), None);
    }

    fn warn(&mut self, check: &str, message: impl Into<String>, way_out: impl Into<String>) {
        self.add(check, Verdict::Warn, message.into(), Some(way_out.into()));
    }

    fn fail(&mut self, check: &str, message: impl Into<String>, way_out: impl Into<String>) {
        self.add(check, Verdict::Fail, message.into(), Some(way_out.into()));
    }

    /// A check that an error of the database kept from being made.
    fn broken(&mut self, check: &str, error: &sqlx::Error) {
        self.fail(
            check,
            format!("cannot be told: {error}"),
            "see the server's log; is the connection cut in between?",
        );
    }

    fn add(&mut self, check: &str, verdict: Verdict, message: String, way_out: Option<String>) {
        self.checks.push(Finding { check: check.to_owned(), verdict, message, way_out });
    }

    fn has_failed(&self) -> bool {
        self.checks.iter().any(|finding| finding.verdict == Verdict::Fail)
    }

    fn readable(&self, paint: Paint) -> String {
        let width = self.checks.iter().map(|finding| finding.check.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for Finding { check, verdict, message, way_out } in &self.checks {
            let word = match verdict {
                Verdict::Ok => paint.good("ok  "),
                Verdict::Warn => paint.warn("WARN"),
                Verdict::Fail => paint.bad("FAIL"),
            };
            let _ = writeln!(text, "{word}  {check:<width$}  {}", prose::safe(message));
            if let Some(way_out) = way_out {
                let _ = writeln!(text, "      {:<width$}  → {}", "", prose::safe(way_out));
            }
        }
        text
    }
}

/// Prints what was found. Exit codes: 0 nothing failed, 1 something did.
pub async fn run(file: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    match Config::load(file) {
        Ok(config) => examine(&config, &mut findings).await,
        Err(error) => {
            findings.fail("configuration", format!("{:#}", anyhow::Error::new(error)), CONFIGURATION);
        }
    }
    print(&if json { pretty(&findings)? } else { findings.readable(Paint::stdout()) })?;
    Ok(if findings.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

const CONFIGURATION: &str =
    "correct the file or the ACCORD__… variable that is named; --config FILE reads another file";

async fn examine(config: &Config, findings: &mut Findings) {
    findings.ok(
        "configuration",
        format!("{} configured", prose::count(config.pipeline.len() as u64, "pipeline")),
    );
    for warning in config.warnings() {
        let (what, way_out) = warning.split_once(": ").unwrap_or((&warning, "see the README"));
        findings.warn("configuration", what, way_out);
    }
    let mut library = database::examine(config, findings).await;
    for (name, pipeline) in &config.pipeline {
        pipeline::examine(name, pipeline, library.as_mut(), findings).await;
    }
    network::port(config, findings).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_each_trouble_has_a_way_out() {
        let mut findings = Findings::default();
        findings.ok("configuration", "1 pipeline configured");
        findings.warn("clock", "3.0 s behind the database's", "synchronize it");
        assert!(!findings.has_failed());
        findings.fail("library", "connection refused", "start Postgres");
        assert!(findings.has_failed());
        insta::assert_snapshot!(findings.readable(Paint::plain()), @"
        ok    configuration  1 pipeline configured
        WARN  clock          3.0 s behind the database's
                             → synchronize it
        FAIL  library        connection refused
                             → start Postgres
        ");
    }
}
