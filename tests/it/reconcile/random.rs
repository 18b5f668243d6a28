//! Random tables of every type that a contract can hold, with drift that is known.
//!
//! Each column has a pool of values that Postgres holds to be different, and some of them a second spelling
//! that it holds to be equal.

use accord::change::Key;
use accord::reconcile::Kind;
use accord::value::Value;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use super::pair::{Pair, Truth};

/// One column beside the key.
struct Column {
    name: &'static str,
    logical: &'static str,
    /// Its type in contract and target.
    ty: &'static str,
    /// Its type in the source: of the same family.
    source_ty: &'static str,
    /// Spellings of different values, each with an equal one.
    pool: &'static [(&'static str, &'static str)],
}

const fn same(value: &'static str) -> (&'static str, &'static str) {
    (value, value)
}

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column {
        name: "small",
        logical: "integer",
        ty: "smallint",
        source_ty: "smallint",
        pool: &[same("-32768"), same("0"), same("7")],
    },
    Column {
        name: "whole",
        logical: "integer",
        ty: "integer",
        source_ty: "bigint",
        pool: &[same("-1"), same("0"), same("2147483647")],
    },
    Column {
        name: "big",
        logical: "integer",
        ty: "bigint",
        source_ty: "bigint",
        pool: &[same("-1"), same("0"), same("1"), same("4294967296"), same("4294967297")],
    },
    Column {
        name: "flag",
        logical: "boolean",
        ty: "boolean",
        source_ty: "boolean",
        pool: &[same("true"), same("false")],
    },
    Column {
        name: "price",
        logical: "number",
        ty: "numeric",
        source_ty: "numeric",
        pool: &[
            ("12.5", "12.50"),
            ("12.51", "12.5100"),
            ("0", "0.00"),
            ("0.01", "0.010"),
            ("-0.01", "-0.0100"),
            same("1"),
            same("10000"),
            same("NaN"),
            same("Infinity"),
            same("-Infinity"),
        ],
    },
    Column {
        name: "scaled",
        logical: "number",
        ty: "numeric(10,2)",
        source_ty: "numeric",
        pool: &[("1", "1.00"), same("1.01"), same("-1.01")],
    },
    Column {
        name: "ratio",
        logical: "number",
        ty: "real",
        source_ty: "real",
        pool: &[("0", "-0"), same("0.1"), same("-0.1"), same("1e30"), same("NaN")],
    },
    Column {
        name: "share",
        logical: "number",
        ty: "double precision",
        source_ty: "double precision",
        pool: &[("-0", "0"), same("0.1"), same("0.10000000000000002"), same("-Infinity")],
    },
    Column {
        name: "story",
        logical: "string",
        ty: "text",
        source_ty: "varchar(200)",
        pool: &[
            same(""),
            same("null"),
            same("Iris"),
            same("iris"),
            same("Iris "),
            same("é"),
            same("e\u{301}"),
            same("香り'\"\\,()"),
        ],
    },
    Column {
        name: "name",
        logical: "string",
        ty: "varchar(40)",
        source_ty: "text",
        pool: &[same("Grandeval"), same("Camaca"), same("\t")],
    },
    Column {
        name: "code",
        logical: "string",
        ty: "char(5)",
        source_ty: "char(5)",
        pool: &[("ab", "ab   "), same("abc"), same("Ω")],
    },
    Column {
        name: "batch",
        logical: "string",
        ty: "uuid",
        source_ty: "uuid",
        pool: &[
            ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "6F9619FF8B86D011B42D00C04FC964FF"),
            same("00000000-0000-0000-0000-000000000000"),
        ],
    },
    Column {
        name: "day",
        logical: "date",
        ty: "date",
        source_ty: "date",
        pool: &[same("2024-02-29"), same("0044-03-15 BC"), same("infinity")],
    },
    Column {
        name: "hour",
        logical: "time",
        ty: "time",
        source_ty: "time",
        pool: &[same("12:34:56.789"), same("12:34:56.78"), same("24:00:00")],
    },
    Column {
        name: "made",
        logical: "timestamp",
        ty: "timestamp",
        source_ty: "timestamp(3)",
        pool: &[same("2024-02-29 12:34:56"), same("2024-02-29 12:34:56.001"), same("-infinity")],
    },
    Column {
        name: "seen",
        logical: "timestamp",
        ty: "timestamptz",
        source_ty: "timestamptz",
        pool: &[("2024-02-29 12:34:56+00", "2024-02-29 14:34:56+02"), same("2024-02-29 12:34:57+00")],
    },
    Column {
        name: "notes",
        logical: "object",
        ty: "json",
        source_ty: "json",
        pool: &[
            (r#"{"a":1,"b":[1.0]}"#, r#"{ "b": [1.00], "a": 1 }"#),
            same(r#"{"a":1}"#),
            same(r#"{"a":"1"}"#),
        ],
    },
    Column {
        name: "tags",
        logical: "object",
        ty: "jsonb",
        source_ty: "json",
        pool: &[
            (r#"{"a":1,"b":[1.0]}"#, r#"{ "b": [1.00], "a": 1.0 }"#),
            same(r#"{"a":1}"#),
            same(r#"{"a":-1}"#),
            same(r#"{"a":null}"#),
            same("[[1],2]"),
            same("[[1,2]]"),
        ],
    },
];

/// What the key is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    Integer,
    BigInt,
    Text,
    Uuid,
    Composite,
}

impl Keys {
    /// The key's columns: name, logical type, type in the contract, type in the source.
    fn columns(self) -> &'static [(&'static str, &'static str, &'static str, &'static str)] {
        match self {
            Self::Integer => &[("id", "integer", "integer", "smallint")],
            Self::BigInt => &[("id", "integer", "bigint", "bigint")],
            // Its collation is not the target's: neither order nor equality may depend on it.
            Self::Text => &[("id", "string", "text", "varchar(50) collate \"und-x-icu\"")],
            Self::Uuid => &[("id", "string", "uuid", "uuid")],
            Self::Composite => &[
                ("region", "string", "varchar(8)", "text"),
                ("id", "integer", "integer", "integer"),
                ("day", "date", "date", "date"),
                ("amount", "number", "numeric", "numeric(10,3)"),
            ],
        }
    }

    fn draw(self, rng: &mut StdRng) -> Vec<Value> {
        let text = |rng: &mut StdRng| {
            let length = rng.random_range(1..5);
            (0..length)
                .map(|_| *['a', 'B', 'b', 'é', 'Ω', '香', '_', '"', ' ', '0'].choose(rng).unwrap())
                .collect()
        };
        match self {
            Self::Integer => vec![Value::Int(rng.random_range(-200..200))],
            Self::BigInt => {
                let near = [i64::MIN + 100, -64, 0, 64, i64::from(i32::MAX), i64::MAX - 100];
                vec![Value::Int(near.choose(rng).unwrap() + rng.random_range(-100..100))]
            }
            Self::Text => vec![Value::Text(text(rng))],
            Self::Uuid => vec![Value::Text(uuid::Uuid::from_u128(rng.random()).to_string())],
            Self::Composite => {
                let region = (*["eu", "EU", "us", "é"].choose(rng).unwrap()).to_owned();
                let day = (*["2024-02-29", "0044-03-15 BC", "12024-01-01"].choose(rng).unwrap()).to_owned();
                let amount = (*["1", "10", "9", "-1.5"].choose(rng).unwrap()).to_owned();
                vec![
                    Value::Text(region),
                    Value::Int(rng.random_range(-3..3)),
                    Value::Text(day),
                    Value::Numeric(accord::value::Numeric::from_postgres(amount)),
                ]
            }
        }
    }
}

/// A row: its key, and for each column the place of its value in the pool.
#[derive(Clone)]
struct Row {
    key: Key,
    values: Vec<Option<usize>>,
    /// Whether values are spelled the other way.
    respelled: bool,
}

/// Two tables of random rows, and the truth about them.
pub(crate) struct Random {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) truth: Truth,
}

/// The contract's properties.
pub(crate) fn properties(keys: Keys) -> String {
    let key = keys.columns().iter().enumerate().map(|(i, (name, logical, ty, _))| {
        format!(
            "{{name: k_{name}, logicalType: {logical}, physicalType: '{ty}', primaryKey: true, \
             primaryKeyPosition: {}, required: true}}",
            i + 1
        )
    });
    let rest = COLUMNS.iter().map(|column| {
        format!("{{name: {}, logicalType: {}, physicalType: '{}'}}", column.name, column.logical, column.ty)
    });
    key.chain(rest).collect::<Vec<_>>().join(",\n")
}

/// Draws tables with up to `most` rows.
pub(crate) fn random(keys: Keys, seed: u64, most: usize) -> Random {
    let rng = &mut StdRng::seed_from_u64(seed);
    // Now and then no drift at all, now and then nearly nothing but.
    let drifting = *[0.0, 0.02, 0.2, 0.9].choose(rng).unwrap();
    let rows = draw(keys, rng, most);
    let (mut source, mut target, mut truth) = (rows.clone(), Vec::new(), Truth::new());
    let mut lost = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut copy = row.clone();
        copy.respelled = rng.random_bool(0.3);
        if rng.random_bool(drifting) {
            let key = row.key.text().to_string();
            match rng.random_range(0..4) {
                0 => {
                    truth.insert(key, (Kind::Missing, Vec::new()));
                    continue;
                }
                1 => {
                    truth.insert(key, (Kind::Orphan, Vec::new()));
                    lost.push(i);
                }
                _ => {
                    let columns = change(&mut copy, rng);
                    truth.insert(key, (Kind::Stale, columns));
                }
            }
        }
        target.push(copy);
    }
    if drifting > 0.0 {
        swap(&source, &mut target, &mut truth, rng);
    }
    for i in lost.into_iter().rev() {
        source.remove(i);
    }
    source.shuffle(rng);
    target.shuffle(rng);
    Random { source: source_table(keys, &source), target: target_table(keys, &target), truth }
}

fn draw(keys: Keys, rng: &mut StdRng, most: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..rng.random_range(0..=most) {
        let key = Key::new(keys.draw(rng));
        if rows.iter().any(|row| row.key == key) {
            continue;
        }
        let nothing = rng.random_bool(0.1);
        let values = COLUMNS
            .iter()
            .map(|column| (!nothing && rng.random_bool(0.8)).then(|| rng.random_range(0..column.pool.len())));
        rows.push(Row { key, values: values.collect(), respelled: false });
    }
    rows
}

/// Gives some columns another value, or null, or a value instead of null; their names.
fn change(row: &mut Row, rng: &mut StdRng) -> Vec<String> {
    let mut columns: Vec<usize> =
        (0..rng.random_range(1..4)).map(|_| rng.random_range(0..COLUMNS.len())).collect();
    columns.sort_unstable();
    columns.dedup();
    for &column in &columns {
        let choices: Vec<Option<usize>> = (0..COLUMNS[column].pool.len()).map(Some).chain([None]).collect();
        let others: Vec<_> = choices.into_iter().filter(|choice| *choice != row.values[column]).collect();
        row.values[column] = *others.choose(rng).unwrap();
    }
    columns.into_iter().map(|column| COLUMNS[column].name.to_owned()).collect()
}

/// Swaps a column's values between two rows that agree so far.
fn swap(source: &[Row], target: &mut [Row], truth: &mut Truth, rng: &mut StdRng) {
    let column = rng.random_range(0..COLUMNS.len());
    let agreeing: Vec<usize> =
        (0..target.len()).filter(|&i| !truth.contains_key(&**target[i].key.text())).collect();
    let Some(&a) = agreeing.choose(rng) else { return };
    let Some(&b) = agreeing.iter().find(|&&b| target[b].values[column] != target[a].values[column]) else {
        return;
    };
    assert!(source.len() >= target.len());
    let (one, other) = (target[a].values[column], target[b].values[column]);
    (target[a].values[column], target[b].values[column]) = (other, one);
    for i in [a, b] {
        let key = target[i].key.text().to_string();
        truth.insert(key, (Kind::Stale, vec![COLUMNS[column].name.to_owned()]));
    }
}

/// The target has the contract's order of columns, and one of its own.
fn target_table(keys: Keys, rows: &[Row]) -> String {
    let key = keys.columns().iter().map(|(name, _, ty, _)| format!("k_{name} {ty}"));
    let rest = COLUMNS.iter().map(|column| format!("{} {}", column.name, column.ty));
    let definitions: Vec<String> =
        key.chain(rest).chain(["own text default 'of the library'".to_owned()]).collect();
    table(&definitions, keys, rows)
}

/// The source has another order of columns, other types of the same families, a dropped column, and others of its own.
fn source_table(keys: Keys, rows: &[Row]) -> String {
    let key = keys.columns().iter().map(|(name, _, _, ty)| format!("k_{name} {ty}"));
    let rest = COLUMNS.iter().map(|column| format!("{} {}", column.name, column.source_ty));
    let mut definitions: Vec<String> = key.chain(rest).collect();
    definitions.reverse();
    definitions.insert(3, "own point default '(1,2)'".to_owned());
    definitions.insert(5, "gone text".to_owned());
    format!("{}; alter table item drop column gone", table(&definitions, keys, rows))
}

fn table(definitions: &[String], keys: Keys, rows: &[Row]) -> String {
    let key: Vec<String> = keys.columns().iter().map(|(name, ..)| format!("k_{name}")).collect();
    let sql = format!(
        "drop table if exists item; create table item ({}, primary key ({}))",
        definitions.join(", "),
        key.join(", ")
    );
    if rows.is_empty() {
        return sql;
    }
    let names: Vec<&str> = key.iter().map(String::as_str).chain(COLUMNS.iter().map(|c| c.name)).collect();
    let rows: Vec<String> = rows.iter().map(Row::literal).collect();
    format!("{sql}; insert into item ({}) values {}", names.join(", "), rows.join(", "))
}

impl Row {
    fn literal(&self) -> String {
        let key = self.key.values().iter().map(|value| match value {
            Value::Int(number) => number.to_string(),
            Value::Numeric(numeric) => numeric.as_str().to_owned(),
            Value::Text(text) => quoted(text),
            other => panic!("{other:?} in a key"),
        });
        let rest = COLUMNS.iter().zip(&self.values).map(|(column, value)| match value {
            None => "null".to_owned(),
            Some(i) => {
                let (usual, other) = column.pool[*i];
                quoted(if self.respelled { other } else { usual })
            }
        });
        format!("({})", key.chain(rest).collect::<Vec<_>>().join(", "))
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Pair {
    /// Fills both tables.
    pub(crate) async fn fill(&self, random: &Random) {
        self.source(&random.source).await;
        self.target(&random.target).await;
    }
}
