//! The log's part: a condition is told once when it begins, and once when it is over.
//!
//! Promises: what concerns the library is told by the leader alone, for every process sees it; whoever begins to lead
//! tells once what holds. What only one process knows, that process tells. What crosses a threshold to and fro is one
//! condition. Must not know: where conditions come from.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Condition, Kind, Scope, Severity};

/// What comes and goes is told to be over once it has stayed away for so long: one that comes again is the same.
const QUIET: TimeDelta = TimeDelta::minutes(1);

/// What was told of one pipeline and is not over.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<Kind, Span>);

/// How long a condition has held.
#[derive(Debug)]
struct Span {
    since: DateTime<Utc>,
    /// When it was found gone.
    gone: Option<DateTime<Utc>>,
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A condition began.
    Begins(Condition),
    /// A condition is over.
    Over {
        /// Which.
        kind: Kind,
        /// How long it lasted.
        lasted: TimeDelta,
    },
}

impl Told {
    /// What is new in these conditions, which are told from now on.
    pub fn news(&mut self, conditions: &[Condition], leads: bool, now: DateTime<Utc>) -> Vec<News> {
        self.0.retain(|kind, _| is_ours(*kind, leads));
        let mut news = Vec::new();
        for condition in conditions.iter().filter(|condition| is_ours(condition.kind, leads)) {
            let span = self.0.entry(condition.kind).or_insert_with(|| {
                news.push(News::Begins(condition.clone()));
                Span { since: condition.since, gone: None }
            });
            span.gone = None;
        }
        let over = self.0.extract_if(.., |kind, span| {
            let is_gone = conditions.iter().all(|condition| condition.kind != *kind);
            is_gone && now - *span.gone.get_or_insert(now) >= quiet(*kind)
        });
        news.extend(over.map(|(kind, Span { since, gone })| News::Over {
            kind,
            lasted: (gone.unwrap_or(now) - since).max(TimeDelta::zero()),
        }));
        news
    }
}

/// Whether this process tells of it. That the library is away, or refuses us, the waist has said when it happened.
fn is_ours(kind: Kind, leads: bool) -> bool {
    match kind {
        Kind::LibraryAway | Kind::Halted => false,
        _ => leads || kind.scope() == Scope::Process,
    }
}

/// How long it has to stay away to be over.
fn quiet(kind: Kind) -> TimeDelta {
    match kind {
        // They are about counts and times that cross a threshold to and fro.
        Kind::QuarantineGrowing | Kind::Lagging => QUIET,
        _ => TimeDelta::zero(),
    }
}

impl News {
    /// Writes it to the log.
    pub fn log(&self, pipeline: &str) {
        match self {
            Self::Begins(Condition { kind, severity: Severity::Info, since, message }) => {
                tracing::info!(pipeline, condition = kind.as_str(), %since, "{message}");
            }
            Self::Begins(Condition { kind, since, message, .. }) => {
                tracing::warn!(pipeline, condition = kind.as_str(), %since, "{message}");
            }
            Self::Over { kind, lasted } => {
                let after = std::time::Duration::from_secs(lasted.num_seconds().unsigned_abs());
                let (after, recovery) = (humantime::format_duration(after), kind.recovery());
                tracing::info!(pipeline, condition = kind.as_str(), "recovered: {recovery}, after {after}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn condition(kind: Kind, since: i64) -> Condition {
        Condition { kind, severity: kind.severity(), since: at(since), message: "look".into() }
    }

    fn begins(kind: Kind, since: i64) -> News {
        News::Begins(condition(kind, since))
    }

    fn over(kind: Kind, seconds: i64) -> News {
        News::Over { kind, lasted: TimeDelta::seconds(seconds) }
    }

    #[test]
    fn a_condition_is_told_when_it_begins_and_when_it_is_over() {
        let mut told = Told::default();
        let (gap, growing) = (condition(Kind::PossibleGap, 0), condition(Kind::QuarantineGrowing, 5));
        let gap = [gap];
        let both = [growing, gap[0].clone()];
        assert_eq!(told.news(&gap, true, at(1)), [begins(Kind::PossibleGap, 0)]);
        assert_eq!(told.news(&gap, true, at(2)), []);
        assert_eq!(told.news(&both, true, at(6)), [begins(Kind::QuarantineGrowing, 5)]);
        // Its window moves on: that is the same growth.
        let later = [condition(Kind::QuarantineGrowing, 9)];
        assert_eq!(told.news(&later, true, at(9)), [over(Kind::PossibleGap, 9)]);
        assert_eq!(told.news(&[], true, at(11)), []);
        assert_eq!(told.news(&[], true, at(71)), [over(Kind::QuarantineGrowing, 6)]);
        assert_eq!(told.news(&[], true, at(72)), []);
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let mut told = Told::default();
        let growing = [condition(Kind::QuarantineGrowing, 0)];
        assert_eq!(told.news(&growing, true, at(0)), [begins(Kind::QuarantineGrowing, 0)]);
        for second in (10..100).step_by(20) {
            assert_eq!(told.news(&[], true, at(second)), []);
            assert_eq!(told.news(&growing, true, at(second + 10)), []);
        }
        assert_eq!(told.news(&[], true, at(110)), []);
        assert_eq!(told.news(&[], true, at(169)), [], "not for a minute yet");
        assert_eq!(told.news(&[], true, at(170)), [over(Kind::QuarantineGrowing, 110)]);
    }

    #[test]
    fn the_leader_alone_tells_and_a_new_leader_tells_what_holds() {
        let mut told = Told::default();
        let gap = [condition(Kind::PossibleGap, 0)];
        assert_eq!(told.news(&gap, false, at(1)), []);
        assert_eq!(told.news(&gap, true, at(2)), [begins(Kind::PossibleGap, 0)]);
        assert_eq!(told.news(&[], false, at(3)), [], "somebody else leads, and says so");
        assert_eq!(told.news(&gap, true, at(4)), [begins(Kind::PossibleGap, 0)]);
    }

    #[test]
    fn what_only_one_process_knows_it_tells_itself_but_for_what_the_waist_said() {
        let mut told = Told::default();
        let own = [Kind::LibraryAway, Kind::Halted, Kind::Lagging].map(|kind| condition(kind, 0));
        assert_eq!(told.news(&own, false, at(6)), [begins(Kind::Lagging, 0)]);
        assert_eq!(told.news(&own, true, at(7)), [], "it was told");
        assert_eq!(told.news(&[], false, at(8)), []);
        assert_eq!(told.news(&[], false, at(68)), [over(Kind::Lagging, 8)]);
    }
}
