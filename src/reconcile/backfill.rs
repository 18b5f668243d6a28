//! The first fill of an empty library from the reference.
//!
//! Promises: every row passes gate and waist, in order of the keys, and stands in the ledger; what is interrupted
//! goes on where it was; rows that cannot be taken are quarantined with their bytes, and hold up no other. A row
//! that changes meanwhile becomes what the reference says when it is written. Must not know: who asked, and how
//! progress is shown.

use std::time::Instant;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, TryStreamExt as _};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::lock::Lock;
use super::repair::{hand_in, record};
use super::{Plan, Progress, Stage};
use crate::apply::{Applier, Gap, Refused};
use crate::change::{Answer, Body, Change, Intent, Key, Origin, Outcome};
use crate::library::statement::TableSql;
use crate::library::{pipeline, session};

/// Rows a transaction. More gain little, and webhooks wait for each.
const PAGE: i64 = 2000;

/// Pages on their way through the waist: while one is flushed, one is applied and one is read.
const UNDER_WAY: usize = 2;

/// What is filled, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Backfill<'a> {
    /// The two tables.
    pub plan: &'a Plan,
    /// The library's waist, whose reference is the plan's source.
    pub applier: &'a Applier,
    /// The pipeline's row in the library.
    pub pipeline: i16,
    /// Whether a library that has rows already is filled all the same.
    pub resume: bool,
}

/// What became of the reference's rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Filled {
    /// Rows that an interrupted backfill had settled before.
    pub before: u64,
    /// Rows of the reference that were read now.
    pub rows: u64,
    /// Written.
    pub applied: u64,
    /// There already.
    pub unchanged: u64,
    /// Kept aside, because contract or table refuse them.
    pub quarantined: u64,
    /// Gone from the reference before they could be written.
    pub gone: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Why a library was not filled, or not to the end. What is settled stays, and the next one goes on after it.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// It is no first fill.
    #[error(
        "the library's table has rows already: `accord reconcile` brings it in accord with the reference; to fill \
         it all the same, use --resume"
    )]
    NotEmpty,
    /// Two at once would only be in each other's way.
    #[error("a reconciliation or another backfill of this pipeline is running: wait for it")]
    Busy,
    /// The reference cannot be read.
    #[error("the reference cannot be read: check that it is up, then run this again to go on")]
    Source(#[source] sqlx::Error),
    /// The library cannot be read or written.
    #[error("the library's database does not answer: check that it is up, then run this again to go on")]
    Library(#[source] sqlx::Error),
    /// The waist could not read the reference.
    #[error(
        "the reference did not answer while rows were written: check that it is up, then run this again to go on"
    )]
    Silent,
    /// The waist did not take the rows.
    #[error("the rows were not taken: run this again to go on")]
    Refused(#[source] Refused),
    /// An operator paused the pipeline.
    #[error(
        "the pipeline is paused since {}: resume it with `accord resume`, then run this again to go on",
        since.format("%Y-%m-%d %H:%M:%S UTC")
    )]
    Paused {
        /// Since when.
        since: DateTime<Utc>,
    },
}

impl From<Refused> for BackfillError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Paused { since } => Self::Paused { since },
            other => Self::Refused(other),
        }
    }
}

/// Rows to be written together, and the last of their keys.
struct Page {
    changes: Vec<Change>,
    last: Vec<String>,
}

