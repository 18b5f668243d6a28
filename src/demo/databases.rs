//! The demo's two databases: the CMS's and the library's, on one embedded Postgres.
//!
//! Promises: both begin with the same rows; what is there from an earlier demo is kept. Must not know: who
//! works on them.

use std::path::PathBuf;

use anyhow::Context as _;
use rand::distr::{Alphanumeric, SampleString as _};
use sqlx::{Connection as _, PgConnection};

use crate::embedded::postgres::{Options, Postgres};

/// The server and the URLs of the two databases, which hold passwords.
pub(super) struct Databases {
    pub(super) postgres: Postgres,
    pub(super) cms: String,
    pub(super) library: String,
    /// How many fragrances the library holds.
    pub(super) rows: i64,
}

impl Databases {
    /// Starts the server, in `data_dir` if its data is to be kept, and seeds what is not there yet.
    pub(super) async fn start(data_dir: Option<PathBuf>, rows: u32) -> anyhow::Result<Self> {
        let data_dir = data_dir.map(std::path::absolute).transpose().context("--data-dir is no path")?;
        let options = Options { data_dir, ..Options::default() };
        let postgres = Postgres::start(options).await.context("cannot start an embedded Postgres")?;
        let cms = database(&postgres, "cms_database", "cms_user").await?;
        let library = database(&postgres, "fragrancedb", "scentmate_user").await?;
        let (_, rows) = tokio::try_join!(seeded(&cms, rows), seeded(&library, rows))?;
        Ok(Self { postgres, cms, library, rows })
    }
}

/// Makes a database and its owner, who gets a new password each time, and gives the owner's URL.
async fn database(postgres: &Postgres, name: &str, owner: &str) -> anyhow::Result<String> {
    let password = Alphanumeric.sample_string(&mut rand::rng(), 24);
    postgres.create_role(owner, &password).await?;
    postgres.create_database_for(owner, name).await?;
    Ok(postgres.url_as(owner, &password, name))
}

/// Fills the database unless it is filled already, and counts its fragrances.
async fn seeded(url: &str, rows: u32) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let there = sqlx::query_scalar("select to_regclass('fragrances') is not null");
    if !there.fetch_one(&mut connection).await? {
        cms_simulator::seed::seed(&mut connection, rows).await.context("cannot seed the fragrances")?;
    }
    let count = sqlx::query_scalar("select count(*) from fragrances").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(count)
}
