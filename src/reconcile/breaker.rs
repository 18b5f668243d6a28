//! Breakers: what must be true before a reconciliation may write anything at all.
//!
//! Promises: pure; every reason says the numbers and the way out; without a [`Passed`], which only this module
//! makes, nothing can be repaired. Must not know: databases, keys, who asks.

use super::report::{Counts, Rows};

/// How much a reconciliation may change without an operator's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most rows it may delete; by default 50, or 0.5 % of the library's rows if that is more.
    pub max_deletes: Option<u64>,
    /// The most rows it may change at all; by default 1,000, or 5 % of the library's rows if that is
    /// more.
    pub max_changes: Option<u64>,
    /// An operator has looked and says that it is right: no breaker holds.
    pub lifted: bool,
    /// How many rows the reference had when a reconciliation last went well.
    pub last_good_source_rows: Option<u64>,
}

/// As many rows may always be deleted, however small the library is.
const MIN_DELETES: u64 = 50;

/// As many rows may always be changed, however small the library is.
const MIN_CHANGES: u64 = 1000;

/// The breakers let a run pass, and this is as far as it may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    deletes: u64,
}

impl Passed {
    /// How many rows may be deleted: what was found when the breakers were asked, and not one more.
    pub(super) fn deletes(&self) -> u64 {
        self.deletes
    }
}

/// Asks all breakers about what was found; the error is the sentence for the operator. It ends with the wish that the
/// run be released, to which whoever knows the run adds the command.
pub(super) fn judge(limits: &Limits, rows: Rows, counts: &Counts) -> Result<Passed, String> {
    let passed = Passed { deletes: counts.orphan };
    if limits.lifted {
        return Ok(passed);
    }
    shrunk_source(limits, rows)?;
    // The larger of the two: what is 0.5 % or 5 % of the library, rounded down.
    let max_deletes = limits.max_deletes.unwrap_or_else(|| MIN_DELETES.max(rows.target / 200));
    if counts.orphan > max_deletes {
        return Err(format!(
            "{} would be deleted, and {max_deletes} may be without a person's word: look at `accord diff`, then \
             raise the limit with --max-deletes {}, or release the run",
            rows_of(counts.orphan),
            counts.orphan,
        ));
    }
    let max_changes = limits.max_changes.unwrap_or_else(|| MIN_CHANGES.max(rows.target / 20));
    if counts.drifted() > max_changes {
        let fill = if rows.target == 0 { "fill an empty library by `accord backfill`, " } else { "" };
        return Err(format!(
            "{} would be changed, and {max_changes} may be without a person's word: look at `accord diff`, then \
             {fill}raise the limit with --max-changes {}, or release the run",
            rows_of(counts.drifted()),
            counts.drifted(),
        ));
    }
    Ok(passed)
}

/// A reference that lost much of what it had is more likely broken than right.
fn shrunk_source(limits: &Limits, rows: Rows) -> Result<(), String> {
    let way_out = "see whether it is the right database and whole; if it is, release the run";
    if rows.source == 0 && rows.target > 0 {
        return Err(format!(
            "the reference is empty, while the library has {}: {way_out}",
            rows_of(rows.target)
        ));
    }
    match limits.last_good_source_rows {
        Some(last) if u128::from(rows.source) * 10 < u128::from(last) * 9 => Err(format!(
            "the reference has {}, under 90 % of the {last} that it had when all was well: {way_out}",
            rows_of(rows.source)
        )),
        _ => Ok(()),
    }
}

