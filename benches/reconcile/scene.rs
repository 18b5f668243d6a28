//! The stage: one Postgres with a source, and targets that differ from it by rows that are known.

use std::collections::BTreeSet;
use std::fmt;

use accord::embedded::postgres::{Durability, Options, Postgres};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

const SCHEMA: &str = include_str!("../../database_config/schema.sql");
const ROWS: &[u8] = include_bytes!("../../database_config/fragrances.csv");

/// Fragrances as the real ones are, over and over. One key in 200 is left free, for orphans.
const MULTIPLY: &str = "
    insert into fragrances
    select n, name, description, cost, forbidden
    from generate_series(0, $1) n
    join sample s on s.fragrance_id = n % (select count(*)::int4 from sample)
    where n % 200 <> 100
    order by n";

/// Of 100,000 keys, so many: 3 in 10 rows that differ are missing, 6 are changed, 1 is an orphan. Which ones is
/// left to a hash. `truth` keeps what was done.
const DRIFT: &str = "
    create function lot(key integer) returns integer language sql immutable
        as 'select (hashint4(key) & 2147483647) % 100000';
    create table truth (key integer, kind text);
    insert into truth
        select fragrance_id, case when lot(fragrance_id) < $drift * 3 then 'missing' else 'stale' end
        from fragrances where lot(fragrance_id) < $drift * 9;
    insert into truth
        select n, 'orphan' from generate_series(100, (select max(fragrance_id) from fragrances), 200) n
        where lot(n) < $drift * 200;
    delete from fragrances f using truth t where f.fragrance_id = t.key and t.kind = 'missing';
    update fragrances f set cost = coalesce(cost, 0) + 0.01
        from truth t where f.fragrance_id = t.key and t.kind = 'stale';
    insert into fragrances
        select t.key, s.name, s.description, s.cost, s.forbidden
        from truth t join sample s on s.fragrance_id = t.key % 5000 where t.kind = 'orphan';
";

/// How much a target differs from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Drift {
    None,
    Tenth,
    Five,
}

impl Drift {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Tenth, Self::Five];

    fn database(self) -> &'static str {
        match self {
            Self::None => "clean",
            Self::Tenth => "tenth",
            Self::Five => "five",
        }
    }

    /// Tenths of such rows in 100,000 as differ.
    fn lots(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Tenth => 10,
            Self::Five => 500,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no drift",
            Self::Tenth => "0.1 % drift",
            Self::Five => "5 % drift",
        })
    }
}

/// Everything that is there to be compared.
pub(crate) struct Scene {
    postgres: Postgres,
    /// Declared last: the files go after the server that uses them.
    _disk: TempDir,
}

impl Scene {
    pub(crate) async fn set(rows: u32) -> anyhow::Result<Self> {
        let disk = tempfile::Builder::new().prefix("accord-bench-").tempdir_in("/var/tmp")?;
        let settings =
            [("max_wal_size", "4GB"), ("autovacuum", "off"), ("max_parallel_workers_per_gather", "0")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let durability = Durability::ProcessOnly;
        let data_dir = Some(disk.path().to_owned());
        let postgres =
            Postgres::start(Options { data_dir, settings, durability, ..Options::default() }).await?;
        postgres.create_database("source").await?;
        let scene = Self { postgres, _disk: disk };

        let mut conn = PgConnection::connect(&scene.source()).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut conn).await?;
        sqlx::raw_sql("create table sample (like fragrances)").execute(&mut conn).await?;
        let mut copying = conn.copy_in_raw("copy sample from stdin with (format csv, header true)").await?;
        copying.send(ROWS).await?;
        copying.finish().await?;
        let last = i32::try_from(u64::from(rows) * 200 / 199)?;
        sqlx::query(MULTIPLY).bind(last).execute(&mut conn).await?;
        conn.close().await?;

        for drift in Drift::ALL {
            let mut conn = PgConnection::connect(&scene.postgres.url("postgres")).await?;
            let copy = format!("create database {} template source", drift.database());
            sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut conn).await?;
            conn.close().await?;
            let change = DRIFT.replace("$drift", &drift.lots().to_string());
            scene.run(&scene.target(drift), change).await?;
        }
        for url in [scene.source()].into_iter().chain(Drift::ALL.map(|drift| scene.target(drift))) {
            // Hint bits are set and pages frozen here, and not by whoever reads first.
            scene.run(&url, "vacuum (analyze, freeze)".to_owned()).await?;
        }
        Ok(scene)
    }

    async fn run(&self, url: &str, sql: String) -> anyhow::Result<()> {
        let mut conn = PgConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    pub(crate) fn source(&self) -> String {
        self.postgres.url("source")
    }

    pub(crate) fn target(&self, drift: Drift) -> String {
        self.postgres.url(drift.database())
    }

    /// Which rows differ, and how.
    pub(crate) async fn truth(&self, drift: Drift) -> anyhow::Result<BTreeSet<(String, String)>> {
        let mut conn = PgConnection::connect(&self.target(drift)).await?;
        let rows = sqlx::query_as("select key::text, kind from truth").fetch_all(&mut conn).await?;
        conn.close().await?;
        Ok(rows.into_iter().collect())
    }
}
