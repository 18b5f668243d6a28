//! `[pipeline.NAME.check]`: when the table is measured by what its contract promises.

use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::reconcile::Schedule;

/// When a pipeline's table is checked by itself; without this section, only when somebody asks.
#[derive(Clone, Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// When it is done; a cron expression in UTC.
    pub schedule: Schedule,
}
