//! Durations as people write them: `30s`, `5m`, `90d`.
//!
//! Promises: what is written is what was read; a whole number of days is shown as days, never as months.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    String::deserialize(deserializer)
        .ok()
        .and_then(|text| humantime::parse_duration(&text).ok())
        .ok_or_else(|| D::Error::custom("expected a duration such as \"30s\", \"5m\" or \"90d\""))
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&spell(*duration))
}

/// The duration in the largest single unit that holds it exactly.
fn spell(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, unit)| nanos.is_multiple_of(*unit))
        .map_or_else(|| format!("{nanos}ns"), |(name, unit)| format!("{}{name}", nanos / unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_stay_days() {
        assert_eq!(spell(Duration::from_hours(90 * 24)), "90d");
        assert_eq!(spell(Duration::from_secs(90)), "90s");
        assert_eq!(spell(Duration::from_millis(1500)), "1500ms");
    }

    proptest! {
        #[test]
        fn what_is_spelled_reads_back(secs in 0u64..100_000_000, nanos in 0u32..1_000_000_000) {
            for duration in [Duration::from_secs(secs), Duration::new(secs, nanos)] {
                prop_assert_eq!(humantime::parse_duration(&spell(duration)).ok(), Some(duration));
            }
        }
    }
}
