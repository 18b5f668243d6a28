//! The query of a list of quarantine entries.
//!
//! Promises: the next page asks for the same. Must not know: where entries come from.

use serde::Deserialize;
use validator::Validate;

use super::ROOT;
use crate::library::quarantine::read::{Filter, State};

/// The query of `GET /api/v1/quarantine`. Ages are read as those of a filter.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    pipeline: Option<String>,
    state: Option<Word>,
    reason: Option<String>,
    rule: Option<String>,
    key: Option<String>,
    older_than: Option<String>,
    newer_than: Option<String>,
    #[serde(default = "Wish::limit")]
    #[validate(range(min = 1, max = 500))]
    pub(super) limit: i64,
    pub(super) before: Option<i64>,
    #[serde(default)]
    pub(super) raw: bool,
}

/// A state, or any.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Any,
    #[serde(untagged)]
    One(State),
}

impl Wish {
    fn limit() -> i64 {
        50
    }

    pub(super) fn filter(&self) -> Option<Filter> {
        let age = |text: &Option<String>| match text {
            None => Some(None),
            Some(text) => humantime::parse_duration(text).ok().map(Some),
        };
        let filter = Filter {
            pipeline: self.pipeline.clone(),
            state: match self.state {
                None => Some(State::Open),
                Some(Word::Any) => None,
                Some(Word::One(state)) => Some(state),
            },
            reason: self.reason.clone(),
            rule: self.rule.clone(),
            key: self.key.clone(),
            older_than: age(&self.older_than)?,
            newer_than: age(&self.newer_than)?,
        };
        Some(filter).filter(|filter| filter.fault().is_none())
    }

    /// Where the next page is.
    pub(super) fn next(&self, before: i64) -> String {
        let state = self.state.map(|state| match state {
            Word::Any => "any",
            Word::One(state) => state.as_str(),
        });
        let texts = [
            ("pipeline", self.pipeline.as_deref()),
            ("state", state),
            ("reason", self.reason.as_deref()),
            ("rule", self.rule.as_deref()),
            ("key", self.key.as_deref()),
            ("older_than", self.older_than.as_deref()),
            ("newer_than", self.newer_than.as_deref()),
            ("raw", self.raw.then_some("true")),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(texts.iter().filter_map(|(name, text)| Some((*name, (*text)?))));
        query.append_pair("limit", &self.limit.to_string()).append_pair("before", &before.to_string());
        format!("{ROOT}?{}", query.finish())
    }
}