fn rows_of(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(missing: u64, stale: u64, orphan: u64) -> Counts {
        Counts { missing, stale, orphan, ..Counts::default() }
    }

    fn rows(source: u64, target: u64) -> Rows {
        Rows { source, target }
    }

    fn holds(limits: &Limits, rows: Rows, counts: &Counts) -> bool {
        judge(limits, rows, counts).is_err()
    }

    #[test]
    fn deletes_are_held_over_fifty_or_half_a_percent_whichever_is_more() {
        let usual = Limits::default();
        for (library, most) in
            [(0, 50), (100, 50), (10_000, 50), (10_199, 50), (10_200, 51), (1_000_000, 5000)]
        {
            // The source is not at issue here: it has all it ever had.
            let rows = rows(1_000_000, library);
            for (orphans, held) in [(most - 1, false), (most, false), (most + 1, true)] {
                assert_eq!(holds(&usual, rows, &drift(0, 0, orphans)), held, "{orphans} of {library}");
            }
        }
    }

    #[test]
    fn changes_are_held_over_a_thousand_or_five_percent_whichever_is_more() {
        let usual = Limits::default();
        for (library, most) in
            [(0, 1000), (20_000, 1000), (20_019, 1000), (20_020, 1001), (1_000_000, 50_000)]
        {
            let rows = rows(1_000_000, library);
            for (changes, held) in [(most - 1, false), (most, false), (most + 1, true)] {
                // However they are made up, deletes included.
                let orphans = 10;
                for counts in [drift(changes, 0, 0), drift(0, changes, 0), drift(100, changes - 110, orphans)]
                {
                    assert_eq!(holds(&usual, rows, &counts), held, "{counts:?} of {library}");
                }
            }
        }
    }

    #[test]
    fn an_empty_reference_is_held_unless_the_library_is_empty_too() {
        let usual = Limits::default();
        assert!(holds(&usual, rows(0, 1), &drift(0, 0, 1)));
        assert!(!holds(&usual, rows(1, 1), &drift(0, 0, 1)));
        assert!(!holds(&usual, rows(0, 0), &drift(0, 0, 0)));
    }

    #[test]
    fn a_reference_under_nine_tenths_of_its_last_good_count_is_held() {
        let known = |last| Limits { last_good_source_rows: Some(last), ..Limits::default() };
        for (last, least) in [(1000, 900), (1001, 901), (9, 9), (10, 9), (1, 1), (0, 0)] {
            let one = drift(0, 1, 0);
            assert!(!holds(&known(last), rows(least, 5000), &one) || least == 0, "{least} of {last}");
            assert!(!holds(&known(last), rows(least + 1, 5000), &one), "{} of {last}", least + 1);
            if least > 0 {
                assert!(holds(&known(last), rows(least - 1, 5000), &one), "{} of {last}", least - 1);
            }
        }
        assert!(!holds(&known(u64::MAX), rows(u64::MAX, 1), &drift(0, 1, 0)), "no count overflows");
    }

    #[test]
    fn explicit_limits_replace_the_usual_ones_in_both_directions() {
        let rows = rows(10_000, 10_000);
        let deletes = |n| Limits { max_deletes: Some(n), ..Limits::default() };
        assert!(holds(&deletes(0), rows, &drift(0, 0, 1)) && !holds(&deletes(0), rows, &drift(1, 1, 0)));
        assert!(
            holds(&deletes(400), rows, &drift(0, 0, 401)) && !holds(&deletes(400), rows, &drift(0, 0, 400))
        );
        let changes = |n| Limits { max_changes: Some(n), ..Limits::default() };
        assert!(holds(&changes(0), rows, &drift(1, 0, 0)));
        assert!(!holds(&changes(5000), rows, &drift(5000, 0, 0)));
        assert!(holds(&changes(5000), rows, &drift(0, 0, 51)), "the limit on deletes stays what it was");
    }

    #[test]
    fn a_person_may_lift_all_of_them_and_the_deletes_are_still_counted() {
        let lifted = Limits { lifted: true, last_good_source_rows: Some(9999), ..Limits::default() };
        let passed = judge(&lifted, rows(0, 9999), &drift(0, 0, 9999)).unwrap();
        assert_eq!(passed.deletes(), 9999);
    }

    #[test]
    fn a_reason_says_the_numbers_and_the_way_out() {
        let reason = |limits: Limits, rows, counts| judge(&limits, rows, &counts).unwrap_err();
        insta::assert_snapshot!(
            [
                reason(Limits::default(), rows(0, 5000), drift(0, 0, 5000)),
                reason(
                    Limits { last_good_source_rows: Some(5000), ..Limits::default() },
                    rows(4000, 5000),
                    drift(0, 0, 1000),
                ),
                reason(Limits::default(), rows(5000, 5051), drift(0, 0, 51)),
                reason(Limits::default(), rows(5000, 0), drift(5000, 0, 0)),
            ]
            .join("\n"),
            @"
        the reference is empty, while the library has 5000 rows: see whether it is the right database and whole; if it is, release the run
        the reference has 4000 rows, under 90 % of the 5000 that it had when all was well: see whether it is the right database and whole; if it is, release the run
        51 rows would be deleted, and 50 may be without a person's word: look at `accord diff`, then raise the limit with --max-deletes 51, or release the run
        5000 rows would be changed, and 1000 may be without a person's word: look at `accord diff`, then fill an empty library by `accord backfill`, raise the limit with --max-changes 5000, or release the run
        "
        );
    }
}
