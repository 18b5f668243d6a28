//! `accord serve` itself, the program that is shipped, with a configuration such as a deployment has.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::child::Child;
use crate::scene::CONTRACT;

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `accord serve`.
#[derive(Debug)]
pub(crate) struct AccordServer {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process until it could commit a change.
    pub(crate) ready_after: Duration,
    library: String,
}

impl AccordServer {
    /// Starts it on a library, in `refetch` mode where there is a reference, and waits until it is ready.
    pub(crate) async fn start(
        library: &str,
        reference: Option<&str>,
        directory: &Path,
        name: &str,
    ) -> anyhow::Result<Self> {
        let address = super::scene::free_address()?;
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, configuration(address, library, reference))?;
        let log = directory.join(format!("{name}.log"));
        let file = file.to_str().context("the target directory's path is not UTF-8")?;
        let began = Instant::now();
        let child = Child::start(env!("CARGO_BIN_EXE_accord"), ["serve", "--config", file], &log)?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{address}/readyz");
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            anyhow::ensure!(began.elapsed() < PATIENCE, "accord is not ready: see {}", log.display());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Self { child, address, ready_after: began.elapsed(), library: library.to_owned() })
    }

    /// Where its sender calls, token included.
    pub(crate) async fn path(&self) -> anyhow::Result<String> {
        let mut conn = PgConnection::connect(&self.library).await?;
        let token: String =
            sqlx::query_scalar("select token from accord.webhook_token").fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(format!("/notifications/{token}"))
    }
}

fn configuration(listen: SocketAddr, library: &str, reference: Option<&str>) -> String {
    let reference = reference.map(|url| {
        format!("[pipeline.fragrances.reference.postgres]\nurl = \"{url}\"\ntable = \"fragrances\"\n")
    });
    format!(
        "[http]
listen = \"{listen}\"
[library]
url = \"{library}\"
[pipeline.fragrances]
contract = \"{CONTRACT}\"
[pipeline.fragrances.routes]
list = \"/fragrances\"
item = \"/fragrance/{{id}}\"
[pipeline.fragrances.source.webhook]
path = \"/notifications\"
{}",
        reference.unwrap_or_default()
    )
}
