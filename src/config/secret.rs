//! Values that may hold a credential.
//!
//! Promises: `Debug`, `Display` and `Serialize` never show the secret; it is handed out only by a method
//! whose name says so.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Query parameters that tell where or how to connect, never with what credential.
const HARMLESS: [&str; 6] = ["application_name", "dbname", "host", "port", "sslmode", "sslrootcert"];

/// A URL that may carry credentials. Shown with them masked.
#[derive(Clone)]
pub struct SecretUrl {
    secret: SecretString,
    shown: String,
}

impl SecretUrl {
    /// The URL as it was configured, credentials included: for connecting, never for showing.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl From<Url> for SecretUrl {
    fn from(url: Url) -> Self {
        let shown = masked_url(url.clone());
        Self { secret: String::from(url).into(), shown }
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

fn masked_url(mut url: Url) -> String {
    // Setting credentials fails only for URLs that cannot carry any.
    if url.password().is_some() {
        let _ = url.set_password(Some(MASK));
    } else if !url.username().is_empty() && matches!(url.scheme(), "http" | "https") {
        // An API key often stands alone before the `@`; a lone database user is no secret.
        let _ = url.set_username(MASK);
    }
    if url.query().is_some() {
        let shown: Vec<String> = url
            .query_pairs()
            .map(|(name, value)| {
                let shown = if HARMLESS.contains(&&*name) { &*value } else { MASK };
                format!("{name}={shown}")
            })
            .collect();
        url.set_query(Some(&shown.join("&")));
    }
    url.set_fragment(None);
    url.into()
}

/// A Postgres URL.
pub(super) fn database_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretUrl, D::Error> {
    url_with_scheme(
        deserializer,
        &["postgres", "postgresql"],
        "expected a database URL such as \"postgres://user:password@host:5432/database\"",
    )
}

/// A URL to send requests to.
pub(super) fn http_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretUrl, D::Error> {
    url_with_scheme(
        deserializer,
        &["http", "https"],
        "expected a URL such as \"http://cms_simulator:9090/listener\"",
    )
}

/// A URL that others are told to reach us by, which must not hold a secret at all.
pub(super) fn public_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let public = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    parse_url(deserializer).filter(public).map(Some).ok_or_else(|| {
        D::Error::custom(
            "expected a URL such as \"http://smart_library:9099\", without credentials or query: it is told \
             to senders",
        )
    })
}

fn url_with_scheme<'de, D: Deserializer<'de>>(
    deserializer: D,
    schemes: &[&str],
    expected: &str,
) -> Result<SecretUrl, D::Error> {
    parse_url(deserializer)
        .filter(|url| schemes.contains(&url.scheme()))
        .map(SecretUrl::from)
        .ok_or_else(|| D::Error::custom(expected))
}

/// The URL, or nothing: the parser's own message would quote the value, and with it the secret.
fn parse_url<'de, D: Deserializer<'de>>(deserializer: D) -> Option<Url> {
    Url::parse(&String::deserialize(deserializer).ok()?).ok()
}

/// Serializes a secret as the mask, so that a dump tells whether it is set.
#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
pub(super) fn masked<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| MASK).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        SecretUrl::from(Url::parse(url).unwrap()).to_string()
    }

    #[test]
    fn credentials_are_masked_and_the_rest_is_kept() {
        assert_eq!(shown("postgres://me:s3cret@db:5432/books"), "postgres://me:***@db:5432/books");
        assert_eq!(shown("postgres://me@db/books?sslmode=require"), "postgres://me@db/books?sslmode=require");
        assert_eq!(shown("postgres://db/books?password=s3cret"), "postgres://db/books?password=***");
        assert_eq!(shown("https://s3cret@cms/listener"), "https://***@cms/listener");
        assert_eq!(shown("https://cms/listener?key=s3cret#s3cret"), "https://cms/listener?key=***");
    }

    #[test]
    fn the_secret_is_handed_out_whole() {
        let url = SecretUrl::from(Url::parse("postgres://me:s3cret@db:5432/books").unwrap());
        assert_eq!(url.expose(), "postgres://me:s3cret@db:5432/books");
    }
}
