//! What a preview comes to, in sentences.

use super::{Broken, Failing, Preview, Tally};
use crate::contract::{Contract, UnknownFields};
use crate::library::statement::TableSql;
use crate::prose::{count, threshold as threshold_of};

/// Why the contract is not to be put in force as things are.
pub(super) fn failures(preview: &Preview) -> Vec<String> {
    let mut failures: Vec<String> = preview
        .disagreements
        .iter()
        .map(|sentence| format!("table and contract disagree: {sentence}"))
        .collect();
    if let Some(rows) = &preview.rows {
        failures.extend(tally(rows, "row", "would now fail"));
    }
    if let Some(checks) = &preview.checks {
        failures.extend(checks.would_fail.iter().map(|failing| check(failing, "would now fail")));
        failures.extend(checks.unjudged.iter().map(|failing| check(failing, "cannot be judged")));
    }
    failures.extend(tally(&preview.changes.tally, "recent accepted change", "would now be refused by"));
    failures
}

/// What is worth knowing beside that.
pub(super) fn notes(
    preview: &Preview,
    proposed: &Contract,
    active: &Contract,
    has_moved_on: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if proposed.hash != active.hash && proposed.version == active.version {
        let version = &proposed.version;
        notes.push(format!(
            "both documents say version {version}: raise the new one's, for the ledger names changes by it"
        ));
    }
    let (new, old) = (TableSql::new(proposed), TableSql::new(active));
    if new.target() != old.target() {
        notes.push(format!(
            "the new contract is about table {}, the active one about {}",
            new.target(),
            old.target()
        ));
    }
    let fields = active.columns.iter().map(|column| column.field.as_str());
    let gone: Vec<&str> = fields.filter(|field| !proposed.by_field.contains_key(*field)).collect();
    if !gone.is_empty() {
        let what = match proposed.unknown_fields {
            UnknownFields::Ignore => "what senders say of it would be left out",
            UnknownFields::Reject => "changes that name it would be refused",
        };
        notes.push(format!("the new contract has no field {}: {what}", gone.join(", ")));
    }
    if has_moved_on && preview.disagreements.is_empty() {
        notes.push(
            "the table is not what the active contract says, so all rows that fail count as new".to_owned(),
        );
    }
    let warnings = preview.checks.iter().flat_map(|checks| &checks.would_warn);
    notes.extend(warnings.map(|failing| check(failing, "would now warn")));
    notes
}

fn tally<'a>(tally: &'a Tally, noun: &'a str, what: &'a str) -> impl Iterator<Item = String> + use<'a> {
    tally.broken.iter().map(move |Broken { rule, field, count: n, keys }| {
        let of = field.as_ref().map(|field| format!(" of {field}")).unwrap_or_default();
        let more = if u64::try_from(keys.len()).is_ok_and(|shown| shown < *n) { ", …" } else { "" };
        let keys = if keys.is_empty() { String::new() } else { format!(" (keys {}{more})", keys.join(", ")) };
        format!("{} {what} rule {rule}{of}{keys}", count(*n, noun))
    })
}

fn check(failing: &Failing, what: &str) -> String {
    let Failing { id, value, threshold, unit, keys, reason, .. } = failing;
    let measured = match reason {
        Some(reason) if value.is_null() => reason.clone(),
        _ => format!("{value} {unit} ({})", threshold_of(threshold)),
    };
    let keys = if keys.is_empty() { String::new() } else { format!(" (keys {})", keys.join(", ")) };
    format!("check {id} {what}: {measured}{keys}")
}
