//! A reference and a library with a waist, both with table `item`.

use std::time::Duration;

use accord::apply::{Mode, ReferenceSettings};
use accord::contract::Identifier;
use accord::reconcile::{Endpoint, Limits, Plan, Progress, Report, Work, run};
use sqlx::PgPool;

use crate::harness::{TestDatabase, Waist, Wish, database, eventually};

/// How the waist and the two databases of a test are.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) mode: Mode,
    /// How the reconciler and the waist connect to the reference, given its own URL; by default directly.
    pub(super) reach: Option<&'a str>,
    /// SQL to run on both sides before anything else.
    pub(super) both: &'a str,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { mode: Mode::Refetch, reach: None, both: "" }
    }
}

/// The two databases, and the way from one to the other.
pub(super) struct Scene {
    pub(super) source: TestDatabase,
    pub(super) waist: Waist,
    pub(super) plan: Plan,
    pub(super) pipeline: i16,
}

/// The reference takes what the contract does not.
const SOURCE_TABLE: &str =
    "create table item (id integer primary key, name varchar(100), price numeric, tag text)";

/// Everything that the contract names, in one text: equal texts are equal tables.
const CONTENT: &str = "select coalesce(string_agg(concat_ws('|', id, name, price, coalesce(tag, '-')), ' ' order by id), '') from item";

impl Scene {
    pub(super) async fn new(setting: Setting<'_>) -> Self {
        Self::with_source(database().await, setting).await
    }

    pub(super) async fn with_source(source: TestDatabase, setting: Setting<'_>) -> Self {
        execute(&source.pool, SOURCE_TABLE).await;
        let reach = setting.reach.unwrap_or(&source.url);
        let reference = reference(reach);
        let wish = Wish { mode: setting.mode, reference: Some(reference.clone()), ..Wish::default() };
        let waist = Waist::new(wish).await;
        for pool in [&source.pool, &waist.pool] {
            execute(pool, setting.both).await;
        }
        let plan = Plan {
            contract: std::sync::Arc::clone(waist.gate.contract()),
            source: Endpoint { connect: reference.connect, schema: None, table: reference.table },
            target: Endpoint {
                connect: waist.url.parse().unwrap(),
                schema: None,
                table: waist.gate.contract().table.clone(),
            },
            grace: Duration::from_millis(10),
            statement_timeout: Duration::from_secs(30),
            force: None,
        };
        let pipeline = eventually(Duration::from_secs(20), "the pipeline is known", async || {
            sqlx::query_scalar("select id from accord.pipeline").fetch_one(&waist.pool).await
        })
        .await;
        Self { source, waist, plan, pipeline }
    }

    /// One reconciliation that repairs.
    pub(super) async fn repair(&self, limits: Limits) -> Report {
        self.repair_after(self.plan.grace, limits).await
    }

    /// The same, with another grace for differences to settle.
    pub(super) async fn repair_after(&self, grace: Duration, limits: Limits) -> Report {
        let work = Work {
            repair: Some(&self.waist.applier),
            limits,
            all_keys: true,
            quarantine: Some((self.waist.pool.clone(), self.pipeline)),
        };
        run(&Plan { grace, ..self.plan.clone() }, work, &Progress::default()).await
    }

    /// One that only looks.
    pub(super) async fn look(&self) -> Report {
        let work = Work { repair: None, limits: Limits::default(), all_keys: false, quarantine: None };
        run(&self.plan, work, &Progress::default()).await
    }

    /// Runs SQL at the source.
    pub(super) async fn at_source(&self, sql: &str) {
        execute(&self.source.pool, sql).await;
    }

    /// What each side has: the source, then the library.
    pub(super) async fn contents(&self) -> [String; 2] {
        [content(&self.source.pool).await, self.library().await]
    }

    /// What the library has.
    pub(super) async fn library(&self) -> String {
        content(&self.waist.pool).await
    }

    /// How many changes the waist has settled.
    pub(super) async fn ledger(&self) -> String {
        self.waist.read("select count(*)::text from accord.ledger").await
    }
}

/// The reference at this URL, with all the time it may need.
pub(super) fn reference(url: &str) -> ReferenceSettings {
    ReferenceSettings {
        connect: url.parse().unwrap(),
        schema: None,
        table: Identifier::new("item").unwrap(),
        timeout: Duration::from_secs(30),
    }
}

pub(super) async fn execute(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

async fn content(pool: &PgPool) -> String {
    sqlx::query_scalar(CONTENT).fetch_one(pool).await.unwrap()
}
