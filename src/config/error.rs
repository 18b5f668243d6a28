//! What is wrong with a configuration, said so that a person can put it right.
//!
//! Promises: names the key and the place it was set; never quotes a value, for it may be a secret.

use std::path::PathBuf;

use figment::error::{Actual, Kind};
use validator::{ValidationError, ValidationErrors, ValidationErrorsKind};

use super::layer::{Layer, PREFIX};

/// What serde calls a whole number.
const INTEGERS: [&str; 2] = ["u32", "usize"];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: name an existing file with --config, or create it", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A variable is no UTF-8.
    #[error("{variable} is not UTF-8 text")]
    NotText {
        /// Its name.
        variable: String,
    },
    /// `KEY_file` holds something else than a path.
    #[error("{key} must be the path of a file that holds the secret")]
    SecretPath {
        /// Where.
        key: String,
    },
    /// A secret and its file are both given in one place.
    #[error("{key} and `{file_key}` are both set: keep one of them")]
    SecretTwice {
        /// Where.
        key: String,
        /// The other one.
        file_key: String,
    },
    /// A secret's file could not be read.
    #[error("{key} names {}, which cannot be read", file.display())]
    SecretFile {
        /// Where.
        key: String,
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A secret's file holds nothing.
    #[error("{key} names {}, which is empty", file.display())]
    SecretEmpty {
        /// Where.
        key: String,
        /// Which.
        file: PathBuf,
    },
    /// Settings that are unknown, missing or out of range; one sentence each.
    #[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

/// One sentence for each setting that could not be read.
pub(super) fn unreadable(error: figment::Error, layers: &[Layer]) -> ConfigError {
    let mut problems: Vec<_> = error.into_iter().map(|error| describe(&error, layers)).collect();
    problems.dedup();
    ConfigError::Invalid(problems)
}

fn describe(error: &figment::Error, layers: &[Layer]) -> String {
    let mut path = error.path.clone();
    match &error.kind {
        Kind::UnknownField(name, known) => {
            format!("{} is no setting; {}", locate(&path, layers), suggest(name, known))
        }
        Kind::MissingField(name) => {
            path.push(name.to_string());
            let variable = path.join("__").to_ascii_uppercase();
            format!("`{}` is missing: set it in the file, or as {PREFIX}{variable}", path.join("."))
        }
        Kind::UnknownVariant(_, known) => {
            format!("{}: expected {}", locate(&path, layers), one_of(known))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let expected = if INTEGERS.contains(&expected.as_str()) { "a whole number" } else { expected };
            format!("{}: expected {expected}, found {}", locate(&path, layers), name_of(found))
        }
        Kind::Message(message) => format!("{}: {message}", locate(&path, layers)),
        _ => format!("{}: this value cannot be read", locate(&path, layers)),
    }
}

/// The place that decided the key: the last layer that names it.
fn locate(path: &[String], layers: &[Layer]) -> String {
    layers
        .iter()
        .rev()
        .find(|layer| layer.names(path))
        .map_or_else(|| format!("`{}`", path.join(".")), |layer| layer.origin.locate(path))
}

fn suggest(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("expected {}", one_of(known)),
    }
}

fn one_of(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What kind of value was found, without the value.
fn name_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a section",
        _ => "something else",
    }
}

/// One sentence for each setting that is out of range, in a stable order.
pub(super) fn out_of_range(at: &str, errors: &ValidationErrors) -> Vec<String> {
    let mut problems = Vec::new();
    collect(at, errors, &mut problems);
    problems.sort();
    problems
}

fn collect(at: &str, errors: &ValidationErrors, problems: &mut Vec<String>) {
    for (field, kind) in errors.errors() {
        // The validator files errors about a section as a whole under this name.
        let key = match field.as_ref() {
            "__all__" => at.to_owned(),
            field if at.is_empty() => field.to_owned(),
            field => format!("{at}.{field}"),
        };
        match kind {
            ValidationErrorsKind::Field(errors) => {
                problems.extend(errors.iter().map(|error| format!("`{key}` {}", sentence(error))));
            }
            ValidationErrorsKind::Struct(inner) => collect(&key, inner, problems),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    collect(&format!("{key}[{index}]"), inner, problems);
                }
            }
        }
    }
}

fn sentence(error: &ValidationError) -> &str {
    error.message.as_deref().unwrap_or(&error.code)
}
