//! A waist on a table of the test's own, without sources around it.

use std::sync::Arc;
use std::time::Duration;

use accord::apply::{Applier, Mode, ReferenceSettings, Settings, Stop};
use accord::change::{Answer, Body, Change, Intent, Key, Origin};
use accord::contract::Contract;
use accord::contract::gate::Gate;
use accord::library;
use accord::telemetry::metrics::Metrics;
use accord::value::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::database;

/// The contract of table `item`, which knows nothing of the constraints that a test may add.
pub(crate) const ITEM: &str = "
apiVersion: v3.1.0
kind: DataContract
id: items
version: 1.0.0
status: active
schema:
  - name: item
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true}
      - {name: name, logicalType: string, physicalType: varchar(20)}
      - {name: price, logicalType: number, physicalType: numeric}
      - {name: tag, logicalType: string, physicalType: text}
";

/// Table `item` with a column of the library's own.
pub(crate) const ITEM_TABLE: &str = "create table item (id integer primary key, name varchar(20), price numeric, tag text, own text default 'own')";

/// A waist, its gate and its database.
pub(crate) struct Waist {
    pub(crate) applier: Applier,
    pub(crate) gate: Gate,
    pub(crate) pool: PgPool,
    pub(crate) url: String,
}

/// How a test wants its waist.
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a str,
    pub(crate) contract: &'a str,
    pub(crate) table: &'a str,
    pub(crate) mode: Mode,
    pub(crate) reference: Option<ReferenceSettings>,
    pub(crate) hold: Duration,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            name: "items",
            contract: ITEM,
            table: ITEM_TABLE,
            mode: Mode::Apply,
            reference: None,
            hold: Duration::from_mins(1),
        }
    }
}

impl Waist {
    /// A waist on a database of its own.
    pub(crate) async fn new(wish: Wish<'_>) -> Self {
        let database = database().await;
        let mut conn = database.pool.acquire().await.unwrap();
        library::migrate(&mut conn).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(wish.table)).execute(&mut *conn).await.unwrap();
        Self::on(&database.url, database.pool.clone(), wish)
    }

    /// One more waist on a database that is prepared.
    pub(crate) fn on(url: &str, pool: PgPool, wish: Wish<'_>) -> Self {
        let contract = Arc::new(Contract::parse(wish.contract, "test contract", None).unwrap());
        let gate = Gate::new(contract);
        let metrics = Metrics::new();
        let settings = Settings {
            name: wish.name.to_owned(),
            gate: gate.clone(),
            connect: url.parse().unwrap(),
            mode: wish.mode,
            reference: wish.reference,
            max_batch: 1024,
            max_held: 1024,
            max_held_bytes: 64 << 20,
            hold: wish.hold,
            metrics: metrics.pipeline(wish.name),
        };
        let (applier, writer) =
            Applier::new(settings, Stop { asked: CancellationToken::new(), drain: CancellationToken::new() });
        tokio::spawn(writer);
        Self { applier, gate, pool, url: url.to_owned() }
    }

    /// What the gate makes of a body.
    pub(crate) fn judge(&self, body: &str) -> Vec<Change> {
        self.gate.judge(&Body::new(body.to_owned(), Vec::new()), Origin::Webhook, None).changes
    }

    /// Hands in a body and gives the answers.
    pub(crate) async fn send(&self, body: &str) -> Vec<Answer> {
        self.applier.apply(self.judge(body)).await.unwrap()
    }

    /// Runs SQL of the test's own.
    pub(crate) async fn sql(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    /// Reads one text, such as a `json_agg`.
    pub(crate) async fn read(&self, sql: &str) -> String {
        let text: Option<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap();
        text.unwrap_or_default()
    }
}

/// A change that deletes a row, which no plain webhook body can say.
pub(crate) fn deletion(id: i64) -> Change {
    Change {
        intent: Intent::Delete { key: Key::new(vec![Value::Int(id)]) },
        origin: Origin::Webhook,
        event_id: None,
        body: Body::new(format!("delete {id}"), Vec::new()),
        pointer: String::new(),
        replays: None,
    }
}
