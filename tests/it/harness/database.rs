//! Databases to test on.

use std::sync::atomic::{AtomicUsize, Ordering};

use accord::embedded::postgres::{Durability, Options, Postgres};
use sqlx::PgPool;
use tokio::sync::OnceCell;

/// An empty database that only one test uses. It goes with the cluster.
pub(crate) struct TestDatabase {
    /// The superuser's URL.
    pub(crate) url: String,
    /// Connections of the test's own, apart from those of what it tests.
    pub(crate) pool: PgPool,
}

/// An empty database in the cluster that the tests of this process share.
///
/// The cluster starts with the first test that asks for it. No destructor runs for a static, so it ends as
/// that of a killed process would: with us. (Under a runner that gives each test its own process, each
/// gets its own cluster: slower by a second, and otherwise the same.)
pub(crate) async fn database() -> TestDatabase {
    static CLUSTER: OnceCell<Postgres> = OnceCell::const_new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    let cluster = CLUSTER.get_or_init(private_postgres).await;
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    cluster.create_database(&name).await.expect("a database for the test");
    let url = cluster.url(&name);
    let pool = PgPool::connect(&url).await.expect("a connection to the test's database");
    TestDatabase { url, pool }
}

/// A server that only one test uses, to be stopped and started. It ends with its owner.
pub(crate) async fn private_postgres() -> Postgres {
    let options = Options { durability: Durability::ProcessOnly, ..Options::default() };
    Postgres::start(options).await.expect("an embedded Postgres")
}
