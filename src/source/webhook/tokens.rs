//! The secrets that let a sender in, and what is remembered of its calls.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

/// The tokens accepted now, shared with whoever maintains them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    tokens: Arc<RwLock<Vec<SecretString>>>,
}

impl Accepted {
    /// Accepts these from now on: the current one and, for a while after a rotation, the one before.
    pub fn replace(&self, accepted: Vec<SecretString>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = accepted;
    }

    /// Whether a token is accepted, in a time that does not tell how much of it is right.
    pub fn accepts(&self, given: &str) -> bool {
        let accepted = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let is_any = accepted.iter().fold(Choice::from(0), |found, token| {
            found | token.expose_secret().as_bytes().ct_eq(given.as_bytes())
        });
        is_any.into()
    }
}

/// What is remembered of a sender's calls since the process started.
#[derive(Debug)]
pub struct WebhookStats {
    last_seen_millis: AtomicI64,
    unauthorized: AtomicU64,
}

impl WebhookStats {
    const NEVER: i64 = i64::MIN;

    /// When a call with a right token last came.
    pub fn last_seen(&self) -> Option<DateTime<Utc>> {
        match self.last_seen_millis.load(Ordering::Relaxed) {
            Self::NEVER => None,
            millis => DateTime::from_timestamp_millis(millis),
        }
    }

    /// How many calls came without a right token.
    pub fn unauthorized(&self) -> u64 {
        self.unauthorized.load(Ordering::Relaxed)
    }

    /// A call with a right token came.
    pub fn saw(&self, at: DateTime<Utc>) {
        self.last_seen_millis.fetch_max(at.timestamp_millis(), Ordering::Relaxed);
    }

    /// Counts a call without a right token and says how many there were.
    pub fn count_unauthorized(&self) -> u64 {
        self.unauthorized.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Default for WebhookStats {
    fn default() -> Self {
        Self { last_seen_millis: AtomicI64::new(Self::NEVER), unauthorized: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_tokens_pass_and_a_rotation_holds_for_every_clone() {
        let tokens = Accepted::default();
        assert!(!tokens.accepts(""));
        let seen_by_the_route = tokens.clone();
        tokens.replace(vec!["new".into(), "old".into()]);
        for (token, is_accepted) in
            [("new", true), ("old", true), ("ne", false), ("newer", false), ("", false), ("NEW", false)]
        {
            assert_eq!(seen_by_the_route.accepts(token), is_accepted, "{token}");
        }
        tokens.replace(vec!["new".into()]);
        assert!(!seen_by_the_route.accepts("old"));
    }

    #[test]
    fn debugging_does_not_show_the_tokens() {
        let tokens = Accepted::default();
        tokens.replace(vec!["s3cret".into()]);
        assert!(!format!("{tokens:?}").contains("s3cret"));
    }
}