impl Backfill<'_> {
    /// Fills the library.
    pub async fn run(&self, progress: &Progress) -> Result<Filled, BackfillError> {
        let began = Instant::now();
        let lock =
            Lock::take(&self.plan.target.connect, self.pipeline).await.map_err(BackfillError::Library)?;
        let mut lock = lock.ok_or(BackfillError::Busy)?;
        let filled = self.fill(lock.connection(), progress).await;
        lock.release().await;
        filled.map(|filled| Filled { seconds: began.elapsed().as_secs_f64(), ..filled })
    }

    async fn fill(&self, library: &mut PgConnection, progress: &Progress) -> Result<Filled, BackfillError> {
        let Mark { after, rows: before } = self.begin(library).await?;
        let mut filled = Filled { before, ..Filled::default() };
        let source = self.open_source(progress, before).await.map_err(BackfillError::Source)?;
        let silences = self.applier.reference_silences();

        progress.enter(Stage::Fill);
        let pages = stream::try_unfold((source, after), |(mut source, after)| async move {
            let page = self.read(&mut source, after.as_deref()).await.map_err(BackfillError::Source)?;
            let Some(page) = page else {
                let _ = source.close().await;
                return Ok(None);
            };
            let last = page.last.clone();
            Ok(Some((page, (source, Some(last)))))
        });
        let written = pages.map_ok(|page| async move {
            let answers = hand_in(self.applier, &page.changes).await?;
            Ok::<_, BackfillError>((answers, page.last))
        });
        let mut written = std::pin::pin!(written.try_buffered(UNDER_WAY));
        while let Some((answers, last)) = written.try_next().await? {
            let stale = filled.count(&answers);
            if stale > 0 && self.applier.reference_silences() != silences {
                return Err(BackfillError::Silent);
            }
            progress.rows(answers.len() as u64);
            mark(library, self.pipeline, &last, filled.before + filled.rows)
                .await
                .map_err(BackfillError::Library)?;
        }
        // Rows that were inserted behind the last key are for a reconciliation, which proves the rest too.
        pipeline::mark_gap(&mut *library, self.pipeline, &[Gap::Backfill.as_str()])
            .await
            .map_err(BackfillError::Library)?;
        finish(library, self.pipeline).await.map_err(BackfillError::Library)?;
        Ok(filled)
    }

    /// Where to begin: at the beginning of an empty library, else where the last one was interrupted.
    async fn begin(&self, library: &mut PgConnection) -> Result<Mark, BackfillError> {
        let target = &self.plan.target;
        let sql = TableSql::for_table(&self.plan.contract, target.schema.as_ref(), &target.table);
        let begin = async {
            let has_rows: bool = sql.has_rows().fetch_one(&mut *library).await?.try_get(0)?;
            match interrupted(library, self.pipeline).await? {
                Some(mark) if has_rows => Ok(Some(mark)),
                None if has_rows && !self.resume => Ok(None),
                _ => restart(library, self.pipeline).await.map(|()| Some(Mark::default())),
            }
        };
        begin.await.map_err(BackfillError::Library)?.ok_or(BackfillError::NotEmpty)
    }

    async fn open_source(&self, progress: &Progress, before: u64) -> Result<PgConnection, sqlx::Error> {
        let mut source =
            session::connect_reader(&self.plan.source.connect, self.plan.statement_timeout).await?;
        let rows: i64 = self.source_sql().count().fetch_one(&mut source).await?.try_get(0)?;
        progress.expect_rows(u64::try_from(rows).unwrap_or_default());
        progress.rows(before);
        Ok(source)
    }

    /// The page after this key; `None` at the end.
    async fn read(
        &self,
        source: &mut PgConnection,
        after: Option<&[String]>,
    ) -> Result<Option<Page>, sqlx::Error> {
        let sql = self.source_sql();
        let contract = &self.plan.contract;
        let mut page = Page { changes: Vec::new(), last: Vec::new() };
        for row in &sql.page(after, PAGE).fetch_all(source).await? {
            let (_, row) = sql.decode(row)?;
            let key = Key::new(contract.key.iter().map(|&i| row[i].clone()).collect());
            page.last = key.values().iter().map(crate::value::Value::key_text).collect();
            page.changes.push(Change {
                intent: Intent::Follow { key, may_delete: false },
                origin: Origin::Backfill,
                event_id: None,
                body: Body::new(record(contract, &row), Vec::new()),
                pointer: String::new(),
                replays: None,
            });
        }
        Ok((!page.changes.is_empty()).then_some(page))
    }

    fn source_sql(&self) -> TableSql {
        let source = &self.plan.source;
        TableSql::for_table(&self.plan.contract, source.schema.as_ref(), &source.table)
    }
}

impl Filled {
    /// Counts a page; gives how many of its rows the reference did not confirm.
    fn count(&mut self, answers: &[Answer]) -> u64 {
        let mut stale = 0;
        for answer in answers {
            match answer.outcome {
                Outcome::Applied { .. } => self.applied += 1,
                Outcome::Unchanged { .. } => self.unchanged += 1,
                Outcome::Stale { .. } => stale += 1,
                Outcome::Quarantined { .. } => self.quarantined += 1,
            }
        }
        self.rows += answers.len() as u64;
        self.gone += stale;
        stale
    }
}

/// How far a backfill is.
#[derive(Debug, Default)]
struct Mark {
    after: Option<Vec<String>>,
    rows: u64,
}

async fn interrupted(library: &mut PgConnection, pipeline: i16) -> Result<Option<Mark>, sqlx::Error> {
    let row =
        sqlx::query("select after, rows from accord.backfill where pipeline = $1 and finished_at is null")
            .bind(pipeline)
            .fetch_optional(library)
            .await?;
    row.map(|row| {
        let rows: i64 = row.try_get(1)?;
        Ok(Mark { after: row.try_get(0)?, rows: u64::try_from(rows).unwrap_or_default() })
    })
    .transpose()
}

async fn restart(library: &mut PgConnection, pipeline: i16) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into accord.backfill (pipeline) values ($1)
         on conflict (pipeline) do update
         set after = null, rows = 0, started_at = clock_timestamp(), finished_at = null",
    )
    .bind(pipeline)
    .execute(library)
    .await
    .map(drop)
}

async fn mark(
    library: &mut PgConnection,
    pipeline: i16,
    after: &[String],
    rows: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("update accord.backfill set after = $2, rows = $3 where pipeline = $1")
        .bind(pipeline)
        .bind(after)
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .execute(library)
        .await
        .map(drop)
}

async fn finish(library: &mut PgConnection, pipeline: i16) -> Result<(), sqlx::Error> {
    sqlx::query("update accord.backfill set finished_at = clock_timestamp() where pipeline = $1")
        .bind(pipeline)
        .execute(library)
        .await
        .map(drop)
}
