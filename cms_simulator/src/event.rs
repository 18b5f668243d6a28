//! What happened in the CMS, told as it happens: to the log, and to whoever subscribed.

use std::fmt;

use serde_json::Value;

use crate::record::Field;

/// Something that happened in the CMS. Its text is a sentence for people, and never holds the listener's token.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A row was edited, and the edit is committed.
    Edited {
        /// The row's key.
        key: i32,
        /// What changed.
        changes: Vec<FieldChange>,
    },
    /// A row was added.
    Inserted {
        /// The row's key.
        key: i32,
    },
    /// A row was deleted.
    Deleted {
        /// The row's key.
        key: i32,
    },
    /// The listener was called and answered. The CMS makes nothing of the answer.
    Called {
        /// The key of the row it was told of.
        key: i32,
        /// The HTTP status of its answer.
        status: u16,
    },
    /// The listener did not answer, so it will never hear of this edit.
    Unreachable {
        /// The key of the row it was not told of.
        key: i32,
        /// What went wrong.
        reason: String,
    },
    /// Nobody listens, so nobody will ever hear of this edit.
    Unheard {
        /// The key of the row.
        key: i32,
    },
    /// A fault swallowed the call.
    Dropped {
        /// The key of the row the listener was not told of.
        key: i32,
    },
    /// A listener registered, in the place of any other.
    ListenerSet {
        /// Where it listens, with the last segment of its path hidden.
        url: String,
    },
    /// The listener was removed by `DELETE /listener`.
    ListenerRemoved,
    /// A fault made the CMS forget its listener.
    ListenerForgotten,
}

/// A field that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Which field.
    pub field: Field,
    /// Its value before.
    pub from: Value,
    /// Its value now.
    pub to: Value,
}

impl Event {
    /// The key of the row it is about, if it is about one.
    pub fn key(&self) -> Option<i32> {
        match self {
            Self::Edited { key, .. }
            | Self::Inserted { key }
            | Self::Deleted { key }
            | Self::Called { key, .. }
            | Self::Unreachable { key, .. }
            | Self::Unheard { key }
            | Self::Dropped { key } => Some(*key),
            Self::ListenerSet { .. } | Self::ListenerRemoved | Self::ListenerForgotten => None,
        }
    }

    pub(crate) fn log(&self) {
        let fragrance_id = self.key();
        match self {
            Self::Unreachable { .. } => tracing::warn!(fragrance_id, "{self}"),
            Self::Called { .. } => tracing::debug!(fragrance_id, "{self}"),
            _ => tracing::info!(fragrance_id, "{self}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { key, changes } => {
                write!(f, "edited fragrance {key}")?;
                for (i, change) in changes.iter().enumerate() {
                    write!(f, "{} {change}", if i == 0 { ":" } else { "," })?;
                }
                Ok(())
            }
            Self::Inserted { key } => write!(f, "added fragrance {key}"),
            Self::Deleted { key } => write!(f, "deleted fragrance {key}"),
            Self::Called { key, status } => {
                write!(f, "told the listener of fragrance {key}: it answered {status}")
            }
            Self::Unreachable { key, reason } => {
                write!(
                    f,
                    "the listener cannot be reached ({reason}); it will not hear of fragrance {key} again"
                )
            }
            Self::Unheard { key } => write!(f, "nobody listens: fragrance {key} is told to no one"),
            Self::Dropped { key } => write!(f, "fault: the call about fragrance {key} is lost"),
            Self::ListenerSet { url } => write!(f, "a listener registered: {url}"),
            Self::ListenerRemoved => write!(f, "the listener was removed"),
            Self::ListenerForgotten => write!(f, "fault: the listener is forgotten"),
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.field.name(), shortened(&self.from), shortened(&self.to))
    }
}

/// A long value without its middle: edits append, so the end is what tells two values apart.
fn shortened(value: &Value) -> String {
    const HEAD: usize = 24;
    const TAIL: usize = 24;
    let text = value.to_string();
    let length = text.chars().count();
    if length <= HEAD + TAIL {
        return text;
    }
    let head: String = text.chars().take(HEAD).collect();
    let tail: String = text.chars().skip(length - TAIL).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edit_reads_as_a_sentence() {
        let changes = vec![
            FieldChange { field: Field::Name, from: json!("Iris"), to: json!("IrisHOOOOOOOOOOLAAA") },
            FieldChange { field: Field::Forbidden, from: json!(false), to: json!(true) },
        ];
        assert_eq!(
            Event::Edited { key: 7, changes }.to_string(),
            r#"edited fragrance 7: name "Iris" → "IrisHOOOOOOOOOOLAAA", forbidden false → true"#
        );
    }

    #[test]
    fn a_long_value_keeps_its_two_ends() {
        let change = FieldChange { field: Field::Name, from: json!("é".repeat(200)), to: json!("short") };
        assert_eq!(change.to_string(), format!("name \"{}…{}\" → \"short\"", "é".repeat(23), "é".repeat(23)));
    }
}
