//! The one writer of a pipeline: gathers what waits, commits it, answers.
//!
//! Promises: while one batch commits the next gathers; an unavailable database is waited for, and its batch
//! is not given up; a commit whose outcome is unknown is looked up before anything is answered, and what a
//! crash of the database took back is done again, before anything newer. Must not know: where changes come
//! from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::apply::batch::{self, Setting, Written};
use crate::apply::disposition::{self, Disposition};
use crate::apply::flush::{self, Flusher, Pending, Queue};
use crate::apply::reference::Reference;
use crate::apply::slice::{Care, Table, Trouble};
use crate::apply::{Gap, Health, Settings, Shared, Stop, Submission};
use crate::change::Change;
use crate::library::facts::{self, Strictness};
use crate::library::pipeline::{self, Ids};
use crate::library::statement::TableSql;
use crate::library::{ledger, session};

/// How often an idle writer makes sure that a change could commit now.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How often the table's own rules are read again: somebody may alter the table.
const FACTS_AGE: Duration = Duration::from_secs(30);

/// How long a batch may take before its connection counts as dead: longer than any statement may, and more
/// for each change, since a refused batch is searched for its culprits.
const BATCH_TIMEOUT: Duration = Duration::from_secs(20);
const CHANGE_TIMEOUT: Duration = Duration::from_millis(20);

/// Pauses between tries while the database is away.
const PAUSES: [u64; 6] = [50, 100, 250, 500, 1000, 2000];

/// How long a batch waits for company when most of the requests under way are still to come.
const PATIENCE: Duration = Duration::from_millis(1);

/// How often a writer that ends looks whether the last flush is done.
const LAST_FLUSH_POLL: Duration = Duration::from_millis(5);

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
    queue: Arc<Queue>,
    /// Batches that a crash of the database took back: to be done again before anything newer.
    lost: VecDeque<Pending>,
    shared: Arc<Shared>,
    stop: Stop,
}

/// The batch was given up: the database is away and we were asked to stop.
struct Stopped;

impl Writer {
    pub(super) fn new(settings: Settings, shared: Arc<Shared>, stop: Stop) -> Self {
        let sql = TableSql::new(settings.gate.contract());
        let reference =
            settings.reference.clone().map(|r| Reference::new(r, settings.gate.clone(), Arc::clone(&shared)));
        Self {
            settings,
            sql,
            reference,
            session: None,
            queue: Arc::default(),
            lost: VecDeque::new(),
            shared,
            stop,
        }
    }

