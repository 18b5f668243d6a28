//! The statements that measure a table: one scan for all that can be counted row by row, one grouping for
//! each rule about repeats, one join for each reference, and the contract's own queries.
//!
//! Promises: names are quoted, values travel as parameters (a statement as *shown* spells them out, for a
//! person to run); a query of the contract's own can only be a query, and gives one value. Must not know:
//! what is expected of a value.

use std::fmt::Write as _;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::Sql;
use super::text::{join, target};
use crate::contract::rule::{Equal, Measure, Target, Test};
use crate::contract::{Column, ColumnType, Contract};

/// The most keys that are given of rows that break a rule.
pub const KEYS: usize = 20;

/// The most values that one scan measures: Postgres takes 1,664 columns in a result.
const SCAN_WIDTH: usize = 500;

/// The most bytes that a value of Postgres has.
const BYTES: u64 = 1 << 30;

/// A statement with its values.
#[derive(Clone, Debug)]
pub struct Statement {
    sql: Sql,
    values: Vec<Parameter>,
    shown: String,
}

#[derive(Clone, Debug)]
enum Parameter {
    One(String),
    Many(Vec<String>),
}

impl Statement {
    /// As a query that can be run.
    pub fn query<'q>(&self) -> Query<'q, Postgres, PgArguments> {
        self.values.iter().fold(self.sql.query(), |query, value| match value {
            Parameter::One(value) => query.bind(value.clone()),
            Parameter::Many(values) => query.bind(values.clone()),
        })
    }

    /// As a person would run it, with its values spelled out.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// The statements that measure one table.
#[derive(Debug)]
pub struct CheckSql<'a> {
    contract: &'a Contract,
}

impl<'a> CheckSql<'a> {
    /// For the contract's own table.
    pub fn new(contract: &'a Contract) -> Self {
        Self { contract }
    }

    /// Whether one scan can take this measure along with others.
    pub fn is_scanned(measure: &Measure) -> bool {
        matches!(measure, Measure::Rows | Measure::Breaking { .. } | Measure::Age(_))
    }

    /// The scans that measure all of these, a value a column after the number of rows; every value is
    /// a text. Without measures, the one scan that counts the rows.
    pub fn scans(&self, measures: &[&Measure]) -> Vec<Statement> {
        if measures.is_empty() {
            return vec![self.scan(&[])];
        }
        measures.chunks(SCAN_WIDTH).map(|chunk| self.scan(chunk)).collect()
    }

    /// One scan.
    pub fn scan(&self, measures: &[&Measure]) -> Statement {
        let mut draft = Draft::new("select count(*)::text");
        for measure in measures {
            draft.words(", ");
            match measure {
                Measure::Breaking { column, test } => {
                    draft.words("(count(*) filter (where ");
                    draft.test(self.column(*column), test);
                    draft.words("))::text");
                }
                Measure::Age(column) => draft.words(&age(self.column(*column))),
                _ => draft.words("count(*)::text"),
            }
        }
        draft.words(&format!(" from {}", self.table()));
        draft.done()
    }

    /// How many values occur more than once, and how many rows only repeat one of an earlier row.
    pub fn duplicates(&self, columns: &[usize]) -> Statement {
        let groups = self.groups(columns, None);
        Draft::new(&format!(
            "select count(*)::text, coalesce(sum(n - 1), 0)::text from (select count(*) as n {groups}) d"
        ))
        .done()
    }

    /// How many rows refer to one that is not there.
    pub fn orphans(&self, columns: &[usize], to: &Target) -> Statement {
        Draft::new(&format!("select count(*)::text {}", self.referring_to_nothing(columns, to))).done()
    }

    /// The contract's own query, as one row of JSON: an array of its columns' values.
    ///
    /// As the source of another it can be nothing but a query, and one statement is all that is prepared.
    pub fn own(&self, text: &str, property: Option<usize>) -> Statement {
        let text = self.fill_in(text.trim().trim_end_matches(';'), property);
        let shown = text.clone();
        let mut statement = Draft::new(&format!(
            // By columns: an object of them would have one field for two columns of the same name.
            "select (select coalesce(json_agg(value), '[]') from json_each(row_to_json(q)))::text \
                 from (\n{text}\n) q limit 2"
        ))
        .done();
        statement.shown = shown;
        statement
    }

