//! `accord contract versions|show PIPELINE`: what was put in force, when and by whom.
//!
//! Promises: only reads. Must not know: how a contract is put in force.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Local;
use serde::Serialize;

use super::{pretty, print};
use crate::cli::reach;
use crate::config::Config;
use crate::library::activation::{self, Activation, Active};
use crate::prose::{self, Paint};

/// The answer as JSON.
#[derive(Serialize)]
struct Versions<'a> {
    pipeline: &'a str,
    /// The newest first: it is in force.
    activations: &'a [Activation],
}

/// Lists the activations of a pipeline.
pub(super) async fn list(pipeline: &str, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let mut conn = reach::prepared_library(config).await?;
    let activations = activation::list(&mut conn, pipeline).await?;
    if activations.is_empty() {
        return Err(none(pipeline));
    }
    let versions = Versions { pipeline, activations: &activations };
    print(&if json { pretty(&versions)? } else { readable(&activations, Paint::stdout()) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the document that is in force.
pub(super) async fn show(pipeline: &str, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    /// The document with what is known of it.
    #[derive(Serialize)]
    struct Shown<'a> {
        pipeline: &'a str,
        #[serde(flatten)]
        activation: &'a Activation,
        source: &'a str,
    }
    let mut conn = reach::prepared_library(config).await?;
    let active = activation::active(&mut conn, pipeline).await?;
    let Active { activation, source } = &active.with_context(|| none(pipeline))?;
    print(&if json { pretty(&Shown { pipeline, activation, source })? } else { source.clone() })?;
    Ok(ExitCode::SUCCESS)
}

fn none(pipeline: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "no contract was ever in force for a pipeline `{pipeline}`: its first `accord serve` puts the configured file \
         in force, or `accord contract activate {pipeline}` does"
    )
}

fn readable(activations: &[Activation], paint: Paint) -> String {
    let width = activations.iter().map(|a| a.version.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (n, activation) in activations.iter().enumerate() {
        let Activation { version, by, forced, reason, .. } = activation;
        let state = if n == 0 { paint.good("in force") } else { "        ".to_owned() };
        let at = activation.activated_at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S");
        let version = prose::safe(version);
        let hash = paint.dim(activation.short_hash());
        let _ = write!(text, "{state}  {version:<width$}  {hash}  {at}  by {}", prose::safe(by));
        if *forced {
            let _ = write!(text, ", {}", paint.warn("forced"));
        }
        if let Some(reason) = reason {
            let _ = write!(text, ": {}", prose::safe(reason));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn the_newest_is_in_force() {
        let now = Utc::now();
        let activation = |version: &str, forced, reason: Option<&str>| Activation {
            id: 1,
            contract: 1,
            name: "fragrances".to_owned(),
            version: version.to_owned(),
            hash: "0123456789abcdef".to_owned(),
            activated_at: now,
            by: "ada".to_owned(),
            forced,
            reason: reason.map(str::to_owned),
        };
        let activations = [
            activation("1.10.0", true, Some("they are cleaned up tonight")),
            activation("1.0.0", false, None),
        ];
        let time = now.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string();
        let text = readable(&activations, Paint::plain()).replace(&time, "TIME");
        insta::assert_snapshot!(text, @"
        in force  1.10.0  0123456789ab  TIME  by ada, forced: they are cleaned up tonight
                  1.0.0   0123456789ab  TIME  by ada
        ");
    }
}
