//! What we have to say about a document, each thing with its place.
//!
//! Promises: a finding names its rule (a stable word), its JSON Pointer, its line and its column. Must not
//! know: how findings are come by.

use std::fmt;

use serde::Serialize;

use super::positions::Node;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document cannot be used as it is.
    Error,
    /// Something that the document asks for does not happen, or is easily misread.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One thing to say about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A stable word: `type`, `not_executed`, `must_be_between`, …
    pub rule: &'static str,
    /// JSON Pointer into the document; empty for the whole.
    pub path: String,
    /// Line in the source, from 1.
    pub line: u64,
    /// Column in the source, from 1.
    pub column: u64,
    /// The sentence for a person.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, severity, rule, message, .. } = self;
        write!(f, "{line}:{column} {severity} {rule} {message}")
    }
}

/// Gathers findings on one document.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    tree: &'a Node,
    list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn on(tree: &'a Node) -> Self {
        Self { tree, list: Vec::new() }
    }

    /// The document that the findings are about.
    pub(crate) fn tree(&self) -> &'a Node {
        self.tree
    }

    pub(crate) fn error(&mut self, path: &str, rule: &'static str, message: impl Into<String>) {
        self.add(Severity::Error, path, rule, message.into());
    }

    pub(crate) fn warning(&mut self, path: &str, rule: &'static str, message: impl Into<String>) {
        self.add(Severity::Warning, path, rule, message.into());
    }

    pub(crate) fn info(&mut self, path: &str, rule: &'static str, message: impl Into<String>) {
        self.add(Severity::Info, path, rule, message.into());
    }

    /// Whether the document cannot be used.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The findings in the order of the document.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        let order = |f: &Finding| (f.line, f.column, f.severity, f.path.clone(), f.message.clone());
        self.list.sort_by_cached_key(order);
        // What the document says for all its tables is read once for each of them.
        self.list.dedup();
        self.list
    }

    fn add(&mut self, severity: Severity, path: &str, rule: &'static str, message: String) {
        let place = self.tree.position(path);
        let path = path.to_owned();
        self.list.push(Finding { severity, rule, path, line: place.line, column: place.column, message });
    }
}