    /// The keys of rows that break a rule, as text in key order, at most [`KEYS`]; none for a rule that no
    /// row breaks by itself.
    pub fn culprits(&self, measure: &Measure) -> Option<Statement> {
        let key = |alias: &str| {
            join(self.contract.key.iter().map(|&i| format!("{alias}{}::text", self.contract.columns[i].name)))
        };
        let order = || join((1..=self.contract.key.len()).map(|n| n.to_string()));
        let mut draft = match measure {
            Measure::Breaking { column, test } => {
                let mut draft = Draft::new(&format!("select {} from {} where ", key(""), self.table()));
                draft.test(self.column(*column), test);
                draft
            }
            Measure::Duplicates(columns) => {
                // Rows that repeat one another stand together.
                let names = || join(columns.iter().map(|&i| self.column(i).name.to_string()));
                let groups = self.groups(columns, Some(KEYS));
                let mut draft = Draft::new(&format!(
                    "select {} from {} where ({}) in (select {} {groups})",
                    key(""),
                    self.table(),
                    names(),
                    names(),
                ));
                draft.words(&format!(" order by {}, {} limit {KEYS}", names(), order()));
                return Some(draft.done());
            }
            Measure::Orphans { columns, target } => {
                Draft::new(&format!("select {} {}", key("t."), self.referring_to_nothing(columns, target)))
            }
            Measure::Rows
            | Measure::Age(_)
            | Measure::Query { .. }
            | Measure::Drift
            | Measure::Nothing { .. } => return None,
        };
        draft.words(&format!(" limit {KEYS}"));
        Some(draft.done())
    }

    fn table(&self) -> String {
        target(self.contract.schema.as_ref(), &self.contract.table)
    }

    fn column(&self, index: usize) -> &'a Column {
        &self.contract.columns[index]
    }

    fn groups(&self, columns: &[usize], limit: Option<usize>) -> String {
        let names: Vec<String> = columns.iter().map(|&i| self.column(i).name.to_string()).collect();
        let known = names.iter().map(|name| format!("{name} is not null")).collect::<Vec<_>>().join(" and ");
        let limit = limit.map(|limit| format!(" limit {limit}")).unwrap_or_default();
        let names = names.join(", ");
        format!("from {} where {known} group by {names} having count(*) > 1{limit}", self.table())
    }

    fn referring_to_nothing(&self, columns: &[usize], to: &Target) -> String {
        let pairs: Vec<_> = columns.iter().map(|&i| &self.column(i).name).zip(&to.columns).collect();
        let known = pairs.iter().map(|(name, _)| format!("t.{name} is not null")).collect::<Vec<_>>();
        let same = pairs.iter().map(|(name, there)| format!("r.{there} = t.{name}")).collect::<Vec<_>>();
        format!(
            "from {} t where {} and not exists (select from {} r where {})",
            self.table(),
            known.join(" and "),
            target(to.schema.as_ref(), &to.table),
            same.join(" and "),
        )
    }

    /// Puts quoted names in the place of `{object}`, `{property}` and their other spellings.
    fn fill_in(&self, text: &str, property: Option<usize>) -> String {
        let mut names = vec![("object", self.table()), ("table", self.table()), ("model", self.table())];
        if let Some(index) = property {
            names.extend(
                ["property", "column", "field"].map(|word| (word, self.column(index).name.to_string())),
            );
        }
        let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
        'text: while let Some(start) = rest.find('{') {
            for (word, name) in &names {
                let Some(after) = rest[start + 1..].strip_prefix(word).and_then(|r| r.strip_prefix('}'))
                else {
                    continue;
                };
                let before = &rest[..start];
                let before = before.strip_suffix('$').unwrap_or(before);
                // Quotes that were written around a placeholder would quote the name twice.
                let (before, after) = match (before.strip_suffix('"'), after.strip_prefix('"')) {
                    (Some(before), Some(after)) => (before, after),
                    _ => (before, after),
                };
                filled.push_str(before);
                filled.push_str(name);
                rest = after;
                continue 'text;
            }
            filled.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
        }
        filled + rest
    }
}

/// Seconds since the latest value; instants without a zone are read as UTC.
fn age(column: &Column) -> String {
    let latest = match column.ty {
        ColumnType::TimestampTz => format!("max({})", column.name),
        _ => format!("max({})::timestamp at time zone 'UTC'", column.name),
    };
    format!("extract(epoch from now() - ({latest}))::text")
}

/// A statement in the making.
struct Draft {
    text: String,
    shown: String,
    values: Vec<Parameter>,
}

