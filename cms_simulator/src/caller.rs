//! Calls the listener as the real CMS does: one attempt, on a connection of its own.

use std::error::Error;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;

/// The real CMS sets no deadline, so a listener that hangs stops its editing for good. Ours waits this long.
const DEADLINE: Duration = Duration::from_secs(10);

const USER_AGENT: &str = "python-requests/2.34.2";

pub(crate) struct Caller {
    client: reqwest::Client,
}

impl Caller {
    pub(crate) fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .http1_title_case_headers()
            .pool_max_idle_per_host(0)
            .timeout(DEADLINE)
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }

    /// The status of the answer, or in words why there was none. The words never hold the URL, for its path is secret.
    pub(crate) async fn post(&self, url: &str, body: Vec<u8>) -> Result<u16, String> {
        self.client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .map(|answer| answer.status().as_u16())
            .map_err(|error| reason(&error.without_url()))
    }
}

/// The innermost cause says what happened ("Connection refused"); the layers above only say that it did.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {DEADLINE:?}");
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
