//! A first contract from a table that exists.
//!
//! Promises: what is written compiles, and matches the table type by type; a column that cannot be carried is
//! left out by name; nothing in the database is touched. Must not know: how the connection was come by.

mod catalog;
mod render;

use sqlx::PgConnection;

use super::{Contract, ContractError};
pub use catalog::{TableColumn, TableShape};

/// Why there is no first contract.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The table is not there.
    #[error("no table `{table}`: {}", choices_hint(choices))]
    NoSuchTable {
        /// What was asked for.
        table: String,
        /// The tables that there are.
        choices: Vec<String>,
    },
    /// The table has no primary key.
    #[error(
        "table `{0}` has no primary key, and keyless tables are not supported yet: add a primary key and import again"
    )]
    NoKey(String),
    /// Part of the key cannot be carried.
    #[error("table `{table}` cannot be kept: key column `{column}` has type {ty}, which is not supported")]
    Key {
        /// The table.
        table: String,
        /// The key column.
        column: String,
        /// Its type.
        ty: String,
    },
    /// The document that would be written does not compile.
    #[error("table `{table}` cannot be described by a contract")]
    Unusable {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<ContractError>,
    },
    /// The database does not answer as it should.
    #[error("cannot read the catalogue of the database")]
    Database(#[from] sqlx::Error),
}

fn choices_hint(choices: &[String]) -> String {
    if choices.is_empty() {
        return "this database holds no table that you may see".to_owned();
    }
    format!("there are {}", choices.join(", "))
}

/// Reads a table (`name` or `schema.name`) and writes its first contract, as YAML.
pub async fn import(connection: &mut PgConnection, table: &str) -> Result<String, ImportError> {
    describe(&catalog::read(connection, table).await?)
}

/// Writes the first contract of a table.
pub fn describe(table: &TableShape) -> Result<String, ImportError> {
    let name = table.name.clone();
    if table.columns.iter().all(|column| column.key_position.is_none()) {
        return Err(ImportError::NoKey(name));
    }
    if let Some(key) = table.columns.iter().find(|c| c.key_position.is_some() && c.column_type().is_none()) {
        return Err(ImportError::Key { table: name, column: key.name.clone(), ty: key.ty.clone() });
    }
    let text = render::document(table);
    match Contract::parse(&text, &name, None) {
        Ok(_) => Ok(text),
        Err(source) => Err(ImportError::Unusable { table: name, source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests;