impl Draft {
    fn new(words: &str) -> Self {
        Self { text: words.to_owned(), shown: words.to_owned(), values: Vec::new() }
    }

    fn words(&mut self, words: &str) {
        self.text.push_str(words);
        self.shown.push_str(words);
    }

    fn one(&mut self, value: &str, cast: &str) {
        self.values.push(Parameter::One(value.to_owned()));
        let _ = write!(self.text, "${}::text{cast}", self.values.len());
        let _ = write!(self.shown, "{}{cast}", literal(value));
    }

    fn many(&mut self, values: &[String], cast: &str) {
        self.values.push(Parameter::Many(values.to_vec()));
        let cast = if cast.is_empty() { String::new() } else { format!("{cast}[]") };
        let _ = write!(self.text, "(${}::text[]{cast})", self.values.len());
        let literals = join(values.iter().map(|value| literal(value)));
        let _ = write!(self.shown, "(array[{literals}]::text[]{cast})");
    }

    /// The condition under which a value breaks its promise.
    fn test(&mut self, column: &Column, test: &Test) {
        let name = &column.name;
        let (value, cast) = match test {
            // A list may hold what is no value of the type at all, such as "n/a" for a date.
            Test::Missing(_) | Test::Outside(_) if !column.ty.is_number() => (format!("{name}::text"), ""),
            _ => comparable(column),
        };
        match test {
            Test::Null => self.words(&format!("{name} is null")),
            Test::Missing(list) if list.is_empty() => self.words(&format!("{name} is null")),
            Test::Missing(list) => {
                self.words(&format!("({name} is null or {value} = any"));
                self.many(list, cast);
                self.words(")");
            }
            Test::Outside(list) => {
                self.words(&format!("{value} <> all"));
                self.many(list, cast);
            }
            Test::Mismatch(pattern) => {
                self.words(&format!("{name}::text !~ "));
                self.one(pattern, "");
            }
            // A character has one byte to four. Bytes are known at once; characters have to be counted.
            Test::Shorter(length) => self.words(&format!(
                "(octet_length({name}::text) < {} and char_length({name}::text) < {length})",
                length.saturating_mul(4).min(BYTES)
            )),
            Test::Longer(length) => self.words(&format!(
                "(octet_length({name}::text) > {length} and char_length({name}::text) > {length})"
            )),
            Test::Below(bound, equal) => {
                let is_below = |draft: &mut Self| {
                    draft.words(&format!("{value} {} ", if *equal == Equal::Breaks { "<=" } else { "<" }));
                    draft.one(bound, cast);
                };
                if column.ty.may_be_nan() {
                    // What is no number keeps no bound: Postgres, which sorts it above all, would let it pass this one.
                    self.words("(");
                    is_below(self);
                    self.words(&format!(" or {name} = 'NaN')"));
                } else {
                    is_below(self);
                }
            }
            Test::Above(bound, equal) => {
                self.words(&format!("{value} {} ", if *equal == Equal::Breaks { ">=" } else { ">" }));
                self.one(bound, cast);
            }
            Test::NoMultiple(step) => {
                self.words(&format!("mod({value}, "));
                self.one(step, cast);
                self.words(") <> 0");
            }
            Test::Either(tests) => {
                for (index, test) in tests.iter().enumerate() {
                    self.words(if index == 0 { "(" } else { " or " });
                    self.test(column, test);
                }
                self.words(")");
            }
        }
    }

    fn done(self) -> Statement {
        Statement { sql: Sql::new(self.text), values: self.values, shown: self.shown }
    }
}

/// How a column's value is compared, and what a text is cast to for that.
fn comparable(column: &Column) -> (String, &'static str) {
    let name = &column.name;
    match column.ty {
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt | ColumnType::Numeric(_) => {
            (name.to_string(), "::numeric")
        }
        // By the digits that it is shown with: 0.1 is 0.1.
        ColumnType::Real | ColumnType::Double => (format!("{name}::text::numeric"), "::numeric"),
        ColumnType::Date => (name.to_string(), "::date"),
        ColumnType::Time => (name.to_string(), "::time"),
        ColumnType::Timestamp => (name.to_string(), "::timestamp"),
        ColumnType::TimestampTz => (name.to_string(), "::timestamptz"),
        ColumnType::Uuid => (name.to_string(), "::uuid"),
        _ => (format!("{name}::text"), ""),
    }
}

fn literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
