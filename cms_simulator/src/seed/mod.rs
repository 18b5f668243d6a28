//! The fragrances that the CMS and the library both start from.
//!
//! `database_config/` holds 5,000 of them as a file for Postgres images to load. Demos, tests and benches put any
//! number of them into a database with [`seed`].

mod fragrance;
mod words;

use std::io;

use sqlx::{Connection, PgConnection};

pub use fragrance::{Fragrance, MAX_ROWS, fragrance};

/// The first line of the CSV.
const CSV_HEADER: &str = "fragrance_id,name,description,cost,forbidden\n";

/// `create table fragrances`, as the CMS and the library both have it.
pub fn schema_sql() -> &'static str {
    include_str!("../../../database_config/schema.sql")
}

/// Writes `rows` fragrances as CSV.
pub fn write_csv(rows: u32, mut out: impl io::Write) -> io::Result<()> {
    out.write_all(CSV_HEADER.as_bytes())?;
    for index in 0..rows {
        out.write_all(fragrance(index).csv_line().as_bytes())?;
    }
    out.flush()
}

/// Creates the table in an empty database and fills it with `rows` fragrances, whose keys start at 0. The next inserted
/// row gets the next key. All of it or, after an error, nothing.
pub async fn seed(connection: &mut PgConnection, rows: u32) -> sqlx::Result<()> {
    const CHUNK: usize = 64 * 1024;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(schema_sql()).execute(&mut *transaction).await?;
    let mut copy = transaction.copy_in_raw("copy fragrances from stdin (format csv)").await?;
    let mut chunk = String::with_capacity(2 * CHUNK);
    for index in 0..rows {
        chunk.push_str(&fragrance(index).csv_line());
        if chunk.len() >= CHUNK {
            copy.send(chunk.as_bytes()).await?;
            chunk.clear();
        }
    }
    copy.send(chunk.as_bytes()).await?;
    copy.finish().await?;
    sqlx::query(
        "select setval(pg_get_serial_sequence('fragrances', 'fragrance_id'), max(fragrance_id) + 1, false)
         from fragrances",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query("analyze fragrances").execute(&mut *transaction).await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_csv_is_what_the_generator_writes() {
        let mut generated = Vec::new();
        write_csv(5000, &mut generated).unwrap();
        let checked_in = include_str!("../../../database_config/fragrances.csv");
        assert!(
            String::from_utf8(generated).unwrap() == checked_in,
            "write it anew: cargo run -p cms_simulator --bin generate_fragrances > database_config/fragrances.csv"
        );
    }
}
