//! Where settings come from: the file, then the environment.
//!
//! Promises: `KEY_file` is replaced by what the file holds within its own layer, so a later layer overrides
//! an earlier one whichever way each names its secret.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::ConfigError;

/// Environment variables that configure Accord start with this.
pub(super) const PREFIX: &str = "ACCORD__";

/// Settings that may come from a file of their own; `*` stands for any name.
const SECRETS: [&[&str]; 4] = [
    &["http", "admin_token"],
    &["library", "url"],
    &["pipeline", "*", "reference", "postgres", "url"],
    &["pipeline", "*", "source", "webhook", "register", "url"],
];

/// Which source a layer was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf),
    Environment,
}

impl Origin {
    /// How a person finds this key in this source.
    pub(super) fn locate(&self, path: &[String]) -> String {
        match self {
            Self::File(file) => format!("`{}` in {}", path.join("."), file.display()),
            Self::Environment => format!("{PREFIX}{}", path.join("__").to_ascii_uppercase()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Environment => f.write_str("the environment"),
        }
    }
}

/// One source's settings.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    dict: Dict,
}

impl Layer {
    /// The settings of a TOML text; relative secret files are looked up in `directory`.
    pub(super) fn toml(text: &str, file: &Path, directory: &Path) -> Result<Self, ConfigError> {
        let dict = toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let (line, column) = line_and_column(text, start);
            // Not the error's Display: that quotes the line, which may hold a password.
            ConfigError::Syntax {
                file: file.to_owned(),
                line,
                column,
                message: error.message().replace('\n', ", "),
            }
        })?;
        Self { origin: Origin::File(file.to_owned()), dict }.with_secret_files(directory)
    }

    /// The settings of the environment: `ACCORD__HTTP__LISTEN` is `http.listen`.
    pub(super) fn environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &Path,
    ) -> Result<Self, ConfigError> {
        let mut dict = Dict::new();
        for (name, value) in variables {
            let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            let value = value
                .into_string()
                .map_err(|_| ConfigError::NotText { variable: format!("{PREFIX}{key}") })?;
            let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
            let value = if is_secret(&path) { Value::from(value) } else { read_value(&value) };
            insert(&mut dict, &path, value);
        }
        Self { origin: Origin::Environment, dict }.with_secret_files(directory)
    }

    /// Whether this layer says anything at this path.
    pub(super) fn names(&self, path: &[String]) -> bool {
        let Some((last, sections)) = path.split_last() else { return true };
        sections
            .iter()
            .try_fold(&self.dict, |dict, section| dict.get(section).and_then(Value::as_dict))
            .is_some_and(|dict| dict.contains_key(last))
    }

    fn with_secret_files(mut self, directory: &Path) -> Result<Self, ConfigError> {
        for secret in SECRETS {
            read_secret_files(&self.origin, &mut self.dict, &mut Vec::new(), secret, directory)?;
        }
        Ok(self)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// Walks to a secret's section and, where `KEY_file` stands there, puts the file's text in its place.
fn read_secret_files(
    origin: &Origin,
    dict: &mut Dict,
    walked: &mut Vec<String>,
    rest: &[&str],
    directory: &Path,
) -> Result<(), ConfigError> {
    match rest {
        [] => {}
        [key] => {
            let file_key = format!("{key}_file");
            if let Some(named) = dict.remove(&file_key) {
                let at = |key: &str| origin.locate(&[walked.as_slice(), &[key.to_owned()]].concat());
                let Some(file) = named.as_str() else {
                    return Err(ConfigError::SecretPath { key: at(&file_key) });
                };
                if dict.contains_key(*key) {
                    return Err(ConfigError::SecretTwice { key: at(key), file_key });
                }
                dict.insert((*key).to_owned(), read_secret(at(&file_key), &directory.join(file))?.into());
            }
        }
        [section, rest @ ..] => {
            for (name, value) in dict.iter_mut().filter(|(name, _)| *section == "*" || name == section) {
                if let Value::Dict(_, inner) = value {
                    walked.push(name.clone());
                    read_secret_files(origin, inner, walked, rest, directory)?;
                    walked.pop();
                }
            }
        }
    }
    Ok(())
}

fn read_secret(key: String, file: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::SecretFile {
        key: key.clone(),
        file: file.to_owned(),
        source,
    })?;
    // Editors and `echo` end a file with a newline that is no part of the secret.
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(ConfigError::SecretEmpty { key, file: file.to_owned() });
    }
    Ok(secret.to_owned())
}

fn is_secret(path: &[String]) -> bool {
    SECRETS
        .iter()
        .any(|secret| secret.len() == path.len() && secret.iter().zip(path).all(|(s, p)| *s == "*" || s == p))
}

/// Numbers and booleans as such, anything else as text.
fn read_value(text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(value @ (Value::Num(..) | Value::Bool(..))) => value,
        _ => Value::from(text),
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let entry = dict.entry(section.clone()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if let Value::Dict(_, inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
