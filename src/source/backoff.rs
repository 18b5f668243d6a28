//! How long to wait before trying again: exponential with full jitter.
//!
//! Promises: never longer than the bound, and two processes that failed together do not try together.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::config::Backoff;

/// The longest pause after this many failures in a row, counted from 1.
pub fn ceiling(bounds: &Backoff, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    bounds.initial.saturating_mul(1 << doublings).min(bounds.max)
}

/// A pause between nothing and the ceiling, all equally likely.
pub fn pause(bounds: &Backoff, failures: u32, rng: &mut impl Rng) -> Duration {
    ceiling(bounds, failures).mul_f64(rng.random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_bound() {
        let ceilings: Vec<_> =
            (1..=7).map(|failures| ceiling(&Backoff::default(), failures).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn a_pause_stays_under_a_ceiling_that_never_falls_nor_passes_the_bound(
            initial in 1u64..10_000, more in 0u64..100_000, failures in 1u32..u32::MAX, seed: u64,
        ) {
            let bounds = Backoff {
                initial: Duration::from_millis(initial),
                max: Duration::from_millis(initial + more),
            };
            let ceiling_now = ceiling(&bounds, failures);
            prop_assert!(ceiling_now <= bounds.max);
            prop_assert!(ceiling(&bounds, failures - 1) <= ceiling_now);
            prop_assert!(pause(&bounds, failures, &mut StdRng::seed_from_u64(seed)) <= ceiling_now);
        }
    }
}
