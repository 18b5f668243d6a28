//! `[pipeline.NAME.reconcile]`: when source and library are compared, and what is done about a difference.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{duration, positive};
use crate::reconcile::Schedule;

/// How a pipeline is reconciled with its reference. With this section it is so by itself: by schedule, and after
/// whatever may have made it miss changes; without it, only by hand.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    /// When it is done, besides after a gap; a cron expression in UTC.
    pub schedule: Option<Schedule>,
    /// What is done about rows that differ.
    pub on_drift: OnDrift,
    /// How long a difference must last to be one: longer than a change usually takes to arrive.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// More deletes than this hold a run, in the place of the built-in limit.
    pub max_deletes: Option<u64>,
    /// More repairs than this hold a run, in the place of the built-in limit.
    pub max_changes: Option<u64>,
    /// So many scheduled runs in a row find rows that went stale without a single webhook: the sender is said to be
    /// silent, and we register anew.
    #[validate(range(min = 1, max = 1000, message = "must be between 1 and 1000"))]
    pub silent_after: u32,
    /// How long one statement may take on either side.
    #[serde(with = "duration")]
    #[validate(custom(function = positive))]
    pub statement_timeout: Duration,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            schedule: None,
            on_drift: OnDrift::Repair,
            grace: Duration::from_secs(2),
            max_deletes: None,
            max_changes: None,
            silent_after: 2,
            statement_timeout: Duration::from_mins(10),
        }
    }
}

/// What is done about rows that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// The library is brought in accord with the reference.
    Repair,
    /// It is said, and nothing is written: not on demand either.
    Report,
}
