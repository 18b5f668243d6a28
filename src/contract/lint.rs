//! What Accord makes of a document, before anything depends on it.
//!
//! Promises: whatever the document asks for and Accord does not do is named, with its place. Words that only
//! tell a reader something (names, tags, team, price, …) ask for nothing. Must not know: how findings are shown.

use serde::Serialize;
use serde_json::json;
use serde_saphyr::UserMessageFormatter;

use super::compile::{self, ContractError, Parsed};
use super::document::{LogicalType, Object, Property, Quality};
use super::finding::{Finding, Findings, Severity};
use super::rule::{self, Measure};
use super::{Contract, schema};

/// Everything there is to say about one document.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the document is from.
    pub origin: String,
    /// The findings, in the order of the document.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the document cannot be used as it is.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// How many findings matter that much.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Reads a document, compiles each of its tables, and says what will not happen.
pub fn lint(source: &str, origin: &str) -> Report {
    let findings = match Parsed::read(source, origin) {
        Ok(parsed) => judge(&parsed),
        Err(error) => vec![unreadable(&error)],
    };
    Report { origin: origin.to_owned(), findings }
}

/// The one finding on a text that is no document.
fn unreadable(error: &ContractError) -> Finding {
    let (line, column, rule, path) = match error {
        ContractError::Syntax { line, column, .. } => (*line, *column, "syntax", ""),
        ContractError::Version { line, column, .. } => (*line, *column, "version", "/apiVersion"),
        _ => (1, 1, "syntax", ""),
    };
    // The finding has the place already; the sentence need not repeat it.
    let text = match error {
        ContractError::Syntax { source, .. } => source.render_with_formatter(&UserMessageFormatter),
        other => other.to_string(),
    };
    let text = text.trim_end_matches(&format!(" at line {line}, column {column}"));
    let message = text.split_once(&format!(":{line}:{column}: ")).map_or(text, |(_, message)| message);
    let (path, message) = (path.to_owned(), message.to_owned());
    Finding { severity: Severity::Error, rule, path, line, column, message }
}

fn judge(parsed: &Parsed<'_>) -> Vec<Finding> {
    let mut findings = Findings::on(&parsed.tree);
    if parsed.document.schema.is_empty() {
        compile::no_table(&mut findings);
    }
    about(parsed, &mut findings);
    for (index, object) in parsed.document.schema.iter().enumerate() {
        let contract = compile::compile(parsed, index, &mut findings);
        let path = format!("/schema/{index}");
        table(object, &path, &mut findings);
        if let Some(contract) = contract {
            unmeasured(&contract, &mut findings);
            patterns(&contract, &mut findings);
            examples(object, &contract, &path, &mut findings);
        }
    }
    findings.into_sorted()
}

/// What the document says beside its tables.
fn about(parsed: &Parsed<'_>, findings: &mut Findings<'_>) {
    let document = &parsed.document;
    if document.status.is_none() && !document.api_version.starts_with("v3.2.") {
        findings.warning("", "standard", "the standard asks for a `status`, such as draft or active");
    }
    if !document.roles.is_empty() {
        findings.info("/roles", "information", "roles grant nothing: the database's own grants count");
    }
    for (index, server) in document.servers.iter().enumerate() {
        let path = format!("/servers/{index}");
        findings.info(
            &path,
            "information",
            "servers are not connected to: accord.toml says where the library is",
        );
        let unqualified = document
            .schema
            .iter()
            .find(|object| object.physical_name.as_deref().is_none_or(|name| !name.contains('.')));
        if let (Some(schema), Some(object)) =
            (server.schema.as_deref().filter(|s| *s != "public"), unqualified)
        {
            let table = object.physical_name.as_ref().unwrap_or(&object.name);
            let message = format!(
                "schema `{schema}` is not used: write physicalName `{schema}.{table}` if table `{table}` is there"
            );
            findings.warning(&format!("{path}/schema"), "not_executed", message);
        }
    }
    lookalikes(findings);
}

/// Custom properties that seem to be meant for us, but are not spelled so.
fn lookalikes(findings: &mut Findings<'_>) {
    findings.tree().walk("", &mut |path, node| {
        let is_property = path.ends_with("/property") && path.contains("/customProperties/");
        let name = node
            .text()
            .filter(|text| text.to_ascii_lowercase().starts_with("accord") && !text.starts_with("accord."));
        if let Some(name) = name.filter(|_| is_property) {
            let message =
                format!("`{name}` is left to other tools: Accord's own properties begin with `accord.`");
            findings.warning(path, "setting", message);
        }
    });
}

fn table(object: &Object, path: &str, findings: &mut Findings<'_>) {
    if let Some(kind) = object.physical_type.as_deref().filter(|kind| !kind.eq_ignore_ascii_case("table")) {
        let message = format!("physicalType `{kind}` is not looked at: Accord writes to it as to a table");
        findings.warning(&format!("{path}/physicalType"), "not_executed", message);
    }
    ranges(&object.quality, path, findings);
    for (index, property) in object.properties.iter().enumerate() {
        column(property, &format!("{path}/properties/{index}"), findings);
    }
}

