//! The statements that compare a table with another of the same columns, as binary COPY.
//!
//! Promises: rows that differ have different hashes, but for the chance of about one in 2³² a column or less;
//! equal rows have equal ones, but for some spellings of JSON and floats (a second look at the rows decides);
//! a digest holds against values that rows swapped, and against rows of nothing but nulls. Must not know:
//! what is done about a difference.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgConnection;

use super::Sql;
use super::text::{join, target};
use crate::contract::{ColumnType, Contract, Identifier};

/// Bits of a whole-number key that a bucket swallows: 64 neighbouring keys share one.
pub const BUCKET_BITS: u8 = 6;

/// How a column goes into a hash, so that values that differ do so in their hashes. Both sides have to agree on it.
///
/// What stands beside a value makes up for what its type's hash leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// Beside its upper half: the hash folds a value's halves into one, so 0 and 2³² + 1 share it.
    Wide,
    /// Beside its sign, of which the hash takes no notice, and what tells the infinite from `NaN`.
    Numeric,
    /// As a double, which holds every value of either width.
    Float,
    /// Beside its day: the hash folds a moment's halves as it does those of a wide number.
    Moment,
    /// As text whose collation has no say, for one side's collation may hold equal what differs.
    Text,
    /// By its spelling: the type has no hash of its own, or another name on the other side.
    Spelled,
    /// By its spelling as `jsonb`, of whose hash neither signs nor brackets that close are a part.
    Jsonb,
}

/// What a row is hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Postgres' own hashes of each value: fast, but promised to be the same on no two versions.
    Native,
    /// SHA-256 of the row's canonical spelling in UTF-8, cut to 64 bits: the same on every server.
    Spelling,
}

/// The comparing statements of one table.
#[derive(Clone, Debug)]
pub struct CompareSql {
    columns: Vec<(Identifier, ColumnType, Form)>,
    key: Vec<usize>,
    target: String,
}

impl CompareSql {
    /// For this table; `forms` has one for each of the contract's columns.
    pub fn new(contract: &Contract, schema: Option<&Identifier>, table: &Identifier, forms: &[Form]) -> Self {
        let columns = contract.columns.iter().zip(forms);
        Self {
            columns: columns.map(|(column, form)| (column.name.clone(), column.ty, *form)).collect(),
            key: contract.key.clone(),
            target: target(schema, table),
        }
    }

    /// For each bucket of a key of one whole number: bucket, rows, and the xor of their hashes.
    ///
    /// The shift rounds down where a division would round towards zero.
    pub fn digest(&self) -> Sql {
        let (key, hash) = (self.whole_key(), self.native_hash(&self.whole_key()));
        copy(&format!(
            "select {key} >> {BUCKET_BITS}, count(*)::int4, bit_xor({hash}) from {} t group by 1",
            self.target
        ))
    }

    /// Key and hash of every row in these buckets.
    pub fn leaf(&self, buckets: &[i64]) -> Sql {
        let (key, hash) = (self.whole_key(), self.native_hash(&self.whole_key()));
        let name = &self.columns[self.key[0]].0;
        let buckets = join(buckets.iter().map(i64::to_string));
        let last = (1 << BUCKET_BITS) - 1;
        copy(&format!(
            "select {key}, {hash} from unnest('{{{buckets}}}'::int8[]) as b(n) \
             join {} t on t.{name} >= b.n << {BUCKET_BITS} and t.{name} <= (b.n << {BUCKET_BITS}) | {last}",
            self.target
        ))
    }

    /// Key and hash of every row, in order of the keys: whole numbers by value, anything else by the bytes of
    /// its spelling.
    pub fn stream(&self, hash: Hash) -> Sql {
        let keys = join(self.key.iter().map(|&i| self.key_part(i)));
        let order = join(self.key.iter().map(|&i| self.order(i)));
        let hash = match hash {
            // What is compared has the same key.
            Hash::Native => self.native_hash("0"),
            Hash::Spelling => {
                let spelled = join(self.rest().into_iter().map(|i| self.spelling(i)));
                format!("substr(sha256(convert_to(row({spelled})::text, 'UTF8')), 1, 8)")
            }
        };
        copy(&format!("select {keys}, {hash} from {} t order by {order}", self.target))
    }

