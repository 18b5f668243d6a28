//! The generator: row `index` is always the same fragrance, however many rows are asked for.

use std::fmt::Write;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::words::{
    ADJECTIVES, BASE_NOTES, FAMILIES, HEART_NOTES, HOUSES, JOINTS, MOODS, PLACES, SUBJECTS, TOP_NOTES,
    VERSIONS,
};
use crate::record::{Field, Fields};

/// Of so many rows, this many bring a name of their own; the others repeat an earlier one. The real data has 3,955
/// names in 5,000 rows.
const NAMES_PER_BLOCK: u32 = 791;
const BLOCK: u32 = 1000;

/// The one name that ends in a space, as one does in the real data. No row repeats it.
const UNTRIMMED_NAME: u32 = 411;

const SHORT_NAMES: u32 = len(&ADJECTIVES) * len(&SUBJECTS);
const ENDINGS: u32 = len(&VERSIONS) + len(&JOINTS) * len(&PLACES);
const LONG_NAMES: u32 = SHORT_NAMES * ENDINGS;

/// Beyond this many rows, names would repeat more than they should.
pub const MAX_ROWS: u32 = (SHORT_NAMES + LONG_NAMES) / NAMES_PER_BLOCK * BLOCK;

/// A generated fragrance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragrance {
    /// The key, which is also the number of the row.
    pub fragrance_id: u32,
    /// The name; it may be another fragrance's too.
    pub name: String,
    /// What it smells of, and who made it.
    pub description: String,
    /// A whole number from 0 to 100.
    pub cost: u8,
    /// Rarely true.
    pub forbidden: bool,
}

/// The fragrance of row `index`.
pub fn fragrance(index: u32) -> Fragrance {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(index.into());
    Fragrance {
        fragrance_id: index,
        name: name(pick_name(index, &mut rng)),
        description: description(&mut rng),
        cost: rng.random_range(0..=100),
        forbidden: rng.random_range(0..25) == 0,
    }
}

impl Fragrance {
    /// The row as a line of CSV, line break included.
    pub fn csv_line(&self) -> String {
        let Self { fragrance_id, name, description, cost, forbidden } = self;
        format!("{fragrance_id},{},{},{cost},{forbidden}\n", csv_text(name), csv_text(description))
    }
}

impl From<Fragrance> for Fields {
    fn from(fragrance: Fragrance) -> Self {
        [
            (Field::Name, json!(fragrance.name)),
            (Field::Description, json!(fragrance.description)),
            (Field::Forbidden, json!(fragrance.forbidden)),
            (Field::Cost, json!(fragrance.cost)),
        ]
        .into()
    }
}

