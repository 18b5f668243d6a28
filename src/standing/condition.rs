//! The conditions: what deserves an operator's eye, each with a stable word and the way out.
//!
//! Promises: pure; the words of [`Kind`] are a public contract; every message says what to do. Must not know: databases.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Checked, Expected, HeldRun, Live, Standing};
use crate::apply::{Gap, Health};
use crate::library::pause::Pause;
use crate::library::pipeline::GapRecord;
use crate::reconcile::record::release_command;

/// A change that waits longer than this for its answer lags. Even a batch that is refused and halved takes less.
const LAGGING: TimeDelta = TimeDelta::seconds(5);

/// So many rules or reasons are named; of the others, the number.
const NAMED: usize = 5;

/// What deserves an operator's eye.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which.
    #[serde(rename = "condition")]
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What is the matter, and the way out.
    pub message: String,
}

/// The conditions there are, the most pressing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The library's database is away; changes are held.
    LibraryAway,
    /// The library refuses our statements.
    Halted,
    /// Rules of severity error are broken in the library.
    ChecksFailed,
    /// A reconciliation is held until an operator decides.
    BreakerHeld,
    /// The source changes without calling us.
    SilentSource,
    /// Entries come into quarantine faster than they leave it.
    QuarantineGrowing,
    /// Changes wait long for their commit.
    Lagging,
    /// Changes may have been missed.
    PossibleGap,
    /// The configured contract is not the one in force.
    ContractNotActive,
    /// An operator paused the pipeline.
    Paused,
}

/// How much a condition matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody wanted it so.
    Info,
    /// It may go away by itself, or is worth a look.
    Warning,
    /// Somebody has to do something.
    Error,
}

/// Whom a condition concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The library: every process sees the same.
    Library,
    /// One process, which alone can tell.
    Process,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::LibraryAway,
        Self::Halted,
        Self::ChecksFailed,
        Self::BreakerHeld,
        Self::SilentSource,
        Self::QuarantineGrowing,
        Self::Lagging,
        Self::PossibleGap,
        Self::ContractNotActive,
        Self::Paused,
    ];

    /// The word in answers and as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LibraryAway => "library_away",
            Self::Halted => "halted",
            Self::ChecksFailed => "checks_failed",
            Self::BreakerHeld => "breaker_held",
            Self::SilentSource => "silent_source",
            Self::QuarantineGrowing => "quarantine_growing",
            Self::Lagging => "lagging",
            Self::PossibleGap => "possible_gap",
            Self::ContractNotActive => "contract_not_active",
            Self::Paused => "paused",
        }
    }

    /// How much it matters, as a rule: a gap that is only that of a start matters less.
    pub fn severity(self) -> Severity {
        match self {
            Self::LibraryAway
            | Self::Halted
            | Self::ChecksFailed
            | Self::BreakerHeld
            | Self::SilentSource => Severity::Error,
            Self::QuarantineGrowing | Self::Lagging | Self::PossibleGap => Severity::Warning,
            Self::ContractNotActive | Self::Paused => Severity::Info,
        }
    }

    /// Whom it concerns.
    pub fn scope(self) -> Scope {
        match self {
            Self::LibraryAway | Self::Halted | Self::Lagging | Self::ContractNotActive => Scope::Process,
            _ => Scope::Library,
        }
    }

    /// What is said when it is over.
    pub fn recovery(self) -> &'static str {
        match self {
            Self::LibraryAway => "the library's database is back",
            Self::Halted => "the library takes our statements again",
            Self::ChecksFailed => "no check fails any more",
            Self::BreakerHeld => "no reconciliation is held any more",
            Self::SilentSource => "the source announces its changes again",
            Self::QuarantineGrowing => "the quarantine grows no more",
            Self::Lagging => "changes are committed in time again",
            Self::PossibleGap => "what may have been missed is made up for",
            Self::ContractNotActive => "the configured contract is in force",
            Self::Paused => "the pipeline goes on",
        }
    }

    fn since(self, since: DateTime<Utc>, message: String) -> Condition {
        Condition { kind: self, severity: self.severity(), since, message }
    }
}