    /// Works until it is told to drain and all that was handed in is settled.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Submission>) {
        let flusher = Flusher {
            pipeline: self.settings.name.clone(),
            connect: self.settings.connect.clone(),
            queue: Arc::clone(&self.queue),
            shared: Arc::clone(&self.shared),
        };
        let _flusher = AbortOnDropHandle::new(tokio::spawn(flusher.run()));
        // Before the first change comes, so that we are ready when it does.
        self.heartbeat().await;
        if self.work(&mut inbox).await.is_ok() && self.wait_for_the_last_flush().await.is_ok() {
            tracing::debug!(pipeline = self.settings.name, "everything handed in is settled");
        }
        if let Some(session) = self.session.take() {
            let _ = session.conn.close().await;
        }
    }

    async fn work(&mut self, inbox: &mut mpsc::Receiver<Submission>) -> Result<(), Stopped> {
        let mut waiting = Vec::new();
        loop {
            let gather = inbox.recv_many(&mut waiting, self.settings.max_batch);
            let gathered = tokio::select! {
                biased;
                gathered = tokio::time::timeout(HEARTBEAT, gather) => gathered,
                () = self.queue.doubted.notified() => {
                    self.resolve_if_unsure().await?;
                    continue;
                }
                () = self.stop.drain.cancelled() => {
                    inbox.close();
                    self.stop.drain = CancellationToken::new();
                    continue;
                }
            };
            match gathered {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    self.let_them_come(inbox, &mut waiting).await;
                    self.commit_all(&mut waiting).await?;
                }
                Err(_idle) => {
                    self.heartbeat().await;
                    self.resolve_if_unsure().await?;
                }
            }
        }
    }

    /// A flush answers many at once, and they come back one by one: without a little patience the first of
    /// them would have a transaction of its own, and all others would wait for it.
    async fn let_them_come(&self, inbox: &mut mpsc::Receiver<Submission>, waiting: &mut Vec<Submission>) {
        let half_of_them = async {
            while waiting.len() < self.settings.max_batch && waiting.len() * 2 < self.shared.held() {
                if inbox.recv_many(waiting, self.settings.max_batch - waiting.len()).await == 0 {
                    return;
                }
            }
        };
        // Whoever is late has the next batch.
        let _ = tokio::time::timeout(PATIENCE, half_of_them).await;
    }

    async fn wait_for_the_last_flush(&mut self) -> Result<(), Stopped> {
        while !self.queue.is_empty() {
            tokio::time::sleep(LAST_FLUSH_POLL).await;
            self.resolve_if_unsure().await?;
        }
        Ok(())
    }

    async fn resolve_if_unsure(&mut self) -> Result<(), Stopped> {
        if self.queue.is_unsure() {
            // A commit of nothing: on its way it looks up what is unsure, and does again what is lost.
            self.commit(Vec::new()).await?;
        }
        Ok(())
    }

    /// Commits all submissions, a transaction for as many as a batch may hold; never splits one.
    async fn commit_all(&mut self, waiting: &mut Vec<Submission>) -> Result<(), Stopped> {
        while !waiting.is_empty() {
            let mut changes = 0;
            let fits = waiting.iter().take_while(|submission| {
                changes += submission.changes.len();
                changes <= self.settings.max_batch
            });
            let count = fits.count().max(1);
            self.commit(waiting.drain(..count).collect()).await?;
        }
        Ok(())
    }

    /// Commits one batch, however long the database takes to be there, and leaves it to be flushed.
    async fn commit(&mut self, submissions: Vec<Submission>) -> Result<(), Stopped> {
        let began = Instant::now();
        let batch: Vec<&Change> = submissions.iter().flat_map(|submission| &submission.changes).collect();
        let patience = BATCH_TIMEOUT + CHANGE_TIMEOUT * u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let mut care = Care::Swift;
        let mut failures = 0;
        let mut alike = 0;
        let mut unknown: Option<Written> = None;
        let written = loop {
            self.redo_lost().await?;
            let tried = tokio::time::timeout(patience, self.try_commit(&batch, care, &mut unknown)).await;
            let error = match tried.unwrap_or_else(|_| Err(session::no_answer().into())) {
                Ok(written) => break written,
                Err(error) => error,
            };
            match error {
                Trouble::Lost => continue,
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
        };
        self.ready();
        if !submissions.is_empty() {
            let Written { settled, mark } = written;
            self.queue.push(Pending { submissions, settled, mark, began });
        }
        Ok(())
    }

    /// Does again, in their order, the batches that a crash of the database took back.
    async fn redo_lost(&mut self) -> Result<(), Stopped> {
        while let Some(lost) = self.lost.pop_front() {
            let mut rest = std::mem::take(&mut self.lost);
            let redone = Box::pin(self.commit(lost.submissions)).await;
            // What got lost meanwhile was committed before the rest.
            self.lost.append(&mut rest);
            redone?;
        }
        Ok(())
    }

    async fn try_commit(
        &mut self,
        batch: &[&Change],
        care: Care,
        unknown: &mut Option<Written>,
    ) -> Result<Written, Trouble> {
        self.ensure_session().await?;
        if self.queue.is_unsure() && self.resolve().await? {
            return Err(Trouble::Lost);
        }
        let Some(session) = &mut self.session else { return Err(Trouble::Raced) };
        if let Some(written) = unknown.take() {
            match look_up(session, written.mark).await {
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
        let answer = sqlx::raw_sql("commit").execute(&mut session.conn).await;
        if let Err(error) = answer {
            if matches!(error, sqlx::Error::Database(_)) && disposition::of(&error) != Disposition::Wait {
                *unknown = None;
            }
            return Err(error.into());
        }
        self.shared.gaps_written(&gaps);
        let settled = std::mem::take(&mut written.settled);
        Ok(Written { settled, ..*written })
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
        // Nobody is answered before the flush, which many batches share; the lock is free for the next one sooner.
        sqlx::raw_sql("set synchronous_commit = off").execute(&mut conn).await?;
        let ids = pipeline::enroll(&mut conn, &self.settings.name, self.sql.target(), contract).await?;
        pipeline::prepare(&mut conn, ids.pipeline).await?;
        let strictness = facts::strictness(&mut conn, self.sql.target(), contract).await?;
        self.session = Some(Session { conn, ids, strictness, facts_read: Instant::now() });
        // The connection before this one may have ended in a crash of the server.
        self.queue.doubt();
        Ok(())
    }

    /// Finds out which of the batches that wait for their flush are there. True when some are lost.
    async fn resolve(&mut self) -> Result<bool, sqlx::Error> {
        let queue = Arc::clone(&self.queue);
        let _turn = queue.turn.lock().await;
        let Some(session) = &mut self.session else { return Ok(false) };
        flush::barrier_on_writer(&mut session.conn).await?;
        while !queue.is_empty() {
            // The log ends somewhere: after the first batch that it does not hold, it holds none.
            let is_there = self.lost.is_empty() && look_up(session, queue.front_mark()).await?;
            match queue.pop() {
                Some(batch) if is_there => batch.answer(&self.settings.name, &self.shared),
                Some(batch) => self.lost.push_back(batch),
                None => {}
            }
        }
        queue.sure();
        Ok(!self.lost.is_empty())
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
            let words: Vec<&str> = gaps.iter().map(|gap| gap.as_str()).collect();
            pipeline::mark_gap(&mut session.conn, session.ids.pipeline, &words).await?;
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
async fn look_up(session: &mut Session, mark: Option<(i64, DateTime<Utc>)>) -> Result<bool, sqlx::Error> {
    let Some((first, at)) = mark else { return Ok(true) };
    pipeline::begin(&mut session.conn, session.ids.pipeline).await?;
    let held = ledger::holds(&mut session.conn, session.ids.pipeline, first, at).await?;
    sqlx::raw_sql("commit").execute(&mut session.conn).await?;
    tracing::info!(position = first, committed = held, "looked up a commit whose answer was lost");
    Ok(held)
}
