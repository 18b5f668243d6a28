//! The one writer of a pipeline: gathers what waits, commits it, answers.
//!
//! Promises: while one batch commits the next gathers; an unavailable database is waited for, and its batch
//! is not given up; a commit whose outcome is unknown is looked up before anything is answered. Must not
//! know: where changes come from.

use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::apply::batch::{self, Setting, Written};
use crate::apply::disposition::{self, Disposition};
use crate::apply::reference::Reference;
use crate::apply::slice::{Care, Table, Trouble};
use crate::apply::{Gap, Health, Settings, Shared, Stop, Submission, story};
use crate::change::{Answer, Change};
use crate::library::facts::{self, Strictness};
use crate::library::pipeline::{self, Ids};
use crate::library::statement::TableSql;
use crate::library::{ledger, session};

/// How often an idle writer makes sure that a change could commit now.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How often the table's own rules are read again: somebody may alter the table.
const FACTS_AGE: Duration = Duration::from_secs(30);

/// How long a batch may take before its connection counts as dead; longer than any statement may.
const BATCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Pauses between tries while the database is away.
const PAUSES: [u64; 6] = [50, 100, 250, 500, 1000, 2000];

/// How often a batch that fails alike is tried before its changes go to quarantine after all.
const ALIKE_TRIES: usize = 3;

/// A connection, and what is true on it.
struct Session {
    conn: PgConnection,
    ids: Ids,
    strictness: Strictness,
    facts_read: Instant,
}

/// The one writer of a pipeline.
pub(super) struct Writer {
    settings: Settings,
    sql: TableSql,
    reference: Option<Reference>,
    session: Option<Session>,
    shared: std::sync::Arc<Shared>,
    stop: Stop,
}

/// The batch was given up: the database is away and we were asked to stop.
struct Stopped;

impl Writer {
    pub(super) fn new(settings: Settings, shared: std::sync::Arc<Shared>, stop: Stop) -> Self {
        let sql = TableSql::new(settings.gate.contract());
        let reference = settings.reference.clone().map(|r| Reference::new(r, settings.gate.clone()));
        Self { settings, sql, reference, session: None, shared, stop }
    }

