//! Paths that an operator gives to routes.
//!
//! Promises: what is a [`RoutePath`] can be a route and nothing but that path: no patterns, no escapes.

use std::fmt;

use serde::Deserialize;

/// An absolute path of plain segments, such as `/notifications` or `/hooks/cms`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct RoutePath(String);

impl RoutePath {
    /// Takes a path whose segments are made of letters, digits and `-._~`.
    pub fn new(path: impl Into<String>) -> Result<Self, RoutePathError> {
        let path = path.into();
        let is_plain = |segment: &str| {
            !segment.is_empty()
                && segment.chars().any(|c| c != '.')
                && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
        };
        match path.strip_prefix('/') {
            Some(segments) if segments.split('/').all(is_plain) => Ok(Self(path)),
            _ => Err(RoutePathError(path)),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoutePath {
    type Error = RoutePathError;

    fn try_from(path: String) -> Result<Self, RoutePathError> {
        Self::new(path)
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be the path of a route.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no path for a route: write it as `/notifications`, of letters, digits and -._~, without a slash at the end"
)]
pub struct RoutePathError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_plain_segments() {
        for path in ["/notifications", "/hooks/cms-1", "/a.b/~c"] {
            assert_eq!(RoutePath::new(path).unwrap().as_str(), path);
        }
        for path in
            ["", "/", "notifications", "/a/", "//a", "/{id}", "/a b", "/%41", "/..", "/a/./b", "/*x", "/é"]
        {
            assert_eq!(RoutePath::new(path), Err(RoutePathError(path.to_owned())));
        }
    }
}
