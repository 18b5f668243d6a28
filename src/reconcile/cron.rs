//! When a reconciliation is due: a cron expression, in UTC.
//!
//! Promises: whatever is a [`Schedule`] has a next time; five fields mean second 0. Must not know: what is due.

use std::str::FromStr;

use chrono::{DateTime, SubsecRound as _, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A cron expression of five or six fields, such as `*/5 * * * *`.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// The last time at which it was due.
    pub fn last_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_previous_occurrence(&now.trunc_subsecs(0), true).ok()
    }

    /// The next time at which it is due.
    pub fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&now.trunc_subsecs(0), false).ok()
    }

    /// With six fields, seconds first.
    pub fn six_fields(&self) -> String {
        let fields = self.text.split_whitespace().collect::<Vec<_>>();
        let seconds = if fields.len() == 5 { "0 " } else { "" };
        format!("{seconds}{}", fields.join(" "))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        // Days of month and of week have to hold both: as the timer reads it.
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).dom_and_dow(true).build();
        let is_plain = matches!(text.split_whitespace().count(), 5 | 6);
        let cron = parser.parse(text).ok().filter(|_| is_plain).ok_or(ScheduleError)?;
        let schedule = Self { text: text.to_owned(), cron };
        // The 31st of February parses.
        schedule.next_due(Utc::now()).ok_or(ScheduleError)?;
        Ok(schedule)
    }
}

/// The text is no schedule.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected a cron expression of five or six fields that comes round, such as \"*/5 * * * *\" (every five minutes) \
     or \"30 0 3 * * *\" (daily at 03:00:30 UTC)"
)]
pub struct ScheduleError;

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(ScheduleError))?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn five_fields_mean_second_zero_and_six_name_it() {
        let (five, six) = (schedule("*/5 * * * *"), schedule("30 */5 * * * *"));
        assert_eq!(
            (five.six_fields().as_str(), six.six_fields().as_str()),
            ("0 */5 * * * *", "30 */5 * * * *")
        );
        let now = at("2026-03-01T12:07:00Z");
        assert_eq!(five.last_due(now), Some(at("2026-03-01T12:05:00Z")));
        assert_eq!(five.next_due(now), Some(at("2026-03-01T12:10:00Z")));
        assert_eq!(six.last_due(now), Some(at("2026-03-01T12:05:30Z")));
    }

    #[test]
    fn a_time_that_is_due_now_is_due() {
        let now = at("2026-03-01T12:05:00Z");
        assert_eq!(schedule("*/5 * * * *").last_due(now), Some(now));
        assert_eq!(
            schedule("*/5 * * * *").last_due(now - chrono::TimeDelta::milliseconds(1)),
            Some(at("2026-03-01T12:00:00Z"))
        );
    }

    #[test]
    fn what_never_comes_or_has_other_fields_is_no_schedule() {
        for text in ["", "often", "* * * *", "61 * * * *", "0 0 0 31 2 *", "@daily", "0 0 0 1 1 * 2030"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