fn csv_text(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Which name a row has: the next one, or any of those before it.
fn pick_name(index: u32, rng: &mut Xoshiro256PlusPlus) -> u32 {
    let so_far = names_within(index);
    if names_within(index + 1) > so_far {
        return so_far;
    }
    match rng.random_range(0..so_far) {
        UNTRIMMED_NAME => 0,
        earlier => earlier,
    }
}

/// How many different names the first `rows` rows have.
fn names_within(rows: u32) -> u32 {
    let (blocks, rest) = (rows / BLOCK, rows % BLOCK);
    blocks * NAMES_PER_BLOCK + (rest * NAMES_PER_BLOCK).div_ceil(BLOCK)
}

/// The name of this number. No two numbers share one: short and long names take turns until the short ones are used up.
fn name(number: u32) -> String {
    let mut name = if number < 2 * SHORT_NAMES && number.is_multiple_of(2) {
        short_name(scatter(number / 2, SHORT_NAMES))
    } else {
        let long = if number < 2 * SHORT_NAMES { number / 2 } else { number - SHORT_NAMES };
        long_name(scatter(long % LONG_NAMES, LONG_NAMES))
    };
    if number == UNTRIMMED_NAME {
        name.push(' ');
    }
    name
}

/// Leads each of `0..size` to another place in `0..size`, far from its neighbours'. The step is a prime larger than any
/// size, so it shares no factor with it and every place is reached once.
fn scatter(number: u32, size: u32) -> u32 {
    const STEP: u64 = 2_654_435_761;
    let place = u64::from(number) * STEP % u64::from(size);
    u32::try_from(place).unwrap_or(number)
}

fn short_name(number: u32) -> String {
    let (subject, adjective) = (number / len(&ADJECTIVES), number % len(&ADJECTIVES));
    format!("{} {}", at(&ADJECTIVES, adjective), at(&SUBJECTS, subject))
}

fn long_name(number: u32) -> String {
    let (short, ending) = (short_name(number / ENDINGS), number % ENDINGS);
    match ending.checked_sub(len(&VERSIONS)) {
        None => format!("{short} {}", at(&VERSIONS, ending)),
        Some(ending) => {
            let (joint, place) = (ending / len(&PLACES), ending % len(&PLACES));
            format!("{short} {} {}", at(&JOINTS, joint), at(&PLACES, place))
        }
    }
}

fn description(rng: &mut Xoshiro256PlusPlus) -> String {
    let mut any = |words: &[&'static str]| words.choose(rng).copied().unwrap_or_default();
    let (family, house, mood) = (any(&FAMILIES), any(&HOUSES), any(&MOODS));
    let (top, heart, base, second_base) =
        (any(&TOP_NOTES), any(&HEART_NOTES), any(&BASE_NOTES), any(&BASE_NOTES));
    let mut text = match rng.random_range(0..6) {
        0 => format!("{family} by {house}; {top} over {heart} and {base}"),
        1 => format!("{family} by {house}: {top}, {heart} and {base}"),
        2 => format!("scent of {mood}; {family} built on {base}"),
        3 => format!("{top} and {heart} drying down to {base}; made by {house}"),
        4 => format!("{family} for evenings; {heart} wrapped in {base}"),
        _ => format!("{mood}, as {house} tells it: {top}, {heart}, {base}"),
    };
    if second_base != base && rng.random_range(0..4) == 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ", with a trace of {second_base}");
    }
    capitalized(&text)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn at(words: &[&'static str], number: u32) -> &'static str {
    words[number as usize % words.len()]
}

#[expect(clippy::cast_possible_truncation, reason = "the lists are short")]
const fn len(words: &[&str]) -> u32 {
    words.len() as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn five_thousand_rows_have_the_statistics_of_the_real_data() {
        let rows: Vec<Fragrance> = (0..5000).map(fragrance).collect();
        let names: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), 3955);
        assert_eq!(rows.iter().filter(|row| row.name.trim() != row.name).count(), 1);
        assert_eq!(rows.iter().map(|row| row.cost).min(), Some(0));
        assert_eq!(rows.iter().map(|row| row.cost).max(), Some(100));
        let forbidden = rows.iter().filter(|row| row.forbidden).count();
        assert!((1..500).contains(&forbidden), "{forbidden} of 5000 are forbidden");
        assert!(rows.iter().any(|row| !row.name.is_ascii()));
        for row in &rows {
            assert!((1..=150).contains(&row.name.chars().count()), "{row:?}");
            assert!((1..=1024).contains(&row.description.chars().count()), "{row:?}");
            assert_eq!(row.description.trim(), row.description);
        }
    }

    #[test]
    fn a_million_rows_keep_the_share_of_repeated_names() {
        let names: HashSet<String> = (0..1_000_000).map(|index| fragrance(index).name).collect();
        assert_eq!(names.len(), 791_000);
        const { assert!(MAX_ROWS > 1_000_000) };
    }

    #[test]
    fn words_are_not_listed_twice() {
        let lists: [&[&str]; 11] = [
            &ADJECTIVES,
            &SUBJECTS,
            &VERSIONS,
            &JOINTS,
            &PLACES,
            &HOUSES,
            &FAMILIES,
            &TOP_NOTES,
            &HEART_NOTES,
            &BASE_NOTES,
            &MOODS,
        ];
        for words in lists {
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "{words:?}");
        }
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(csv_text("plain "), "plain ");
        assert_eq!(csv_text("a, b"), "\"a, b\"");
        assert_eq!(csv_text("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
