//! A library of fragrances, kept by the real `accord serve`.

use std::net::{Ipv4Addr, SocketAddr};

use sqlx::PgPool;

use super::Reply;
use super::{Accord, TestDatabase, Told, accord, database, free_port};

/// How many fragrances a library begins with; their keys run from 0.
pub(crate) const FRAGRANCES: u32 = 50;

/// How a test wants its server configured, beyond what every one has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Configure<'a> {
    /// More lines of `[http]`.
    pub(crate) http: &'a str,
    /// The port of the CMS to register with.
    pub(crate) cms_port: Option<u16>,
    /// The database of the CMS, as the reference.
    pub(crate) reference: Option<&'a str>,
    /// The lines of `[pipeline.fragrances.reconcile]`; without them there is no such section.
    pub(crate) reconcile: Option<&'a str>,
    /// How often to register again, where not every second.
    pub(crate) keep_alive: Option<&'a str>,
    /// More sections.
    pub(crate) more: &'a str,
}

/// A running server with its library; it ends with its owner.
pub(crate) struct Server {
    pub(crate) library: TestDatabase,
    pub(crate) accord: Accord,
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
    config: String,
}

impl Server {
    /// Starts one on a library of its own.
    pub(crate) async fn start(configure: Configure<'_>) -> Self {
        let library = database().await;
        plant_fragrances(&library.pool).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = configuration(&library.url, address, configure);
        let accord = serve(&config, address).await;
        // Some of these servers close idle connections soon: reusing one would be a race.
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = builder.build().expect("an HTTP client");
        Self { library, accord, address, http, config }
    }

    /// Ends it in order and starts it anew, on the same library and port.
    pub(crate) async fn restart(&mut self) {
        self.accord.process.terminate();
        self.accord.process.wait().await;
        self.accord = serve(&self.config, self.address).await;
    }

    /// Ends it as a power cut would and starts it anew, on the same library and port.
    pub(crate) async fn crash(&mut self) {
        self.accord.process.kill9();
        self.accord = serve(&self.config, self.address).await;
    }

    /// One more server on the same library.
    pub(crate) async fn replica(&self) -> Accord {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        serve(&self.config.replace(&self.address.to_string(), &address.to_string()), address).await
    }

    /// Runs `accord` with its configuration.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Told {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("accord.toml");
        std::fs::write(&file, &self.config).expect("a configuration file");
        accord(&file, arguments).await
    }

    /// Asks for something with a body.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &str) -> (Reply, Option<String>) {
        let request = self.http.post(format!("{}{path}", self.accord.url));
        let request = request.header("content-type", content_type).body(body.to_owned());
        let answer = request.send().await.expect("an answer");
        let location = answer.headers().get("location");
        let location = location.map(|value| value.to_str().expect("an address").to_owned());
        (Reply::read(answer).await.expect("a whole answer"), location)
    }

    /// The webhook's path with its token, as a sender is told.
    pub(crate) async fn hook(&self) -> String {
        let token: String =
            sqlx::query_scalar("select token from accord.webhook_token where retired_at is null")
                .fetch_one(&self.library.pool)
                .await
                .expect("a token");
        format!("/notifications/{token}")
    }

    /// Delivers a body to the webhook.
    pub(crate) async fn send(&self, body: impl Into<Vec<u8>>) -> Reply {
        self.send_with(&[("content-type", "application/json")], body).await
    }

    /// Delivers a body to the webhook, with these headers.
    pub(crate) async fn send_with(&self, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Reply {
        let url = format!("{}{}", self.accord.url, self.hook().await);
        let mut request = self.http.post(url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::read(request.send().await.expect("an answer")).await.expect("a whole answer")
    }

    /// Reads a path.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = self.http.get(format!("{}{path}", self.accord.url));
        Reply::read(request.send().await.expect("an answer")).await.expect("a whole answer")
    }

    /// The value of one series of `/metrics`, named with its labels but for the pipeline's.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> u64 {
        let series = format!("accord_{name}{{pipeline=\"fragrances\"{labels}}} ");
        let text = self.get("/metrics").await.text;
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// How many changes that came by the webhook had this outcome, since the process started.
    pub(crate) async fn counted(&self, outcome: &str) -> u64 {
        self.metric("changes_total", &format!(",origin=\"webhook\",outcome=\"{outcome}\"")).await
    }

    /// Why changes may have been missed, as far as it is written.
    pub(crate) async fn gap_reasons(&self) -> Vec<String> {
        sqlx::query_scalar("select gap_reasons from accord.pipeline where name = 'fragrances'")
            .fetch_one(&self.library.pool)
            .await
            .expect("the pipeline's row")
    }
}

/// The table of fragrances and its rows, as CMS and library both begin.
pub(crate) async fn plant_fragrances(pool: &PgPool) {
    let mut conn = pool.acquire().await.expect("a connection");
    cms_simulator::seed::seed(&mut conn, FRAGRANCES).await.expect("fragrances");
}

/// All fragrances, or one, as Postgres writes them: equal texts are equal rows.
pub(crate) async fn fragrances(pool: &PgPool, key: Option<i32>) -> Vec<String> {
    sqlx::query_scalar(
        "select row_to_json(f)::text from fragrances f where $1 is null or fragrance_id = $1
         order by fragrance_id",
    )
    .bind(key)
    .fetch_all(pool)
    .await
    .expect("the fragrances")
}

async fn serve(config: &str, address: SocketAddr) -> Accord {
    Accord::serve(config, address).await.unwrap_or_else(|log| panic!("{log}"))
}

fn configuration(library: &str, address: SocketAddr, configure: Configure<'_>) -> String {
    let Configure { http, cms_port, reference, reconcile, keep_alive, more } = configure;
    let keep_alive = keep_alive.unwrap_or("1s");
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/fragrances.yaml");
    let mut config = format!(
        r#"
[http]
listen = "{address}"
public_url = "http://{address}"
{http}

[library]
url = "{library}"

[pipeline.fragrances]
contract = "{contract}"

[pipeline.fragrances.routes]
list = "/fragrances"
item = "/fragrance/{{id}}"

[pipeline.fragrances.source.webhook]
path = "/notifications"
auth = "token"
"#
    );
    let register = cms_port.map(|port| {
        format!(
            r#"
[pipeline.fragrances.source.webhook.register]
url = "http://127.0.0.1:{port}/listener"
keep_alive = "{keep_alive}"
"#
        )
    });
    let reference = reference.map(|url| {
        format!(
            r#"
[pipeline.fragrances.reference.postgres]
url = "{url}"
table = "fragrances"
"#
        )
    });
    let reconcile = reconcile.map(|lines| format!("\n[pipeline.fragrances.reconcile]\n{lines}\n"));
    config.extend([register, reference, reconcile].into_iter().flatten());
    config.push_str(more);
    config
}
