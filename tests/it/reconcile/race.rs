//! Reconciliations that repair while everything moves: writers edit the reference, webhooks come late, twice or
//! never, a second replica takes half of them, and locks hold all of them up at moments of no one's choosing.
//!
//! The reference keeps its own log of commits. The ledger is judged against it: where the reference is read
//! afresh, no write may take a row back to what it was before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accord::apply::Mode;
use accord::change::Change;
use accord::reconcile::{Limits, State};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, Setting, reference};
use crate::harness::{Waist, Wish, deletion};

/// Edits by all writers together; `ACCORD_RACE_EDITS` asks for more.
const EDITS: u64 = 9000;
const WRITERS: u64 = 6;
/// Few, so that everything meets.
const KEYS: i64 = 60;
const HOT_KEYS: i64 = 6;

/// So many rows have to be repaired while everything moves, if that is possible in this time.
const ENOUGH: u64 = 120;
const PATIENCE: Duration = Duration::from_mins(1);

/// Both sides begin with half of the keys.
const BOTH: &str = "insert into item select i, 'begin', 0, 't' from generate_series(0, 59, 2) i";

/// Each commit of the reference, row by row: a row's entries are in the order of its commits, for they are made
/// while the row is locked.
const LOG: &str = "
    create table log (seq bigint generated always as identity, key integer, price bigint);
    create function log() returns trigger language plpgsql as $$
        begin
            if tg_op = 'DELETE' then
                insert into log (key) values (old.id);
            else
                insert into log (key, price) values (new.id, new.price);
            end if;
            return null;
        end $$;
    create trigger log after insert or update or delete on item for each row execute function log()";

/// Whoever takes part, and what they share.
struct Race {
    scene: Scene,
    replica: Waist,
    /// Every edit has a price of its own, so that a write tells which edit it follows.
    edits: AtomicU64,
    runs: AtomicU64,
    repaired: AtomicU64,
    began: Instant,
    over: CancellationToken,
}

impl Race {
    async fn new(mode: Mode) -> Self {
        let scene = Scene::new(Setting { mode, both: BOTH, ..Setting::default() }).await;
        scene.at_source(LOG).await;
        let wish = Wish { mode, reference: Some(reference(&scene.source.url)), ..Wish::default() };
        let replica = Waist::on(&scene.waist.url, scene.waist.pool.clone(), wish);
        Self {
            scene,
            replica,
            edits: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            repaired: AtomicU64::new(0),
            began: Instant::now(),
            over: CancellationToken::new(),
        }
    }

    /// On a machine with little time to spare a run takes long, and it takes some to prove anything.
    fn has_seen_enough(&self) -> bool {
        let proves =
            self.runs.load(Ordering::Relaxed) >= 5 && self.repaired.load(Ordering::Relaxed) >= ENOUGH;
        proves || self.began.elapsed() > PATIENCE
    }

    /// One of the two replicas.
    fn either(&self, dice: &mut StdRng) -> &Waist {
        if dice.random() { &self.scene.waist } else { &self.replica }
    }

    /// Edits the reference, and tells of it as an unreliable CMS does.
    async fn write(self: Arc<Self>, edits: u64, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut under_way = JoinSet::new();
        let mut done = 0;
        while done < edits || !self.has_seen_enough() {
            done += 1;
            // Half of the edits go to a few rows, which are never at rest.
            let keys = if dice.random() { KEYS } else { HOT_KEYS };
            let key = dice.random_range(0..keys);
            let price = self.edits.fetch_add(1, Ordering::Relaxed) + 1;
            let Some(change) = self.edit(key, price, &mut dice).await else { continue };
            let times = if dice.random_ratio(1, 8) { 2 } else { 1 };
            for _ in 0..times {
                let delay = match dice.random_range(0..10) {
                    // Some are lost, some are late, most come at once.
                    0..5 => continue,
                    5..8 => Duration::from_millis(dice.random_range(0..60)),
                    _ => Duration::ZERO,
                };
                let (applier, change) = (self.either(&mut dice).applier.clone(), change.clone());
                under_way.spawn(async move {
                    tokio::time::sleep(delay).await;
                    applier.apply(vec![change]).await.unwrap();
                });
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..20))).await;
        }
        while let Some(delivered) = under_way.join_next().await {
            delivered.unwrap();
        }
    }

    /// One edit, and the message about it if one is sent at all.
    async fn edit(&self, key: i64, price: u64, dice: &mut StdRng) -> Option<Change> {
        let sql = match dice.random_range(0..10) {
            0 | 1 => "delete from item where id = $1 and $2 > 0",
            2 | 3 => {
                "insert into item values ($1, 'new', $2, null)
                 on conflict (id) do update set price = $2, tag = excluded.tag"
            }
            4 => "update item set price = $2, tag = case when tag is null then 'x' end where id = $1",
            _ => "update item set price = $2 where id = $1",
        };
        let price = i64::try_from(price).unwrap();
        let edited = sqlx::query(sql).bind(key).bind(price).execute(&self.scene.source.pool).await.unwrap();
        if edited.rows_affected() == 0 {
            return None;
        }
        let said = match sql.split_once(' ').unwrap().0 {
            "delete" => return dice.random_ratio(1, 3).then(|| deletion(key)),
            "insert" => format!(r#"{{"id": {key}, "name": "new", "price": {price}, "tag": null}}"#),
            _ => format!(r#"{{"id": {key}, "price": {price}}}"#),
        };
        Some(self.replica.judge(&said).remove(0))
    }

    /// Holds everyone up, now and then: other replicas by the pipeline's lock, readers and writers of the
    /// reference by its table's. Between any two steps of anybody something may have happened.
    async fn hold_up(self: Arc<Self>, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        while !self.over.is_cancelled() {
            let (pool, sql) = if dice.random() {
                (&self.scene.waist.pool, "select from accord.pipeline for no key update")
            } else {
                (&self.scene.source.pool, "lock table item in access exclusive mode")
            };
            hold(pool, sql, Duration::from_millis(dice.random_range(0..12))).await;
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..15))).await;
        }
    }

    /// Spoils the library's own rows, as people do who edit it directly.
    async fn spoil(self: Arc<Self>, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        while !self.over.is_cancelled() {
            let sql = match dice.random_range(0..3) {
                0 => "delete from item where id = $1",
                1 => "update item set tag = 'spoilt' where id = $1",
                _ => "update item set price = -1 where id = $1",
            };
            let key = dice.random_range(0..KEYS);
            sqlx::query(sql).bind(key).execute(&self.scene.waist.pool).await.unwrap();
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..40))).await;
        }
    }

    /// Reconciles again and again.
    async fn reconcile(self: Arc<Self>, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        while !self.over.is_cancelled() {
            let grace = Duration::from_millis(dice.random_range(0..15));
            let report = self.scene.repair_after(grace, Limits { lifted: true, ..Limits::default() }).await;
            assert!(matches!(report.state, State::Clean | State::Repaired), "{report:?}");
            self.runs.fetch_add(1, Ordering::Relaxed);
            self.repaired.fetch_add(report.counts.repaired, Ordering::Relaxed);
        }
    }
}