    /// Works until it is told to drain and all that was handed in is settled.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Submission>) {
        let mut waiting = Vec::new();
        // Before the first change comes, so that we are ready when it does.
        self.heartbeat().await;
        loop {
            let gather = inbox.recv_many(&mut waiting, self.settings.max_batch);
            let gathered = tokio::select! {
                biased;
                gathered = tokio::time::timeout(HEARTBEAT, gather) => gathered,
                () = self.stop.drain.cancelled() => {
                    inbox.close();
                    self.stop.drain = CancellationToken::new();
                    continue;
                }
            };
            match gathered {
                Ok(0) => break,
                Ok(_) => {
                    if self.settle(&mut waiting).await.is_err() {
                        return;
                    }
                }
                Err(_idle) => self.heartbeat().await,
            }
        }
        if let Some(session) = self.session.take() {
            let _ = session.conn.close().await;
        }
    }

    /// Settles all submissions and answers them.
    async fn settle(&mut self, waiting: &mut Vec<Submission>) -> Result<(), Stopped> {
        let changes: Vec<&Change> = waiting.iter().flat_map(|submission| &submission.changes).collect();
        let mut answers = Vec::with_capacity(changes.len());
        for batch in changes.chunks(self.settings.max_batch) {
            answers.extend(self.commit(batch).await?);
        }
        let mut answers = answers.into_iter();
        for submission in waiting.drain(..) {
            let count = submission.changes.len();
            // The asker may be gone; what it asked for is done all the same.
            let _ = submission.reply.send(answers.by_ref().take(count).collect());
        }
        Ok(())
    }

    /// Commits one batch, however long the database takes to be there.
    async fn commit(&mut self, batch: &[&Change]) -> Result<Vec<Answer>, Stopped> {
        let mut care = Care::Swift;
        let mut failures = 0;
        let mut alike = 0;
        let mut unknown: Option<Written> = None;
        loop {
            let began = Instant::now();
            let tried = tokio::time::timeout(BATCH_TIMEOUT, self.try_commit(batch, care, &mut unknown)).await;
            let error = match tried.unwrap_or_else(|_| Err(session::no_answer().into())) {
                Ok(written) => {
                    self.succeeded(batch, &written, began.elapsed());
                    return Ok(written.answers);
                }
                Err(error) => error,
            };
            match error {
                Trouble::Raced => care = Care::Careful,
                Trouble::Alike(violation) => {
                    alike += 1;
                    self.halted(&format!("every change is refused alike: {}", violation.message));
                    if alike >= ALIKE_TRIES {
                        care = Care::Resigned;
                    }
                    self.pause(failures + alike + 2).await?;
                }
                Trouble::Sql(error) => match disposition::of(&error) {
                    Disposition::Quarantine(_) | Disposition::Cancelled(_) if care == Care::Swift => {
                        care = Care::Careful;
                    }
                    Disposition::Retry => {
                        failures += 1;
                        self.session = self.session.take().filter(|_| failures < 3);
                        self.pause(failures.min(2)).await?;
                    }
                    Disposition::Halt => {
                        failures += 1;
                        self.session = None;
                        self.halted(&error.to_string());
                        self.pause(failures + 2).await?;
                    }
                    // Also a refusal that no single change can be blamed for: only a new look can tell.
                    Disposition::Wait | Disposition::Quarantine(_) | Disposition::Cancelled(_) => {
                        failures += 1;
                        self.session = None;
                        self.away(&error);
                        self.pause(failures).await?;
                    }
                },
            }
            self.roll_back().await;
        }
    }

    async fn try_commit(
        &mut self,
        batch: &[&Change],
        care: Care,
        unknown: &mut Option<Written>,
    ) -> Result<Written, Trouble> {
        self.ensure_session().await?;
        let Some(session) = &mut self.session else { return Err(Trouble::Raced) };
        if let Some(written) = unknown.take() {
            match look_up(session, &written).await {
                Ok(true) => return Ok(written),
                Ok(false) => {}
                Err(error) => {
                    *unknown = Some(written);
                    return Err(error.into());
                }
            }
        }
        let gaps = self.shared.gaps();
        let contract = self.settings.gate.contract();
        let table = Table { contract, sql: &self.sql, strictness: session.strictness };
        let setting = Setting { ids: session.ids, table, mode: self.settings.mode, care, gaps: &gaps };
        let written = batch::write(&mut session.conn, &setting, self.reference.as_mut(), batch).await?;
        // From here on, until the server says otherwise, it may have committed.
        let written = unknown.insert(written);
        let answer = sqlx::raw_sql("set constraints all immediate; commit").execute(&mut session.conn).await;
        if let Err(error) = answer {
            if matches!(error, sqlx::Error::Database(_)) && disposition::of(&error) != Disposition::Wait {
                *unknown = None;
            }
            return Err(error.into());
        }
        self.shared.gaps_written(&gaps);
        let answers = std::mem::take(&mut written.answers);
        Ok(Written { answers, ..*written })
    }

    /// Connects where needed, and reads the table's rules where they are not fresh.
    async fn ensure_session(&mut self) -> Result<(), sqlx::Error> {
        let contract = self.settings.gate.contract();
        if let Some(session) = &mut self.session {
            if session.facts_read.elapsed() > FACTS_AGE {
                session.strictness =
                    facts::strictness(&mut session.conn, self.sql.target(), contract).await?;
                session.facts_read = Instant::now();
            }
            return Ok(());
        }
        let mut conn = session::connect_writer(&self.settings.connect).await?;
        let ids = pipeline::enroll(&mut conn, &self.settings.name, self.sql.target(), contract).await?;
        let strictness = facts::strictness(&mut conn, self.sql.target(), contract).await?;
        self.session = Some(Session { conn, ids, strictness, facts_read: Instant::now() });
        Ok(())
    }

    /// Makes sure that a change could commit now, and writes gaps that nobody else would carry.
    async fn heartbeat(&mut self) {
        let beat = async {
            self.ensure_session().await?;
            let Some(session) = &mut self.session else { return Ok(()) };
            let gaps = self.shared.gaps();
            if gaps.is_empty() {
                return session.conn.ping().await;
            }
            sqlx::raw_sql("begin").execute(&mut session.conn).await?;
            let fence = pipeline::lock(&mut session.conn, session.ids.pipeline).await?;
            let words: Vec<&str> = gaps.iter().map(|gap| gap.as_str()).collect();
            pipeline::advance(&mut session.conn, session.ids.pipeline, fence.position, &words).await?;
            sqlx::raw_sql("commit").execute(&mut session.conn).await?;
            self.shared.gaps_written(&gaps);
            Ok::<_, sqlx::Error>(())
        };
        let beat = tokio::time::timeout(session::PATIENCE, beat).await;
        match beat.unwrap_or_else(|_| Err(session::no_answer())) {
            Ok(()) => self.ready(),
            Err(error) => {
                self.session = None;
                match disposition::of(&error) {
                    Disposition::Halt => self.halted(&error.to_string()),
                    _ => self.away(&error),
                }
            }
        }
    }

    async fn roll_back(&mut self) {
        if let Some(session) = &mut self.session
            && sqlx::raw_sql("rollback").execute(&mut session.conn).await.is_err()
        {
            self.session = None;
        }
    }

    async fn pause(&self, failures: usize) -> Result<(), Stopped> {
        let millis = PAUSES[failures.saturating_sub(1).min(PAUSES.len() - 1)];
        tokio::select! {
            () = self.stop.asked.cancelled() => Err(Stopped),
            () = tokio::time::sleep(Duration::from_millis(millis)) => Ok(()),
        }
    }

    fn succeeded(&self, batch: &[&Change], written: &Written, took: Duration) {
        self.ready();
        if written.unverified {
            tracing::debug!(pipeline = self.settings.name, "applied without the reference's word");
        }
        self.shared.committed(batch, &written.answers, took);
        story::tell(&self.settings.name, batch, &written.answers);
    }

    fn ready(&self) {
        if self.shared.set_health(Health::Ready) {
            tracing::info!(pipeline = self.settings.name, "the library takes changes");
        }
    }

    fn away(&self, error: &sqlx::Error) {
        self.shared.mark_gap(Gap::Outage);
        let reason = error.to_string();
        if self.shared.set_health(Health::Away { since: Utc::now(), reason: reason.clone() }) {
            let name = &self.settings.name;
            tracing::warn!(
                pipeline = name,
                error = reason,
                "the library's database is away: holding changes"
            );
        }
    }

    fn halted(&self, reason: &str) {
        self.shared.mark_gap(Gap::Outage);
        if self.shared.set_health(Health::Halted { since: Utc::now(), reason: reason.to_owned() }) {
            let name = &self.settings.name;
            tracing::error!(
                pipeline = name,
                reason,
                "the library refuses our statements: see `accord doctor`"
            );
        }
    }
}

/// Whether a commit whose answer was lost took place. The lock waits for the transaction in question to end.
async fn look_up(session: &mut Session, written: &Written) -> Result<bool, sqlx::Error> {
    let Some((first, at)) = written.mark else { return Ok(true) };
    sqlx::raw_sql("begin").execute(&mut session.conn).await?;
    pipeline::lock(&mut session.conn, session.ids.pipeline).await?;
    let held = ledger::holds(&mut session.conn, session.ids.pipeline, first, at).await?;
    sqlx::raw_sql("commit").execute(&mut session.conn).await?;
    tracing::info!(position = first, committed = held, "looked up a commit whose answer was lost");
    Ok(held)
}
