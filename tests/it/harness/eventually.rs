//! Waiting for what happens in its own time.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Tries `attempt` until it succeeds; past `deadline` the test fails, telling `what` did not come about, what
/// the last attempt saw instead, and which line waited.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(
    deadline: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    const PAUSE: Duration = Duration::from_millis(20);
    let caller = Location::caller();
    async move {
        let began = Instant::now();
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(seen) if began.elapsed() > deadline => {
                    panic!("{caller}: not within {deadline:?}: {what}; last seen: {seen:?}")
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
