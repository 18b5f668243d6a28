//! `[pipeline.NAME.quarantine]`: when a pipeline's quarantine is said to grow.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{duration, positive};

/// When a pipeline's quarantine is said to grow.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Quarantine {
    /// So many entries kept within the window, and still open, are a growth. What waits because the pipeline is paused
    /// does not count.
    #[validate(range(min = 1, max = 1_000_000, message = "must be between 1 and 1000000"))]
    pub growth: u32,
    /// The window.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub within: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { growth: 10, within: Duration::from_mins(5) }
    }
}
