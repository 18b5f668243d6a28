//! Lets a webhook call in and reads its body.
//!
//! Promises: who lacks the token gets no further; a body is bounded in length and time; one that an entitled
//! sender could not deliver is counted and reported as missed, even when the sender has gone; what is kept
//! of the headers holds no secret. Must not know: what is in the body, the waist.

use std::fmt;
use std::sync::Arc;

use axum::body::{Body as Incoming, HttpBody};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};

use super::{Accepted, Auth, Settings, WebhookStats};
use crate::change::Body;
use crate::http::access::bearer;
use crate::http::error::{Kind, Problem};
use crate::telemetry::metrics::PipelineMetrics;

/// Headers worth keeping beside a body: they say what it is and which call it was, and hold no secret.
const KEPT_HEADERS: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
    header::DATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("svix-id"),
    HeaderName::from_static("svix-timestamp"),
];

/// The longest event id taken as it is; the ledger's index cannot hold much longer ones.
const EVENT_ID_LIMIT: usize = 256;

/// How many times the body limit is read and thrown away so that a sender gets to see its 413.
const DRAIN_FACTOR: u64 = 16;

/// The door of one pipeline's webhook.
pub(super) struct Intake {
    pub(super) settings: Settings,
    pub(super) tokens: Accepted,
    pub(super) stats: Arc<WebhookStats>,
    pub(super) metrics: PipelineMetrics,
    /// Told when a change from an entitled sender may have been missed.
    pub(super) on_missed: Box<dyn Fn() + Send + Sync>,
}

/// A call that was let in.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) body: Arc<Body>,
    pub(super) event_id: Option<String>,
}

impl Intake {
    /// Takes a call, or says why not; what is refused is counted.
    pub(super) async fn take(&self, token: Option<&str>, request: Request) -> Result<Call, Problem> {
        let call = match self.admit(token, request.headers()) {
            Ok(()) => self.read(request).await,
            Err(problem) => Err(problem),
        };
        call.inspect_err(|problem| self.metrics.refused(problem.status().as_u16()))
    }

    fn admit(&self, token: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
        let is_entitled = match self.settings.auth {
            Auth::None => true,
            Auth::Token => token.or_else(|| bearer(headers)).is_some_and(|given| self.tokens.accepts(given)),
        };
        if is_entitled {
            return Ok(());
        }
        let count = self.stats.count_unauthorized();
        // Ever more seldom, so that a flood of strangers is no flood of log.
        if count.is_power_of_two() {
            let path = &self.settings.path;
            tracing::warn!(%path, count, "a webhook call to {path} came without the right token; {count} so far");
        }
        Err(Problem::new(
            Kind::Unauthorized,
            "Call the URL that Accord registered, with its token as the last path segment, or send the token as a bearer token.",
        )
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }

    async fn read(&self, request: Request) -> Result<Call, Problem> {
        let missed = Missed(self);
        let (parts, mut incoming) = request.into_parts();
        let waits_to_send = parts.headers.contains_key(header::EXPECT);
        let reading = self.collect(&mut incoming, waits_to_send);
        let bytes = tokio::time::timeout(self.settings.body_timeout, reading)
            .await
            .unwrap_or_else(|_elapsed| Err(self.too_slow()))?;
        missed.nothing();
        let body = Body::new(bytes, kept_headers(&parts.headers));
        self.stats.saw(body.received_at);
        self.metrics.webhook_seen(body.received_at);
        Ok(Call { body, event_id: self.event_id(&parts.headers) })
    }

    async fn collect(&self, incoming: &mut Incoming, waits_to_send: bool) -> Result<Bytes, Problem> {
        let limit = self.settings.body_limit;
        let declared = incoming.size_hint().lower();
        if declared <= limit as u64 {
            match Limited::new(&mut *incoming, limit).collect().await {
                Ok(whole) => return Ok(whole.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => {}
                Err(error) => return Err(self.broken_off(&*error)),
            }
        }
        // Closing on a sender that is still sending would reset the connection before it reads why.
        let worth_draining = DRAIN_FACTOR * limit as u64;
        if !waits_to_send && declared <= worth_draining {
            drain(incoming, worth_draining).await;
        }
        Err(self.too_large())
    }

    fn event_id(&self, headers: &HeaderMap) -> Option<String> {
        let named = self.settings.event_id_headers.iter().find_map(|name| headers.get(name))?;
        match named.as_bytes() {
            [] => None,
            // Too long to keep, yet the same id must still be known again.
            long if long.len() > EVENT_ID_LIMIT => {
                Some(format!("sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(long))))
            }
            id => Some(String::from_utf8_lossy(id).into_owned()),
        }
    }

    fn too_large(&self) -> Problem {
        let Settings { path, body_limit, .. } = &self.settings;
        tracing::warn!(%path, body_limit_bytes = body_limit, "a webhook body to {path} was longer than {body_limit} bytes and was not taken");
        let detail = format!("Send at most {body_limit} bytes a call, or raise the webhook's body limit.");
        Problem::new(Kind::BodyTooLarge, detail).with_header(header::CONNECTION, CLOSE)
    }

    fn too_slow(&self) -> Problem {
        let Settings { path, body_timeout, .. } = &self.settings;
        tracing::warn!(%path, body_timeout_seconds = body_timeout.as_secs_f64(), "a webhook body to {path} did not arrive within {body_timeout:?}");
        let detail =
            format!("Send the whole body within {body_timeout:?}, or raise the webhook's body timeout.");
        Problem::new(Kind::BodyTooSlow, detail).with_header(header::CONNECTION, CLOSE)
    }

    fn broken_off(&self, error: &(dyn std::error::Error + 'static)) -> Problem {
        let path = &self.settings.path;
        tracing::warn!(%path, error, "a webhook body to {path} broke off: {error}");
        Problem::new(Kind::BadRequest, "The body broke off: send it whole.")
            .with_header(header::CONNECTION, CLOSE)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("settings", &self.settings)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Reports a miss unless told that there is none.
///
/// A guard, for a sender that goes away takes the reading future with it.
struct Missed<'a>(&'a Intake);

impl Missed<'_> {
    fn nothing(self) {
        std::mem::forget(self);
    }
}

impl Drop for Missed<'_> {
    fn drop(&mut self) {
        self.0.metrics.missed_body();
        (self.0.on_missed)();
    }
}

/// Reads and throws away until the body ends, breaks off, or is longer than worth it.
async fn drain(incoming: &mut Incoming, worth: u64) {
    let mut seen = 0;
    while let Some(Ok(frame)) = incoming.frame().await {
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen > worth {
            return;
        }
    }
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = |name: &HeaderName| {
        let value = headers.get(name)?;
        Some((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    KEPT_HEADERS.iter().filter_map(kept).collect()
}

#[cfg(test)]
mod tests;
