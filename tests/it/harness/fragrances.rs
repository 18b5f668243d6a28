//! A fragrance library and its CMS's database, each with an owner whose password must never be seen.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{TestDatabase, database, free_port};

/// The password of every owner: whatever a command prints, this is not in it.
pub(crate) const PASSWORD: &str = "marker-0f-a-secret";

/// Two databases with the same fragrances, and a configuration that joins them.
pub(crate) struct Fragrances {
    pub(crate) library: TestDatabase,
    pub(crate) cms: TestDatabase,
    /// Where a server with this configuration listens.
    pub(crate) http: SocketAddr,
    /// Where the CMS is said to be.
    pub(crate) cms_port: u16,
    directory: TempDir,
}

impl Fragrances {
    /// Both databases with the first `rows` fragrances.
    pub(crate) async fn seeded(rows: u32) -> Self {
        let (library, cms) = (database().await, database().await);
        for database in [&library, &cms] {
            let mut connection = database.pool.acquire().await.unwrap();
            cms_simulator::seed::seed(&mut connection, rows).await.unwrap();
            let owner = owner(database);
            let hand_over = format!(
                "create role {owner} login password '{PASSWORD}';
                 alter table fragrances owner to {owner};
                 grant create on database {} to {owner};",
                name(database),
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(hand_over)).execute(&mut *connection).await.unwrap();
        }
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let fragrances =
            Self { library, cms, http, cms_port: free_port(), directory: tempfile::tempdir().unwrap() };
        fragrances.configure(|config| config);
        fragrances
    }

    /// Writes the configuration, changed as the test wants it.
    pub(crate) fn configure(&self, change: impl FnOnce(String) -> String) {
        std::fs::write(self.config(), change(self.text())).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("accord.toml")
    }

    /// What stands in it by default.
    pub(crate) fn text(&self) -> String {
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/fragrances.yaml");
        format!(
            r#"
[http]
listen = "{http}"
public_url = "http://{http}"
[library]
url = "{library}"
[pipeline.fragrances]
contract = "{contract}"
[pipeline.fragrances.routes]
list = "/fragrances"
item = "/fragrance/{{id}}"
[pipeline.fragrances.source.webhook]
path = "/notifications"
[pipeline.fragrances.source.webhook.register]
url = "http://127.0.0.1:{cms_port}/listener"
keep_alive = "200ms"
[pipeline.fragrances.reference.postgres]
url = "{cms}"
table = "fragrances"
"#,
            http = self.http,
            library = owners_url(&self.library),
            contract = contract.display(),
            cms_port = self.cms_port,
            cms = owners_url(&self.cms),
        )
    }
}

fn name(database: &TestDatabase) -> String {
    database.url.rsplit('/').next().unwrap().to_owned()
}

/// The role that owns a database's fragrances.
pub(crate) fn owner(database: &TestDatabase) -> String {
    format!("owner_of_{}", name(database))
}

fn owners_url(database: &TestDatabase) -> String {
    let mut url: url::Url = database.url.parse().unwrap();
    url.set_username(&owner(database)).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    url.into()
}
