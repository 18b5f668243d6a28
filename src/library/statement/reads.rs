//! Rows as JSON, made by Postgres itself, for those who only read.
//!
//! Promises: the contract's columns under their fields' names, every digit kept. Must not know: HTTP.

use super::Sql;
use super::text::{join, target};
use crate::contract::column::IdentifierError;
use crate::contract::{ColumnType, Contract, Identifier};

/// The two reads of a table with a key of one column; each result row is one JSON text.
#[derive(Clone, Debug)]
pub struct JsonReads {
    /// All rows, in order of their keys.
    pub list: Sql,
    /// The row whose key is the one parameter, a text.
    pub item: Sql,
}

impl JsonReads {
    /// The reads by the column with this index.
    pub fn new(contract: &Contract, key: usize) -> Result<Self, IdentifierError> {
        let fields = contract.columns.iter().map(|column| {
            let field = Identifier::new(&column.field)?;
            Ok(format!("{} as {field}", column.name))
        });
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let table = target(contract.schema.as_ref(), &contract.table);
        let select = format!("select {} from {table}", join(fields.into_iter()));
        let key = &contract.columns[key];
        let order = Identifier::new(&key.field)?;
        let list = format!("select row_to_json(r)::text from ({select}) r order by r.{order}");
        let cast = uncut(key.ty);
        let item =
            format!("select row_to_json(r)::text from ({select} where {} = $1::text::{cast}) r", key.name);
        Ok(Self { list: Sql::new(list), item: Sql::new(item) })
    }
}

/// The type without length or scale: a cast to those would cut a key until it fits another row's.
fn uncut(ty: ColumnType) -> String {
    match ty {
        ColumnType::SmallInt | ColumnType::Integer | ColumnType::BigInt => "bigint".to_owned(),
        ColumnType::Numeric(_) => "numeric".to_owned(),
        ColumnType::Varchar(_) => "text".to_owned(),
        ColumnType::Char(_) => "bpchar".to_owned(),
        other => other.to_string(),
    }
}