    fn rest(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|i| !self.key.contains(i)).collect()
    }

    fn whole_key(&self) -> String {
        format!("t.{}::int8", self.columns[self.key[0]].0)
    }

    /// The xor of the hashes of key and values, each seeded with a hash of the key and of its column's place:
    /// so a value is worth something else in any other row and column, the seeds of neighbours have nothing in
    /// common, and what a regular value makes of its seed (zero leaves it nearly as it is) cannot cancel out.
    fn native_hash(&self, key: &str) -> String {
        let values = self.rest().into_iter().enumerate().map(|(n, i)| {
            let seed = |companion: &str| format!("hashint8extended({key}, {}{companion})", 4 * (n + 1));
            format!("coalesce({}, 0)", self.value_hash(i, seed))
        });
        let key = format!("hashint8extended({key}, 0)");
        std::iter::once(key).chain(values).collect::<Vec<_>>().join(" # ")
    }

    fn value_hash(&self, i: usize, seed: impl Fn(&str) -> String) -> String {
        let (name, ty, form) = &self.columns[i];
        match (form, ty) {
            (Form::Plain, ty) if ty.is_whole_number() || *ty == ColumnType::Boolean => {
                format!("hashint4extended(t.{name}::int4, {})", seed(""))
            }
            (Form::Plain, _) => format!("hash_record_extended(row(t.{name}), {})", seed("")),
            (Form::Wide, _) => {
                format!("hashint8extended(t.{name}::int8, {} # (t.{name}::int8 >> 32))", seed(""))
            }
            (Form::Numeric, _) => {
                let sign = format!(" + (t.{name} < 0)::int4 + 2 * (t.{name} < 'NaN')::int4");
                // Whatever the seed, powers of 10,000 differ in their last bits alone: once more, so that they do not
                // cancel out.
                format!("hashint8extended(hash_numeric_extended(t.{name}, {}), 0)", seed(&sign))
            }
            (Form::Float, _) => format!("hashfloat8extended(t.{name}::float8, {})", seed("")),
            (Form::Moment, _) => {
                format!("hash_record_extended(row(t.{name}, t.{name}::date), {})", seed(""))
            }
            (Form::Text | Form::Spelled, _) => {
                format!("hashtextextended(t.{name}::text collate \"C\", {})", seed(""))
            }
            (Form::Jsonb, _) => {
                format!("hashtextextended(t.{name}::jsonb::text collate \"C\", {})", seed(""))
            }
        }
    }

    /// What equal values have in common, but for `json`, `jsonb` and negative zero, of which some spellings of
    /// equal values differ.
    fn spelling(&self, i: usize) -> String {
        let (name, ty, _) = &self.columns[i];
        match ty {
            ColumnType::Numeric(_) => format!("trim_scale(t.{name})::text"),
            _ => format!("t.{name}::text"),
        }
    }

    fn key_part(&self, i: usize) -> String {
        let (name, ty, _) = &self.columns[i];
        if ty.is_whole_number() { format!("t.{name}::int8") } else { self.spelling(i) }
    }

    /// Where the type's own order is that of the spellings, an index can give it.
    fn order(&self, i: usize) -> String {
        let (name, ty, form) = &self.columns[i];
        match (ty, form) {
            (ty, _) if ty.is_whole_number() => format!("t.{name}"),
            (ColumnType::Uuid, _) => format!("t.{name}"),
            (_, Form::Text) if !matches!(ty, ColumnType::Char(_)) => format!("t.{name} collate \"C\""),
            _ => format!("({}) collate \"C\"", self.spelling(i)),
        }
    }
}

fn copy(query: &str) -> Sql {
    Sql::new(format!("copy ({query}) to stdout (format binary)"))
}

impl Sql {
    /// Runs a COPY to stdout; its bytes, as they come.
    pub async fn copy_out<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<BoxStream<'c, Result<Bytes, sqlx::Error>>, sqlx::Error> {
        connection.copy_out_raw(&self.0).await
    }
}