impl Standing {
    /// What deserves an operator's eye, as far as the library's database knows.
    pub fn conditions(&self, expected: &Expected) -> Vec<Condition> {
        let name = &self.name;
        [
            self.check.as_ref().and_then(|check| checks_failed(name, check)),
            self.held.as_ref().map(|held| breaker_held(name, held)),
            self.silent_since.map(|since| Kind::SilentSource.since(since, SILENT.to_owned())),
            self.quarantine_growing(expected),
            self.gap.as_ref().map(|gap| possible_gap(name, gap)),
            self.contract_not_active(expected),
            self.paused.as_ref().map(|paused| is_paused(name, paused)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn quarantine_growing(&self, expected: &Expected) -> Option<Condition> {
        let waiting = &self.quarantine;
        let since = waiting.growing_since.filter(|_| waiting.growth >= expected.quarantine.growth.into())?;
        let mut reasons: Vec<_> = waiting.reasons.iter().collect();
        reasons.sort_by(|(_, a), (_, b)| b.cmp(a));
        let reasons = named(reasons.iter().map(|(reason, count)| format!("{reason} {count}")));
        let message = format!(
            "the quarantine grows: {} more within {}, {} open ({reasons}): `accord quarantine list --pipeline {}` \
             shows them",
            waiting.growth,
            humantime::format_duration(expected.quarantine.within),
            waiting.open,
            self.name,
        );
        Some(Kind::QuarantineGrowing.since(since, message))
    }

    fn contract_not_active(&self, expected: &Expected) -> Option<Condition> {
        let configured = expected.contract.as_ref()?;
        let in_force = self.in_force.as_ref().filter(|in_force| in_force.hash != *configured)?;
        let message = format!(
            "the configured contract is not in force, {} {} is, by the word of {}: `accord contract activate {}` \
             shows what the configured one would mean, and puts it in force",
            in_force.name, in_force.version, in_force.activated_by, self.name
        );
        Some(Kind::ContractNotActive.since(in_force.at, message))
    }
}

impl Live {
    /// What deserves an operator's eye, as far as this process knows by itself.
    pub fn conditions(&self, now: DateTime<Utc>) -> Vec<Condition> {
        let health = match &self.health {
            Health::Ready | Health::Starting => None,
            Health::Away { since, reason } => Some(Kind::LibraryAway.since(
                *since,
                format!("the library's database is away, changes are held ({reason}): see `accord doctor`"),
            )),
            Health::Halted { since, reason } => Some(Kind::Halted.since(
                *since,
                format!("the library refuses our statements ({reason}): see `accord doctor`"),
            )),
        };
        let lag = TimeDelta::from_std(self.lag).unwrap_or(TimeDelta::MAX);
        let lagging = (lag > LAGGING).then(|| {
            let message = format!(
                "a change has been waiting for its commit for {} s: see what blocks the library's database, with \
                 `select pid, query from pg_stat_activity where wait_event_type = 'Lock'`",
                lag.num_seconds()
            );
            Kind::Lagging.since(now.checked_sub_signed(lag).unwrap_or(now), message)
        });
        health.into_iter().chain(lagging).collect()
    }
}

/// All conditions of a pipeline, the most pressing first.
pub fn all(
    standing: Option<&Standing>,
    live: &Live,
    expected: &Expected,
    now: DateTime<Utc>,
) -> Vec<Condition> {
    let mut conditions = live.conditions(now);
    conditions.extend(standing.iter().flat_map(|standing| standing.conditions(expected)));
    conditions.sort_by_key(|condition| condition.kind);
    conditions
}

const SILENT: &str = "the source changes and says nothing: our listener is lost or taken. Accord registers again at \
                      each comparison; is somebody else registered as its listener?";

fn checks_failed(name: &str, check: &Checked) -> Option<Condition> {
    let since = check.failing_since.filter(|_| check.failed > 0)?;
    let are = if check.failed == 1 { "rule is" } else { "rules are" };
    let rules = named(check.failing.iter().cloned());
    let message = format!(
        "{} {are} broken in the library ({rules}): `accord check {name}` shows the rows",
        check.failed
    );
    Some(Kind::ChecksFailed.since(since, message))
}

fn breaker_held(name: &str, held: &HeldRun) -> Condition {
    // The reason names the way out.
    let reason = held.reason.clone().unwrap_or_else(|| release_command(name, held.run));
    Kind::BreakerHeld.since(held.since, format!("reconciliation {} is held: {reason}", held.run))
}

fn possible_gap(name: &str, gap: &GapRecord) -> Condition {
    let why = gap.reasons.join(", ");
    let message =
        format!("changes may have been missed ({why}): `accord reconcile {name}` makes up for them");
    let condition = Kind::PossibleGap.since(gap.since, message);
    // Every start is a gap; by itself it is no reason to wake anybody.
    let is_mere_start = gap.reasons.iter().all(|reason| reason == Gap::Start.as_str());
    Condition { severity: if is_mere_start { Severity::Info } else { condition.severity }, ..condition }
}

fn is_paused(name: &str, pause: &Pause) -> Condition {
    let Pause { since, by, reason } = pause;
    let message =
        format!("paused by {by}, “{reason}”: changes go to quarantine until `accord resume {name}`");
    Kind::Paused.since(*since, message)
}

/// The first few, and how many more.
fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let first = all.take(NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

#[cfg(test)]
mod tests;