async fn hold(pool: &PgPool, sql: &'static str, time: Duration) {
    let mut held = pool.begin().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *held).await.unwrap();
    tokio::time::sleep(time).await;
    held.rollback().await.unwrap();
}

/// Lets them all run, and then has one last look.
async fn run(mode: Mode) -> Race {
    let edits = std::env::var("ACCORD_RACE_EDITS").map_or(EDITS, |edits| edits.parse().unwrap());
    let seed = rand::random::<u32>().into();
    println!("{mode:?}, seed {seed}");
    let race = Arc::new(Race::new(mode).await);
    let reconciler = tokio::spawn(Arc::clone(&race).reconcile(seed));
    let nuisances =
        [tokio::spawn(Arc::clone(&race).hold_up(seed + 1)), tokio::spawn(Arc::clone(&race).spoil(seed + 2))];
    let writers = (0..WRITERS).map(|n| tokio::spawn(Arc::clone(&race).write(edits / WRITERS, seed + 3 + n)));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    race.over.cancel();
    reconciler.await.unwrap();
    for nuisance in nuisances {
        nuisance.await.unwrap();
    }
    let (edits, runs, repaired) = (race.edits.load(Ordering::Relaxed), &race.runs, &race.repaired);
    println!("{edits} edits, {runs:?} runs, {repaired:?} rows repaired, {:?}", race.began.elapsed());

    let last = race.scene.repair(Limits { lifted: true, ..Limits::default() }).await;
    assert!(matches!(last.state, State::Clean | State::Repaired), "{last:?}");
    assert_eq!((last.counts.in_flight, last.counts.drifted()), (0, last.counts.repaired), "{last:?}");
    let [source, library] = race.scene.contents().await;
    assert_eq!(source, library, "{mode:?}, seed {seed}");
    let Some(race) = Arc::into_inner(race) else { panic!("everyone has ended") };
    race
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_moves_no_write_takes_a_row_back_to_an_older_value() {
    let race = run(Mode::Refetch).await;
    let commits: Vec<(i32, Option<i64>)> = sqlx::query_as("select key, price from log order by seq")
        .fetch_all(&race.scene.source.pool)
        .await
        .unwrap();
    // What each row was, one after the other; at first as both sides began.
    let mut history: HashMap<i32, Vec<Option<i64>>> =
        (0..60).map(|key| (key, vec![(key % 2 == 0).then_some(0)])).collect();
    for (key, price) in commits {
        history.entry(key).or_default().push(price);
    }
    let writes: Vec<(i64, i32, Option<i64>, String)> = sqlx::query_as(
        "select position, key::integer, case when op <> 'delete' then (changes -> 'price' ->> -1)::bigint end, origin
         from accord.ledger where outcome = 'applied' order by position",
    )
    .fetch_all(&race.scene.waist.pool)
    .await
    .unwrap();
    let mut reached: HashMap<i32, usize> = HashMap::new();
    for (position, key, price, origin) in &writes {
        let (known, reached) = (&history[key], reached.entry(*key).or_default());
        let ahead = known[*reached..].iter().position(|was| was == price);
        let Some(ahead) = ahead else {
            let was = known[*reached];
            panic!("position {position} ({origin}): row {key} was at {was:?}, and went back to {price:?}");
        };
        *reached += ahead;
    }
    let of = |origin: &str| writes.iter().filter(|(.., by)| by == origin).count();
    assert!(of("webhook") > 100 && of("reconcile") > 50, "too few: {}, {}", of("webhook"), of("reconcile"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_payloads_are_applied_as_they_come_one_last_run_brings_both_sides_in_accord() {
    run(Mode::Apply).await;
}
