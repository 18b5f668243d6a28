//! A server with a reference, and what can be asked of its reconciliations.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Configure, Server, TestDatabase, database, eventually, fragrances, plant_fragrances};

pub(super) const SOON: Duration = Duration::from_secs(30);
pub(super) const ROOT: &str = "/api/v1/reconciliations";

/// A server, its library, and the CMS's database beside it.
pub(super) struct Service {
    pub(super) server: Server,
    pub(super) cms: TestDatabase,
}

impl Service {
    /// With these lines of `[pipeline.fragrances.reconcile]`, and this SQL run at the CMS before anything starts.
    pub(super) async fn start(reconcile: Option<&str>, at_cms: &'static str) -> Self {
        let cms = database().await;
        plant_fragrances(&cms.pool).await;
        sqlx::raw_sql(at_cms).execute(&cms.pool).await.unwrap();
        Self::beside(Configure { reconcile, ..Configure::default() }, cms).await
    }

    /// With a CMS's database that is there already.
    pub(super) async fn beside(configure: Configure<'_>, cms: TestDatabase) -> Self {
        let server = Server::start(Configure { reference: Some(&cms.url), ..configure }).await;
        Self { server, cms }
    }

    pub(super) async fn at_cms(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.cms.pool).await.unwrap();
    }

    pub(super) async fn at_library(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.server.library.pool).await.unwrap();
    }

    /// Asks the library for one value.
    pub(super) async fn ask(&self, sql: &'static str) -> Value {
        let value: Option<Value> =
            sqlx::query_scalar(sql).fetch_one(&self.server.library.pool).await.unwrap();
        value.unwrap_or_default()
    }

    /// Whether both sides have the same rows.
    pub(super) async fn is_in_accord(&self) -> bool {
        fragrances(&self.cms.pool, None).await == fragrances(&self.server.library.pool, None).await
    }

    /// Asks for a run, and gives its address.
    pub(super) async fn run(&self, mode: &str) -> String {
        let body = json!({"pipeline": "fragrances", "mode": mode}).to_string();
        let (reply, location) = self.server.post(ROOT, "application/json", &body).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        location.unwrap()
    }

    /// Waits until the run at this address has ended.
    pub(super) async fn ended(&self, address: &str) -> Value {
        self.comes_to(address, |state| !matches!(state, "queued" | "running")).await
    }

    /// Waits until the run at this address is in such a state.
    pub(super) async fn comes_to(&self, address: &str, wanted: impl Fn(&str) -> bool) -> Value {
        eventually(SOON, "the run comes to its state", async || {
            let run = self.server.get(address).await.json();
            if wanted(run["state"].as_str().unwrap_or_default()) { Ok(run) } else { Err(run) }
        })
        .await
    }

    /// The newest run, once it is as wanted.
    pub(super) async fn newest(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(SOON, what, async || {
            let runs = self.server.get(ROOT).await.json();
            let newest = &runs["data"][0];
            if wanted(newest) { Ok(newest.clone()) } else { Err(runs) }
        })
        .await
    }
}