fn column(property: &Property, path: &str, findings: &mut Findings<'_>) {
    if property.unique && !property.primary_key {
        let message = "uniqueness is the database's to enforce, by a unique constraint: the gate sees one record at a time, and `accord check` counts what repeats";
        findings.info(&format!("{path}/unique"), "unique", message);
    }
    if property.partitioned {
        let message = "partitioning is the table's own affair: Accord neither creates nor checks it";
        findings.info(&format!("{path}/partitioned"), "information", message);
    }
    if let Some(name) = &property.encrypted_name {
        let message =
            format!("nothing is encrypted: values are written to the column as they come, not to `{name}`");
        findings.warning(&format!("{path}/encryptedName"), "not_executed", message);
    }
    part(property, path, findings);
    for (nested, path) in property.parts(path) {
        within(nested, &path, findings);
    }
}

/// A part of a structured value, and its parts.
fn within(property: &Property, path: &str, findings: &mut Findings<'_>) {
    if let Some(name) = property.physical_name.as_ref().filter(|name| Some(*name) != property.name.as_ref()) {
        let message = format!("values keep their field names within JSON: `{name}` is not used");
        findings.warning(&format!("{path}/physicalName"), "not_executed", message);
    }
    part(property, path, findings);
    for (nested, path) in property.parts(path) {
        within(nested, &path, findings);
    }
}

/// What is said alike of a column and of a part of one.
fn part(property: &Property, path: &str, findings: &mut Findings<'_>) {
    let transforms = [
        ("transformLogic", property.transform_logic.is_some()),
        ("transformSourceObjects", !property.transform_source_objects.is_empty()),
    ];
    for (word, _) in transforms.into_iter().filter(|(_, is_said)| *is_said) {
        let message = format!("{word} tells where values come from: Accord does not run it");
        findings.info(&format!("{path}/{word}"), "information", message);
    }
    let pattern = property.logical_type_options.pattern.as_deref();
    if pattern.is_some_and(|pattern| !pattern.starts_with('^') || !pattern.ends_with('$')) {
        let message =
            "the pattern may match anywhere in the text: begin it with ^ and end it with $ to mean all of it";
        findings.info(&format!("{path}/logicalTypeOptions/pattern"), "pattern", message);
    }
    ranges(&property.quality, path, findings);
}

/// Bounds that are easily misread.
fn ranges(rules: &[Quality], path: &str, findings: &mut Findings<'_>) {
    for (index, rule) in rules.iter().enumerate() {
        let ranges =
            [("mustBeBetween", &rule.must_be_between), ("mustNotBeBetween", &rule.must_not_be_between)];
        for (word, bounds) in ranges {
            if let Some([least, most]) = bounds {
                let message = format!(
                    "the standard leaves {least} and {most} themselves out, its best-known tool takes them in, and so do we: say which with mustBeGreaterThan/mustBeGreaterOrEqualTo and mustBeLessThan/mustBeLessOrEqualTo"
                );
                findings.warning(&format!("{path}/quality/{index}/{word}"), "must_be_between", message);
            }
        }
    }
}

/// The rules that `accord check` cannot execute.
fn unmeasured(contract: &Contract, findings: &mut Findings<'_>) {
    for rule in &contract.rules {
        let Measure::Nothing { reason, .. } = &rule.measure else { continue };
        let message = format!("rule `{}` is not executed: {reason}", rule.id);
        // What the gate judges, record by record, is executed.
        if rule.path.contains("/logicalTypeOptions/") {
            continue;
        }
        match reason.as_str() {
            rule::NEEDS_METRIC => findings.error(&rule.path, "quality", message),
            rule::FOR_PEOPLE => findings.info(&rule.path, "information", message),
            _ => findings.warning(&rule.path, "not_executed", message),
        }
    }
}

/// Patterns of `quality:` rules that the database could not read. (Those of `logicalTypeOptions` the gate reads, too:
/// without them there is no contract.)
fn patterns(contract: &Contract, findings: &mut Findings<'_>) {
    /// What only Postgres knows.
    const ITS_OWN: [&str; 7] = ["***", r"\m", r"\M", r"\y", r"\Y", "[[:<:]]", "[[:>:]]"];
    for rule in contract.rules.iter().filter(|rule| rule.path.contains("/quality/")) {
        let Measure::Breaking { test, .. } = &rule.measure else { continue };
        for pattern in test.patterns() {
            let is_judged = !ITS_OWN.iter().any(|own| pattern.contains(own));
            if is_judged && schema::compile(&json!({ "pattern": pattern })).is_err() {
                let path = format!("{}/arguments/pattern", rule.path);
                findings.error(&path, "pattern", format!("`{pattern}` is no regular expression"));
            }
        }
    }
}

/// Examples that the contract itself would refuse.
fn examples(object: &Object, contract: &Contract, path: &str, findings: &mut Findings<'_>) {
    for (index, property) in object.properties.iter().enumerate() {
        // An example of a structured value is usually written as text.
        let is_plain = !matches!(
            property.logical_type,
            None | Some(LogicalType::Object | LogicalType::Array | LogicalType::Map)
        );
        let field = property.name.as_deref().filter(|_| is_plain).unwrap_or_default();
        let Some(schema) = contract.full_schema["properties"].get(field) else { continue };
        let Ok(validator) = schema::compile(schema) else { continue };
        for (number, example) in property.examples.iter().enumerate() {
            if let Err(error) = validator.validate(example) {
                let path = format!("{path}/properties/{index}/examples/{number}");
                findings.warning(&path, "example", format!("the contract refuses its own example: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
