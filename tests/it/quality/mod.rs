//! Dataset checks on real tables.

mod agreement;
mod metrics;
mod own_sql;
mod promises;
mod surfaces;

use accord::contract::Contract;
use accord::quality::{self, CheckResult, Choice, Outcome};
use sqlx::postgres::PgConnectOptions;

use crate::harness::{TestDatabase, database};

/// A table of the test's own, and the rules that it is measured by.
struct Table {
    database: TestDatabase,
}

impl Table {
    /// A database prepared by this SQL.
    async fn new(sql: &'static str) -> Self {
        let database = database().await;
        sqlx::raw_sql(sql).execute(&database.pool).await.unwrap();
        Self { database }
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.database.pool).await.unwrap();
    }

    /// Checks table `t` of a document with this `schema`, and more of it where given.
    async fn check(&self, schema: &str) -> Vec<CheckResult> {
        self.check_patiently(schema, Choice::default()).await
    }

    async fn check_patiently(&self, schema: &str, choice: Choice<'_>) -> Vec<CheckResult> {
        let document = format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\n{schema}"
        );
        let contract =
            Contract::parse(&document, "test", Some("t")).unwrap_or_else(|e| panic!("{e}\n{document}"));
        let connect: PgConnectOptions = self.database.url.parse().unwrap();
        quality::check(&connect, &contract, choice).await.unwrap()
    }
}

/// The result of one rule.
fn of<'r>(results: &'r [CheckResult], id: &str) -> &'r CheckResult {
    results.iter().find(|result| result.id == id).unwrap_or_else(|| {
        let ids: Vec<&str> = results.iter().map(|result| result.id.as_str()).collect();
        panic!("no {id} among {ids:?}")
    })
}

/// Value and outcome, as text.
fn told(result: &CheckResult) -> (String, Outcome) {
    assert!(result.duration_ms >= 0.0);
    (result.value.to_string(), result.outcome)
}
