//! What a command prints: JSON for programs, aligned lines for people.
//!
//! Promises: results go to stdout; a reader that had enough is no error. Must not know: what is printed.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

/// Writes to stdout; a reader that had enough is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// The value as JSON, indented, with a newline at the end.
pub(super) fn pretty(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// Lines of a name and what is to be said about it, aligned.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// One more line.
    pub(super) fn add(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "{name:<16} {text}");
    }

    /// A line for itself, after an empty one.
    pub(super) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "\n{text}");
    }

    /// All of them.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}
