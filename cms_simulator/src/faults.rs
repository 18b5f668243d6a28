//! What can go wrong between an edit and the listener, and the compact text that asks for it.

use std::str::FromStr;
use std::time::Duration;

/// Faults to inject, all off by default. Shares run from 0 (never) to 1 (always).
///
/// Written as a list such as `drop=30%,duplicate=10%,delay=2s@50%,malformed=5%,burst=50,forget=60s`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// The share of calls that are never made.
    pub drop: f64,
    /// The share of calls that are made twice.
    pub duplicate: f64,
    /// Calls that come late, so that later ones overtake them.
    pub delay: Option<Delay>,
    /// The share of calls whose body is not JSON.
    pub malformed: f64,
    /// Makes every edit a burst: this many edits, spread over one second.
    pub burst: Option<u32>,
    /// How often the CMS forgets its listener, as it does when it restarts.
    pub forget_listener: Option<Duration>,
}

/// How late calls come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// The longest delay; each is drawn between nothing and this.
    pub max: Duration,
    /// The share of calls that are delayed.
    pub share: f64,
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| FaultsError::NoValue { part: part.to_owned() })?;
            match name.trim() {
                "drop" => faults.drop = share(value)?,
                "duplicate" => faults.duplicate = share(value)?,
                "delay" => faults.delay = Some(delay(value)?),
                "malformed" => faults.malformed = share(value)?,
                "burst" => faults.burst = Some(count(value)?),
                "forget" => faults.forget_listener = Some(time(value)?),
                other => return Err(FaultsError::Unknown { name: other.to_owned() }),
            }
        }
        Ok(faults)
    }
}

/// Reads a share, written `30%` or `0.3`.
pub fn share(text: &str) -> Result<f64, FaultsError> {
    let text = text.trim();
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match number {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(FaultsError::Share { value: text.to_owned() }),
    }
}

fn delay(text: &str) -> Result<Delay, FaultsError> {
    match text.split_once('@') {
        Some((max, part)) => Ok(Delay { max: time(max)?, share: share(part)? }),
        None => Ok(Delay { max: time(text)?, share: 1.0 }),
    }
}

fn count(text: &str) -> Result<u32, FaultsError> {
    match text.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(FaultsError::Count { value: text.to_owned() }),
    }
}

fn time(text: &str) -> Result<Duration, FaultsError> {
    match humantime::parse_duration(text.trim()) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(FaultsError::Time { value: text.to_owned() }),
    }
}

/// Why a text does not describe [`Faults`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultsError {
    /// A fault without a value.
    #[error("'{part}' lacks its value: write it as name=value, such as drop=30%")]
    NoValue {
        /// What was written.
        part: String,
    },
    /// No fault has this name.
    #[error("there is no fault '{name}': choose among drop, duplicate, delay, malformed, burst and forget")]
    Unknown {
        /// What was written.
        name: String,
    },
    /// Not a share.
    #[error("'{value}' is not a share: write a percentage from 0% to 100%, or a number from 0 to 1")]
    Share {
        /// What was written.
        value: String,
    },
    /// Not a number of edits.
    #[error("'{value}' is not a number of edits: write a whole number from 1, such as burst=50")]
    Count {
        /// What was written.
        value: String,
    },
    /// Not a time.
    #[error(
        "'{value}' is not a time: write a number and a unit, such as 500ms, 2s or 1m (a delay may add a share: 2s@30%)"
    )]
    Time {
        /// What was written.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_asked_for() {
        let all = "drop=30%, duplicate=0.1,delay=2s@50%,malformed=5%,burst=50,forget=60s";
        let expected = Faults {
            drop: 0.3,
            duplicate: 0.1,
            delay: Some(Delay { max: Duration::from_secs(2), share: 0.5 }),
            malformed: 0.05,
            burst: Some(50),
            forget_listener: Some(Duration::from_mins(1)),
        };
        assert_eq!(all.parse(), Ok(expected));
    }

    #[test]
    fn no_fault_is_on_unless_named() {
        assert_eq!("".parse(), Ok(Faults::default()));
        assert_eq!("drop=100%".parse(), Ok(Faults { drop: 1.0, ..Faults::default() }));
        let always_late = Delay { max: Duration::from_secs(2), share: 1.0 };
        assert_eq!("delay=2s".parse(), Ok(Faults { delay: Some(always_late), ..Faults::default() }));
    }

    #[test]
    fn a_wrong_fault_is_explained() {
        let reason = |text: &str| text.parse::<Faults>().unwrap_err().to_string();
        assert_eq!(reason("drop"), "'drop' lacks its value: write it as name=value, such as drop=30%");
        assert!(
            reason("lose=1%").contains("choose among drop, duplicate, delay, malformed, burst and forget")
        );
        for wrong in ["drop=130%", "drop=-1%", "drop=often", "drop=NaN", "drop="] {
            assert!(reason(wrong).contains("from 0% to 100%"), "{wrong}: {}", reason(wrong));
        }
        assert!(reason("burst=0").contains("a whole number from 1"));
        assert!(reason("forget=60").contains("a number and a unit"));
        assert!(reason("delay=2s@200%").contains("from 0% to 100%"));
    }
}
