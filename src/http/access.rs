//! Who may see what is for operators: numbers, pipelines, reasons.
//!
//! Promises: without a configured token only this very machine is let in, and a forwarded request is not
//! taken for a local one; tokens are compared in constant time and never shown. Must not know: what it guards.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::error::{Kind, Problem};

/// Headers by which a proxy says that it speaks for somebody else.
const FORWARDED: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// The rule for operators' routes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Arc<SecretString>>,
}

impl Access {
    /// With a token, whoever bears it is let in; without one, only this machine is.
    pub fn new(token: Option<SecretString>) -> Self {
        Self { token: token.map(Arc::new) }
    }

    /// Lets an operator's request in or says what is missing.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        match &self.token {
            Some(token) if bearer(request.headers()).is_some_and(|given| same(given, token)) => Ok(()),
            Some(_) => Err(Problem::new(
                Kind::Unauthorized,
                "Send the header `Authorization: Bearer <token>` with the token that `http.admin_token` sets.",
            )
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            None if is_local(request) => Ok(()),
            None => Err(Problem::new(
                Kind::Forbidden,
                "Only this machine may ask, for no token is configured: set `http.admin_token` and send it as a bearer token.",
            )),
        }
    }

    /// Whether a request on an open route may see the details too.
    pub fn sees_detail(&self, request: &Request) -> bool {
        is_local(request) || self.check(request).is_ok()
    }
}

/// Middleware of operators' routes.
pub(super) async fn guard(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    access.check(&request)?;
    Ok(next.run(request).await)
}

/// The token of `Authorization: Bearer`, if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn same(given: &str, token: &SecretString) -> bool {
    given.as_bytes().ct_eq(token.expose_secret().as_bytes()).into()
}

/// Whether the request comes from this machine, as far as can be known.
fn is_local(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_forwarded = FORWARDED.iter().any(|name| request.headers().contains_key(name));
    !is_forwarded && peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;

    fn request(peer: Option<&str>, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        }
        request
    }

    fn refusal(access: &Access, request: &Request) -> Option<StatusCode> {
        access.check(request).err().map(|problem| problem.status())
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        let access = Access::new(None);
        for peer in ["127.0.0.1:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
            assert_eq!(refusal(&access, &request(Some(peer), &[])), None, "{peer}");
        }
        assert_eq!(refusal(&access, &request(Some("10.0.0.7:4000"), &[])), Some(StatusCode::FORBIDDEN));
        assert_eq!(refusal(&access, &request(None, &[])), Some(StatusCode::FORBIDDEN));
    }

    #[test]
    fn a_request_that_a_local_proxy_forwards_is_not_local() {
        let access = Access::new(None);
        let forwarded = request(Some("127.0.0.1:4000"), &[("x-forwarded-for", "203.0.113.9")]);
        assert_eq!(refusal(&access, &forwarded), Some(StatusCode::FORBIDDEN));
        assert!(!access.sees_detail(&forwarded));
    }

    #[test]
    fn with_a_token_everybody_must_bear_it() {
        let access = Access::new(Some("s3cret".into()));
        let peer = Some("127.0.0.1:4000");
        for wrong in [&[][..], &[("authorization", "Bearer s3cre")], &[("authorization", "Basic s3cret")]] {
            assert_eq!(refusal(&access, &request(peer, wrong)), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
        for right in ["Bearer s3cret", "bearer s3cret"] {
            let remote = request(Some("10.0.0.7:4000"), &[("authorization", right)]);
            assert_eq!(refusal(&access, &remote), None);
            assert!(access.sees_detail(&remote));
        }
        assert!(access.sees_detail(&request(peer, &[])));
    }

    #[test]
    fn debugging_does_not_show_the_token() {
        assert!(!format!("{:?}", Access::new(Some("s3cret".into()))).contains("s3cret"));
    }
}
