//! How an error looks on the wire: RFC 9457 `application/problem+json`.
//!
//! Promises: every error answer has type, title, status and a detail that says what to do; nothing of an
//! internal error is shown, it is logged once and here only. Must not know: routes.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The kinds of problem that we answer, each with its status, its name in `type`, and its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be understood.
    BadRequest,
    /// The caller did not prove that it may ask.
    Unauthorized,
    /// The caller may not ask from where it is.
    Forbidden,
    /// There is nothing here.
    NotFound,
    /// The method does not fit the path.
    MethodNotAllowed,
    /// The body took too long to arrive.
    BodyTooSlow,
    /// The body is longer than we take.
    BodyTooLarge,
    /// Something else goes on that it would collide with.
    Conflict,
    /// The body is not of the type that the route takes.
    MediaType,
    /// The request is understood, and cannot be carried out as it is.
    Unprocessable,
    /// We erred.
    Internal,
    /// We cannot answer now; later we can.
    Unavailable,
}

impl Kind {
    const fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "urn:accord:problem:bad-request",
                "The request cannot be understood",
            ),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "urn:accord:problem:unauthorized", "A token is needed")
            }
            Self::Forbidden => {
                (StatusCode::FORBIDDEN, "urn:accord:problem:forbidden", "Not open to the network")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "urn:accord:problem:not-found", "Nothing is here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:accord:problem:method-not-allowed",
                "The method does not fit this path",
            ),
            Self::BodyTooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "urn:accord:problem:body-too-slow",
                "The body took too long to arrive",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "urn:accord:problem:body-too-large",
                "The body is longer than is taken",
            ),
            Self::Conflict => {
                (StatusCode::CONFLICT, "urn:accord:problem:conflict", "Not while things are as they are")
            }
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:accord:problem:media-type",
                "The body is of another type",
            ),
            Self::Unprocessable => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:accord:problem:unprocessable",
                "The request cannot be carried out",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:accord:problem:internal",
                "Something went wrong here",
            ),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:accord:problem:unavailable", "Not available now")
            }
        }
    }

    /// The status that it is answered with.
    pub const fn status(self) -> StatusCode {
        self.describe().0
    }
}

/// An error as answered.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind; the detail says what the reader can do about it.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), header: None }
    }

    /// Not available now; worth another try after a while.
    pub fn unavailable(retry_after: Duration, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, detail)
            .with_header(header::RETRY_AFTER, retry_after.as_secs().max(1).into())
    }

    /// A read of the library's database failed: logged here, told only in general terms.
    pub fn database(error: &sqlx::Error) -> Self {
        if is_passing(error) {
            tracing::warn!(%error, "the library's database did not answer a read: {error}");
            return Self::unavailable(
                Duration::from_secs(5),
                "The library's database does not answer now: try again later.",
            );
        }
        if code(error).as_deref() == Some(NO_TEXT) {
            return Self::new(Kind::BadRequest, "The request has a NUL in a text: nothing here is named so.");
        }
        tracing::error!(%error, "a read of the library failed: {error}");
        Self::internal()
    }

    /// We erred; whoever answers this has logged why.
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "The request could not be answered; the log of Accord says why.")
    }

    /// The same with the header that its status calls for.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }
}

/// `character_not_in_repertoire`: the database was asked about a text that it cannot hold.
const NO_TEXT: &str = "22021";

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}

/// Whether the same read can succeed later without anybody's help.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
            true
        }
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "57P"].iter().any(|class| code.starts_with(class)) || code == "55P03"
        }),
        _ => false,
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, r#type, title) = self.kind.describe();
        let document = Document { r#type, title, status: status.as_u16(), detail: &self.detail };
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = super::json_as(status, content_type, &document);
        response.headers_mut().extend(self.header);
        response
    }
}

/// Answers a path that nobody serves.
pub(super) fn not_found() -> Ready<Problem> {
    let detail = "No route has this path: compare it with the paths in the configuration.";
    ready(Problem::new(Kind::NotFound, detail))
}

/// Answers a method that the path does not take; the router adds `Allow`.
pub(super) fn method_not_allowed() -> Ready<Problem> {
    ready(Problem::new(Kind::MethodNotAllowed, "Use one of the methods that the Allow header names."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_problem_is_a_document_of_rfc_9457() {
        let problem = Problem::unavailable(Duration::from_secs(5), "Try again later.");
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "5");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"type":"urn:accord:problem:unavailable","title":"Not available now","status":503,"detail":"Try again later."}"#);
    }

    #[test]
    fn a_pool_that_is_exhausted_is_a_503_and_a_wrong_statement_a_500() {
        assert_eq!(Problem::database(&sqlx::Error::PoolTimedOut).status(), StatusCode::SERVICE_UNAVAILABLE);
        let ours = Problem::database(&sqlx::Error::ColumnNotFound("cost".into()));
        assert_eq!(ours.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!ours.detail.contains("cost"));
    }
}