/// Hashes of known values, one of each kind that a contract can hold: two servers that give the same ones hash
/// alike. A server whose encoding lacks one of the letters, or that has no such hash, gives an error.
pub const VECTORS: &str = "
    select array[
        hashint4extended(-7, 42), hashint8extended(-1234567890123456789, 64),
        hashtextextended('Iris, é Ω 香' collate \"C\", -42),
        hash_numeric_extended(1.50, 64), hash_numeric_extended(-0.01, 1), hash_numeric_extended('NaN', 0),
        hashfloat8extended(0.1::float4, 3), hashfloat8extended('NaN', 2), hashfloat8extended(-0.0, 9),
        hash_record_extended(row(date '2024-02-29'), 9223372036854775807),
        hash_record_extended(row(time '12:34:56.789'), 5),
        hash_record_extended(row(timestamp '2024-02-29 12:34:56.789', timestamp 'infinity'), 6),
        hash_record_extended(row(timestamptz '2024-02-29 12:34:56.789+02'), 7),
        hash_record_extended(row('6f9619ff-8b86-d011-b42d-00c04fc964ff'::uuid), 1)
    ]::int8[]";

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(columns: &str, forms: &[Form]) -> CompareSql {
        let document = format!(
            "{{apiVersion: v3.1.0, kind: DataContract, id: t, version: 1.0.0, status: active,
               schema: [{{name: t, physicalName: shop.t, properties: [{columns}]}}]}}"
        );
        let contract = Contract::parse(&document, "test", None).unwrap();
        CompareSql::new(&contract, contract.schema.as_ref(), &contract.table, forms)
    }

    #[test]
    fn the_statements_are_what_one_would_write_by_hand() {
        let columns = r#"
            {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true},
            {name: name, physicalName: 'na"me', logicalType: string, physicalType: varchar(150)},
            {name: cost, logicalType: number, physicalType: numeric}"#;
        let sql = sql(columns, &[Form::Plain, Form::Text, Form::Numeric]);
        insta::assert_snapshot!(sql.digest().0, @r#"copy (select t."id"::int8 >> 6, count(*)::int4, bit_xor(hashint8extended(t."id"::int8, 0) # coalesce(hashtextextended(t."na""me"::text collate "C", hashint8extended(t."id"::int8, 4)), 0) # coalesce(hashint8extended(hash_numeric_extended(t."cost", hashint8extended(t."id"::int8, 8 + (t."cost" < 0)::int4 + 2 * (t."cost" < 'NaN')::int4)), 0), 0)) from "shop"."t" t group by 1) to stdout (format binary)"#);
        insta::assert_snapshot!(sql.leaf(&[-1, 3]).0, @r#"copy (select t."id"::int8, hashint8extended(t."id"::int8, 0) # coalesce(hashtextextended(t."na""me"::text collate "C", hashint8extended(t."id"::int8, 4)), 0) # coalesce(hashint8extended(hash_numeric_extended(t."cost", hashint8extended(t."id"::int8, 8 + (t."cost" < 0)::int4 + 2 * (t."cost" < 'NaN')::int4)), 0), 0) from unnest('{-1, 3}'::int8[]) as b(n) join "shop"."t" t on t."id" >= b.n << 6 and t."id" <= (b.n << 6) | 63) to stdout (format binary)"#);
        insta::assert_snapshot!(sql.stream(Hash::Native).0, @r#"copy (select t."id"::int8, hashint8extended(0, 0) # coalesce(hashtextextended(t."na""me"::text collate "C", hashint8extended(0, 4)), 0) # coalesce(hashint8extended(hash_numeric_extended(t."cost", hashint8extended(0, 8 + (t."cost" < 0)::int4 + 2 * (t."cost" < 'NaN')::int4)), 0), 0) from "shop"."t" t order by t."id") to stdout (format binary)"#);
        insta::assert_snapshot!(sql.stream(Hash::Spelling).0, @r#"copy (select t."id"::int8, substr(sha256(convert_to(row(t."na""me"::text, trim_scale(t."cost")::text)::text, 'UTF8')), 1, 8) from "shop"."t" t order by t."id") to stdout (format binary)"#);
    }

    #[test]
    fn keys_are_ordered_by_what_both_servers_understand_alike() {
        let columns = "
            {name: a, logicalType: string, physicalType: text, primaryKey: true, primaryKeyPosition: 1, required: true},
            {name: b, logicalType: string, physicalType: uuid, primaryKey: true, primaryKeyPosition: 2, required: true},
            {name: c, logicalType: number, physicalType: numeric, primaryKey: true, primaryKeyPosition: 3, required: true},
            {name: d, logicalType: object, physicalType: json}";
        let sql = sql(columns, &[Form::Text, Form::Plain, Form::Plain, Form::Jsonb]);
        insta::assert_snapshot!(sql.stream(Hash::Native).0, @r#"copy (select t."a"::text, t."b"::text, trim_scale(t."c")::text, hashint8extended(0, 0) # coalesce(hashtextextended(t."d"::jsonb::text collate "C", hashint8extended(0, 4)), 0) from "shop"."t" t order by t."a" collate "C", t."b", (trim_scale(t."c")::text) collate "C") to stdout (format binary)"#);
    }
}
