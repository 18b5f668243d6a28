//! Two databases with a table each, to be compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use accord::contract::{Contract, Identifier};
use accord::reconcile::{Endpoint, Findings, Inconclusive, Kind, Method, Plan, Progress, diff};
use sqlx::AssertSqlSafe;

use crate::harness::{TestDatabase, database};

/// What differs: each key with how it does, and in which columns.
pub(crate) type Truth = BTreeMap<String, (Kind, Vec<String>)>;

/// The two databases.
pub(crate) struct Pair {
    pub(crate) source: TestDatabase,
    pub(crate) target: TestDatabase,
    pub(crate) contract: Arc<Contract>,
    pub(crate) grace: Duration,
    pub(crate) timeout: Duration,
}

impl Pair {
    /// Two empty databases, and a contract with these properties for table `item`.
    pub(crate) async fn new(properties: &str) -> Self {
        let (source, target) = (database().await, database().await);
        let contract = Arc::new(contract(properties));
        Self { source, target, contract, grace: Duration::ZERO, timeout: Duration::from_secs(30) }
    }

    /// The same, with tables made and filled by these statements.
    pub(crate) async fn with(properties: &str, source: &str, target: &str) -> Self {
        let pair = Self::new(properties).await;
        pair.source(source).await;
        pair.target(target).await;
        pair
    }

    pub(crate) async fn source(&self, sql: &str) {
        run(&self.source, sql).await;
    }

    pub(crate) async fn target(&self, sql: &str) {
        run(&self.target, sql).await;
    }

    pub(crate) fn plan(&self, force: Option<Method>) -> Plan {
        let endpoint = |database: &TestDatabase| Endpoint {
            connect: database.url.parse().unwrap(),
            schema: None,
            table: Identifier::new("item").unwrap(),
        };
        Plan {
            contract: Arc::clone(&self.contract),
            source: endpoint(&self.source),
            target: endpoint(&self.target),
            grace: self.grace,
            statement_timeout: self.timeout,
            force,
        }
    }

    pub(crate) async fn findings(&self, force: Option<Method>) -> Result<Findings, Inconclusive> {
        diff(&self.plan(force), &Progress::default()).await
    }

    /// What a comparison finds; nothing may be in flight.
    pub(crate) async fn found(&self, force: Option<Method>) -> Truth {
        let findings = self.findings(force).await.unwrap_or_else(|error| panic!("{}", error.reason()));
        assert_eq!(findings.in_flight, 0);
        let truth: Truth = findings
            .found
            .iter()
            .map(|found| {
                let drift = found.drift("item", &self.contract);
                (drift.key, (drift.kind, drift.columns.into_iter().map(|column| column.name).collect()))
            })
            .collect();
        assert_eq!(truth.len(), findings.found.len(), "a key is found once");
        truth
    }

    /// Why a comparison finds nothing out.
    pub(crate) async fn refusal(&self) -> String {
        self.findings(None).await.unwrap_err().reason()
    }
}

/// A contract with these properties for table `item`.
pub(crate) fn contract(properties: &str) -> Contract {
    let document = format!(
        "{{apiVersion: v3.1.0, kind: DataContract, id: t, version: 1.0.0, status: active,
           schema: [{{name: item, properties: [{properties}]}}]}}"
    );
    Contract::parse(&document, "test", None).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn run(database: &TestDatabase, sql: &str) {
    let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await;
    ran.unwrap_or_else(|error| panic!("{error} in {sql}"));
}

/// Truth in short: `stale("3", &["cost"])`.
pub(crate) fn stale(key: &str, columns: &[&str]) -> (String, (Kind, Vec<String>)) {
    (key.to_owned(), (Kind::Stale, columns.iter().map(ToString::to_string).collect()))
}

pub(crate) fn missing(key: &str) -> (String, (Kind, Vec<String>)) {
    (key.to_owned(), (Kind::Missing, Vec::new()))
}

pub(crate) fn orphan(key: &str) -> (String, (Kind, Vec<String>)) {
    (key.to_owned(), (Kind::Orphan, Vec::new()))
}
