//! `accord serve` as a whole, in the hands of real clients, while what it runs on fails.
//!
//! Whatever is broken, the tests ask the same in the end: does the library hold what was acknowledged, and
//! does the ledger tell how it came about?

mod crashes;
mod kill;
mod ledger;
mod outage;
mod replicas;
mod stopping;

use std::net::{Ipv4Addr, SocketAddr};

use accord::embedded::postgres::{Durability, Options, Postgres};
use serde_json::Value;
use sqlx::PgPool;

use self::ledger::Ledger;
use crate::harness::{Account, free_port};

/// A fragrance library on a Postgres of its own, which a test may stop and start.
struct Library {
    postgres: Postgres,
    /// Connections of the test's own, past any proxy.
    pool: PgPool,
}

impl Library {
    const DATABASE: &str = "library";

    /// A library of so many fragrances, with keys from 0. What it commits is on the disk, as in production.
    async fn of(rows: u32) -> Self {
        let options = Options { durability: Durability::Full, ..Options::default() };
        let postgres = Postgres::start(options).await.expect("an embedded Postgres");
        postgres.create_database(Self::DATABASE).await.expect("a database");
        let pool = PgPool::connect(&postgres.url(Self::DATABASE)).await.expect("a connection");
        let mut connection = pool.acquire().await.expect("a connection");
        cms_simulator::seed::seed(&mut connection, rows).await.expect("the seed");
        drop(connection);
        Self { postgres, pool }
    }

    /// Where its server listens.
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.postgres.port()))
    }

    /// Its URL through somebody who listens elsewhere.
    fn url_through(&self, address: SocketAddr) -> String {
        let (direct, through) = (self.address().to_string(), address.to_string());
        let url = self.postgres.url(Self::DATABASE);
        assert!(url.contains(&direct), "{url}");
        url.replace(&direct, &through)
    }

    /// The least `accord.toml` of an Accord that listens on `http`, and applies what it is sent.
    fn config(&self, http: SocketAddr) -> String {
        self.config_through(self.address(), http)
    }

    /// The same for an Accord that reaches the database at another address.
    fn config_through(&self, database: SocketAddr, http: SocketAddr) -> String {
        format!(
            "http.listen = '{http}'
             library.url = '{}'
             [pipeline.fragrances]
             contract = '{}/contracts/fragrances.yaml'
             mode = 'apply'
             source.webhook.path = '/notifications'
             source.webhook.auth = 'none'
             ",
            self.url_through(database),
            env!("CARGO_MANIFEST_DIR"),
        )
    }

    /// Sees that what was acknowledged stands in the ledger where the answer said, and that the ledger
    /// explains every row. The rows are those from before the first change.
    async fn stands_by(&self, before: &ledger::Rows, account: &Account) -> Ledger {
        let ledger = Ledger::read(&self.pool).await;
        ledger.is_unbroken();
        ledger.holds(&account.acknowledged);
        assert_eq!(
            ledger.replay(before),
            ledger::rows(&self.pool).await,
            "rows are not what the ledger tells"
        );
        ledger
    }

    /// Runs a query of the test's own for its one value.
    async fn ask(&self, sql: &'static str) -> Value {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("an answer")
    }
}

/// A place on this machine where nobody listens.
fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}
