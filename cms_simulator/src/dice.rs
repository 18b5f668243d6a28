//! Every chance the simulator takes, drawn from one seed.
//!
//! Edits, faults and pauses have a stream each, and every draw takes the same number of values whatever is switched
//! on, so that faults and pauses never change which edits are made.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::config::{Config, Interval};
use crate::faults::Faults;

pub(crate) struct Dice {
    edits: Xoshiro256PlusPlus,
    faults: Xoshiro256PlusPlus,
    pauses: Xoshiro256PlusPlus,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Which row, as a place between the first key (0) and the last (1).
    pub(crate) position: f64,
    pub(crate) grow_name: bool,
    pub(crate) change_cost: bool,
    /// The new cost, or the one after it where the row already has this one.
    pub(crate) cost: i64,
    /// Which of the generated fragrances an added row copies.
    pub(crate) fragrance: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Edit,
    Insert,
    Delete,
}

/// What happens to one call on its way to the listener.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fate {
    pub(crate) dropped: bool,
    pub(crate) duplicated: bool,
    pub(crate) malformation: Option<Malformation>,
    pub(crate) delay: Option<Duration>,
}

/// A way to break a body. None of them leaves JSON behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformation {
    CutShort,
    PythonRepr,
    NotUtf8,
    ErrorPage,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let stream = |number| Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(3).wrapping_add(number));
        Self { edits: stream(0), faults: stream(1), pauses: stream(2) }
    }

    pub(crate) fn plan(&mut self, config: &Config) -> Plan {
        let kind = match self.edits.random::<f64>() {
            chance if chance < config.deletes => Kind::Delete,
            chance if chance < config.deletes + config.inserts => Kind::Insert,
            _ => Kind::Edit,
        };
        Plan {
            kind,
            position: self.edits.random(),
            grow_name: self.edits.random(),
            change_cost: self.edits.random(),
            cost: self.edits.random_range(0..120),
            fragrance: self.edits.random_range(0..1_000_000),
        }
    }

    pub(crate) fn fate(&mut self, faults: &Faults) -> Fate {
        let dropped = self.faults.random::<f64>() < faults.drop;
        let duplicated = self.faults.random::<f64>() < faults.duplicate;
        let malformed = self.faults.random::<f64>() < faults.malformed;
        let malformation = match self.faults.random_range(0..4) {
            0 => Malformation::CutShort,
            1 => Malformation::PythonRepr,
            2 => Malformation::NotUtf8,
            _ => Malformation::ErrorPage,
        };
        let (late, lateness) = (self.faults.random::<f64>(), self.faults.random::<f64>());
        Fate {
            dropped,
            duplicated,
            malformation: malformed.then_some(malformation),
            delay: faults.delay.filter(|delay| late < delay.share).map(|delay| delay.max.mul_f64(lateness)),
        }
    }

    pub(crate) fn pause(&mut self, every: Interval) -> Duration {
        every.min + every.max.saturating_sub(every.min).mul_f64(self.pauses.random())
    }
}

impl Malformation {
    pub(crate) fn apply(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::CutShort => body[..body.len() / 2].to_vec(),
            Self::PythonRepr => String::from_utf8_lossy(body)
                .replace('"', "'")
                .replace(": true", ": True")
                .replace(": false", ": False")
                .into_bytes(),
            Self::NotUtf8 => [body, b"\xff\xfe"].concat(),
            Self::ErrorPage => b"<html><body><h1>500 Internal Server Error</h1></body></html>".to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Delay;

    fn plans(seed: u64, config: &Config) -> Vec<Plan> {
        let mut dice = Dice::new(seed);
        (0..100).map(|_| dice.plan(config)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_plans() {
        let config = Config::default();
        assert_eq!(plans(7, &config), plans(7, &config));
        assert_ne!(plans(7, &config), plans(8, &config));
    }

    #[test]
    fn faults_and_pauses_do_not_change_the_plans() {
        let config = Config::default();
        let faults = "drop=50%,duplicate=50%,malformed=50%,delay=1s".parse().unwrap();
        let mut dice = Dice::new(7);
        let disturbed: Vec<Plan> = (0..100)
            .map(|_| {
                dice.fate(&faults);
                dice.pause(config.every);
                dice.plan(&config)
            })
            .collect();
        assert_eq!(disturbed, plans(7, &config));
    }

    #[test]
    fn one_fault_does_not_change_when_another_strikes() {
        let dropped = |faults: &Faults| {
            let mut dice = Dice::new(7);
            (0..100).map(|_| dice.fate(faults).dropped).collect::<Vec<_>>()
        };
        let alone = Faults { drop: 0.3, ..Faults::default() };
        let delay = Some(Delay { max: Duration::from_secs(1), share: 0.5 });
        let among_others = Faults { duplicate: 0.5, malformed: 0.5, delay, ..alone.clone() };
        assert_eq!(dropped(&alone), dropped(&among_others));
        assert!((15..45).contains(&dropped(&alone).iter().filter(|&&dropped| dropped).count()));
    }

    #[test]
    fn shares_of_none_and_all_are_exact() {
        let kinds = |inserts, deletes| {
            let config = Config { inserts, deletes, ..Config::default() };
            plans(1, &config).iter().map(|plan| plan.kind).collect::<Vec<_>>()
        };
        assert!(kinds(0.0, 0.0).iter().all(|kind| *kind == Kind::Edit));
        assert!(kinds(1.0, 0.0).iter().all(|kind| *kind == Kind::Insert));
        assert!(kinds(0.0, 1.0).iter().all(|kind| *kind == Kind::Delete));
    }

    #[test]
    fn pauses_stay_within_the_interval() {
        let every = Interval::default();
        let mut dice = Dice::new(1);
        assert!((0..1000).map(|_| dice.pause(every)).all(|pause| (every.min..=every.max).contains(&pause)));
    }

    #[test]
    fn no_malformed_body_is_json() {
        let body = br#"{"fragrance_id": 1, "name": "Iris", "forbidden": true}"#;
        for malformation in
            [Malformation::CutShort, Malformation::PythonRepr, Malformation::NotUtf8, Malformation::ErrorPage]
        {
            let broken = malformation.apply(body);
            assert!(serde_json::from_slice::<serde_json::Value>(&broken).is_err(), "{malformation:?}");
        }
    }
}
