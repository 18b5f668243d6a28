//! What can be set about the simulator.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use crate::faults::Faults;

/// Settings of one simulated CMS. The defaults are those of the real one, without faults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The CMS's own Postgres. Secret, because it holds the password.
    pub database_url: SecretString,
    /// The time between edits.
    pub every: Interval,
    /// The same seed on the same data makes the same edits and the same faults.
    pub seed: u64,
    /// The share (0 to 1) of edits that add a row instead.
    pub inserts: f64,
    /// The share (0 to 1) of edits that delete a row instead; deletes come before inserts where both exceed 1.
    pub deletes: f64,
    /// Whether the listener is told of added rows. The real CMS does not tell.
    pub announce_inserts: bool,
    /// Whether the listener is told of deleted rows. The real CMS does not tell.
    pub announce_deletes: bool,
    /// What goes wrong on the way to the listener.
    pub faults: Faults,
}

impl Config {
    /// Where `docker compose` publishes the CMS's database.
    pub const DEFAULT_DATABASE_URL: &str =
        "postgres://cms_user:cms_user_password@127.0.0.1:15432/cms_database";
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: SecretString::from(Self::DEFAULT_DATABASE_URL),
            every: Interval::default(),
            seed: 1,
            inserts: 0.0,
            deletes: 0.0,
            announce_inserts: false,
            announce_deletes: false,
            faults: Faults::default(),
        }
    }
}

/// A time between two things: always the same, or anything within a range. Written `2s` or `20s..25s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The shortest time.
    pub min: Duration,
    /// The longest time.
    pub max: Duration,
}

impl Interval {
    /// Always the same time.
    pub const fn fixed(time: Duration) -> Self {
        Self { min: time, max: time }
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self { min: Duration::from_secs(20), max: Duration::from_secs(25) }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let time = |part: &str| {
            humantime::parse_duration(part.trim())
                .map_err(|source| IntervalError::Time { part: part.to_owned(), source })
        };
        let interval = match text.split_once("..") {
            Some((min, max)) => Self { min: time(min)?, max: time(max)? },
            None => Self::fixed(time(text)?),
        };
        if interval.min > interval.max {
            return Err(IntervalError::Backwards { text: text.to_owned() });
        }
        if interval.max.is_zero() {
            return Err(IntervalError::Zero);
        }
        Ok(interval)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (humantime::format_duration(self.min), humantime::format_duration(self.max));
        if self.min == self.max { write!(f, "{min}") } else { write!(f, "{min}..{max}") }
    }
}

/// Why a text is not an [`Interval`].
#[derive(Debug, thiserror::Error)]
pub enum IntervalError {
    /// A part is not a time.
    #[error(
        "'{part}' is not a time: write a number and a unit, such as 500ms, 2s or 1m, or a range such as 20s..25s"
    )]
    Time {
        /// What was written.
        part: String,
        /// What is wrong with it.
        source: humantime::DurationError,
    },
    /// The range ends before it starts.
    #[error("'{text}' runs backwards: write the shorter time first, as in 20s..25s")]
    Backwards {
        /// What was written.
        text: String,
    },
    /// Edits without any pause would leave no room for anything else.
    #[error("a time of zero leaves no pause at all: write at least 1ms")]
    Zero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_one_time_or_a_range() {
        assert_eq!("2s".parse::<Interval>().unwrap(), Interval::fixed(Duration::from_secs(2)));
        assert_eq!("20s..25s".parse::<Interval>().unwrap(), Interval::default());
        assert_eq!(Interval::default().to_string(), "20s..25s");
        assert_eq!("1m 500ms".parse::<Interval>().unwrap().to_string(), "1m 500ms");
    }

    #[test]
    fn a_wrong_interval_is_explained() {
        let reason = |text: &str| text.parse::<Interval>().unwrap_err().to_string();
        assert!(reason("2").contains("a number and a unit, such as 500ms"), "{}", reason("2"));
        assert!(reason("soon..2s").starts_with("'soon' is not a time"), "{}", reason("soon..2s"));
        assert!(reason("25s..20s").contains("shorter time first"));
        assert!(reason("0s").contains("at least 1ms"));
    }

    #[test]
    fn the_database_password_is_not_shown() {
        let shown = format!("{:?}", Config::default());
        assert!(!shown.contains("cms_user_password"), "{shown}");
    }
}
