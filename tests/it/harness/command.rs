//! Commands that end by themselves.

use std::path::Path;
use std::process::Command;

use super::process::without_our_configuration;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Told {
    /// Its stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs `accord` with this configuration file to its end.
pub(crate) async fn accord(config: &Path, arguments: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord"));
    command.arg("--config").arg(config).args(arguments);
    without_our_configuration(&mut command);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("the accord program");
    let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
    Told { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
