//! reladiff, from PyPI, in a virtual environment of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use serde_json::Value;

const PACKAGE: &str = "reladiff[postgresql]==0.6.0";

/// An installed reladiff.
pub(crate) struct Reladiff(PathBuf);

impl Reladiff {
    /// Installs it where it is not there yet; without Python or PyPI there is none, and that is said.
    pub(crate) fn install(directory: &Path) -> Option<Self> {
        let environment = directory.join("reladiff");
        let program = environment.join("bin/reladiff");
        if !program.exists() {
            let ran = |command: &mut Command| command.status().is_ok_and(|status| status.success());
            let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&environment))
                && ran(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
            if !made {
                eprintln!(
                    "SKIPPED: reladiff cannot be installed here (it takes python3 with venv, and PyPI)"
                );
                return None;
            }
        }
        Some(Self(program))
    }

    /// The keys of rows that it says differ.
    pub(crate) async fn diff(&self, source: &str, target: &str) -> anyhow::Result<BTreeSet<String>> {
        let url = |url: &str| url.replacen("postgres://", "postgresql://", 1);
        let mut command = tokio::process::Command::new(&self.0);
        command.args([&url(source), "fragrances", &url(target), "fragrances", "-k", "fragrance_id"]);
        for column in ["name", "description", "cost", "forbidden"] {
            command.args(["-c", column]);
        }
        // It folds its lines as if for a terminal.
        command.env("COLUMNS", "100000");
        let output = command.args(["-j", "2", "--json"]).kill_on_drop(true).output().await?;
        let error = String::from_utf8_lossy(&output.stderr);
        // It ends with 0 also when it gave up.
        ensure!(output.status.success() && !error.contains("Error"), "reladiff failed: {error}");
        let text = String::from_utf8_lossy(&output.stdout);
        let keys = text.lines().map(|line| -> anyhow::Result<String> {
            let row: Value = serde_json::from_str(line)?;
            let key = &row[1][0];
            Ok(key.as_str().map_or_else(|| key.to_string(), ToOwned::to_owned))
        });
        keys.collect()
    }
}
