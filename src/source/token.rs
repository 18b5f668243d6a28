//! The secret at the end of a webhook's URL, shared by all replicas.
//!
//! Promises: unguessable; shown nowhere. A new token is registered with the sender
//! only once every replica has had time to learn it, for a call that a replica turns away is lost.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

use super::webhook::Accepted;
use crate::library::token::{self, StoredToken};

/// The tokens of a pipeline's webhook: keeps the set that is accepted, and knows which one to tell.
#[derive(Debug)]
pub struct Tokens {
    pipeline: i16,
    pool: PgPool,
    /// How long a new token is known to all replicas before a sender is told of it.
    settling: Duration,
    accepted: Accepted,
    current: RwLock<Token>,
}

#[derive(Debug)]
struct Known {
    accepted: Vec<SecretString>,
    current: Token,
}

/// The token that a sender is told.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// The secret itself: for the registration, never for showing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::config::MASK)
    }
}

impl Tokens {
    /// Loads the pipeline's tokens, and makes the first one where there is none.
    ///
    /// `reload_every` is how often every replica calls [`Tokens::reload`].
    pub async fn load(pool: PgPool, pipeline: i16, reload_every: Duration) -> Result<Self, sqlx::Error> {
        // Twice, for a reload may fail once.
        let settling = reload_every * 2;
        let mut stored = token::accepted(&pool, pipeline, settling).await?;
        if stored.is_empty() {
            let mut transaction = pool.begin().await?;
            token::ensure(&mut transaction, pipeline, &generate()).await?;
            transaction.commit().await?;
            stored = token::accepted(&pool, pipeline, settling).await?;
        }
        let known = Known::from_stored(stored).ok_or(sqlx::Error::RowNotFound)?;
        let accepted = Accepted::default();
        accepted.replace(known.accepted);
        Ok(Self { pipeline, pool, settling, accepted, current: RwLock::new(known.current) })
    }

    /// The set that the webhook lets in; it follows every reload.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The token to tell the sender: the newest one that every replica accepts.
    pub fn current(&self) -> Token {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Learns what other replicas made or retired. What is known stays in force when the library is away.
    pub async fn reload(&self) -> Result<(), sqlx::Error> {
        let stored = token::accepted(&self.pool, self.pipeline, self.settling).await?;
        if let Some(known) = Known::from_stored(stored) {
            self.accepted.replace(known.accepted);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = known.current;
        }
        Ok(())
    }

    /// Makes a new token. The old one is accepted for another week, and the sender is told the new one at
    /// the first registration after all replicas know it.
    pub async fn rotate(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        token::rotate(&mut transaction, self.pipeline, &generate()).await?;
        transaction.commit().await?;
        self.reload().await
    }
}

impl Known {
    /// From the stored tokens, newest first; nothing when there are none.
    fn from_stored(stored: Vec<StoredToken>) -> Option<Self> {
        let current = stored.iter().find(|token| token.settled).or(stored.last())?;
        let current = Token(current.token.clone().into());
        Some(Self { accepted: stored.into_iter().map(|stored| stored.token.into()).collect(), current })
    }
}

/// 192 bits of a generator that the operating system seeds, fit for a path.
fn generate() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(tokens: &[(&str, bool)]) -> Option<Known> {
        let tokens = tokens
            .iter()
            .map(|(token, settled)| StoredToken { token: (*token).to_owned(), settled: *settled });
        Known::from_stored(tokens.collect())
    }

    #[test]
    fn a_new_token_is_told_only_when_it_has_settled() {
        let current = |tokens: &[(&str, bool)]| stored(tokens).unwrap().current.expose().to_owned();
        assert_eq!(current(&[("new", false), ("old", true)]), "old");
        assert_eq!(current(&[("new", true), ("old", true)]), "new");
        assert_eq!(current(&[("first", false)]), "first", "nobody can be told anything else");
        assert!(stored(&[]).is_none());
    }

    #[test]
    fn a_token_is_long_fit_for_a_path_and_never_shown() {
        let token = generate();
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(token, generate());
        assert!(!format!("{:?}", stored(&[(&token, true)])).contains(&token));
    }
}
