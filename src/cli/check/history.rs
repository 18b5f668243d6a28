//! `accord check PIPELINE --history`: what earlier checks gave.
//!
//! Promises: reads only. Must not know: how a rule is measured.

use std::fmt::Write as _;
use std::process::ExitCode;

use chrono::{DateTime, Local, Utc};
use serde::Serialize;

use super::{CheckArgs, measured, word};
use crate::cli::output::{pretty, print};
use crate::cli::reach;
use crate::config::Config;
use crate::library::check_result::{self, Outcome, Run, Sample};
use crate::prose::{self, Paint};

/// The answer as JSON: either of the two lists.
#[derive(Serialize)]
struct History<'a> {
    pipeline: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Runs(Vec<Run>),
    Results(Vec<Sample>),
}

pub(super) async fn run(args: &CheckArgs, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let pipeline = args.pipeline.as_deref().unwrap_or_default();
    let mut conn = reach::prepared_library(config).await?;
    let rule = args.rule.as_deref();
    let what = match rule {
        None => What::Runs(check_result::latest(&mut conn, Some(pipeline), args.before, args.limit).await?),
        Some(rule) => {
            What::Results(check_result::of_rule(&mut conn, pipeline, rule, args.before, args.limit).await?)
        }
    };
    let history = History { pipeline, rule, what };
    print(&if json { pretty(&history)? } else { history.readable(Paint::stdout()) })?;
    Ok(ExitCode::SUCCESS)
}

impl History<'_> {
    fn readable(&self, paint: Paint) -> String {
        let mut text = String::new();
        match &self.what {
            What::Runs(runs) => {
                for run in runs {
                    let Run { id, state, passed, warned, failed, not_executed, .. } = run;
                    let counts = format!(
                        "{passed} passed, {warned} warned, {failed} failed, {not_executed} not executed"
                    );
                    let said = run.error.as_deref().map_or(counts, prose::safe);
                    let _ = writeln!(text, "{id:<6} {}  {state:<8} {said}", instant(Some(run.started_at)));
                }
            }
            What::Results(samples) => {
                for sample in samples {
                    let Sample { run, value, unit, threshold, rows, outcome, .. } = sample;
                    let value = match outcome {
                        Outcome::NotExecuted => String::new(),
                        _ => measured(value, unit, threshold, *rows),
                    };
                    let line = format!(
                        "{run:<6} {}  {} {value}",
                        instant(sample.finished_at),
                        word(*outcome, paint)
                    );
                    let _ = writeln!(text, "{}", line.trim_end());
                }
            }
        }
        if text.is_empty() {
            let of = self.rule.map(|rule| format!(" that measured rule `{}`", prose::safe(rule)));
            let pipeline = prose::safe(self.pipeline);
            return format!("No check of `{pipeline}`{} is kept.\n", of.unwrap_or_default());
        }
        text
    }
}

fn instant(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "?".to_owned(), |at| at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string())
}
