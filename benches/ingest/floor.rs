//! What Postgres alone can do with the same rows and the same ledger, as fast as one connection goes.
//!
//! One statement is one transaction, the next batch is prepared while this one commits, and nothing is read,
//! judged or locked first. No server that keeps a ledger can be faster on one connection.

use std::time::{Duration, Instant};

use accord::contract::Contract;
use accord::library::pipeline::{self, Ids};
use accord::library::session;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use sqlx::PgConnection;

use crate::contender::BATCH;
use crate::delta;
use crate::scene::CONTRACT;
use crate::tally::Counter;

/// Where to write, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    url: String,
    /// The first change's number.
    #[arg(long)]
    number: u64,
    #[arg(long)]
    warm_up: u64,
    #[arg(long)]
    seconds: u64,
}

impl Arguments {
    /// Writes batch after batch, and tells what came of it.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut conn = session::connect_writer(&self.url.parse()?).await?;
        let contract = Contract::load(CONTRACT, None)?;
        let ids = pipeline::enroll(&mut conn, "floor", "fragrances", &contract).await?;
        let mut writer = Writer::new(ids, self.number);
        let mut counter = Counter::default();

        writer.write_for(Duration::from_secs(self.warm_up), &mut conn, &mut counter).await?;
        counter.begin()?;
        writer.write_for(Duration::from_secs(self.seconds), &mut conn, &mut counter).await?;
        counter.end()?;
        counter.close()
    }
}

/// Prepares batches and writes them.
struct Writer {
    ids: Ids,
    position: i64,
    number: u64,
    /// The keys in random order, from which batches are cut: a statement can upsert a row but once.
    keys: Vec<i32>,
    dealt: usize,
    /// Each row's last number, for the ledger's from → to.
    last: Vec<u64>,
    dice: SmallRng,
    next: Batch,
}

/// Column by column what a batch writes.
#[derive(Default)]
struct Batch {
    keys: Vec<i32>,
    descriptions: Vec<String>,
    costs: Vec<i64>,
    changes: Vec<String>,
}

impl Writer {
    fn new(ids: Ids, number: u64) -> Self {
        let keys: Vec<i32> = (0..delta::ROWS.cast_signed()).collect();
        let last = vec![0; keys.len()];
        let dice = SmallRng::seed_from_u64(number);
        let mut writer =
            Self { ids, position: 0, number, dealt: keys.len(), keys, last, dice, next: Batch::default() };
        writer.next = writer.prepare();
        writer
    }

    async fn write_for(
        &mut self,
        time: Duration,
        conn: &mut PgConnection,
        counter: &mut Counter,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let batch = std::mem::take(&mut self.next);
            let (ids, first) = (self.ids, self.position + 1);
            let sent = Instant::now();
            // The first is polled first: the batch is on its way before the next one is prepared.
            let (written, next) =
                tokio::join!(biased; write(conn, ids, first, &batch), async { self.prepare() });
            written?;
            counter.answered(sent.elapsed(), BATCH as u64, BATCH as u64);
            self.position += i64::try_from(BATCH)?;
            self.next = next;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Batch {
        if self.dealt + BATCH > self.keys.len() {
            self.keys.shuffle(&mut self.dice);
            self.dealt = 0;
        }
        let keys = self.keys[self.dealt..self.dealt + BATCH].to_vec();
        self.dealt += BATCH;
        let mut batch = Batch { keys, ..Batch::default() };
        for key in &batch.keys {
            let number = self.number;
            self.number += 1;
            let last = std::mem::replace(&mut self.last[key.unsigned_abs() as usize], number);
            let (from, to) = (delta::description(last), delta::description(number));
            batch.changes.push(format!(r#"{{"description":["{from}","{to}"],"cost":[{last},{number}]}}"#));
            batch.descriptions.push(to);
            batch.costs.push(number.cast_signed());
        }
        batch
    }
}

async fn write(conn: &mut PgConnection, ids: Ids, first: i64, batch: &Batch) -> Result<(), sqlx::Error> {
    let written = sqlx::query(
        "with ledger as (
             insert into accord.ledger (pipeline, position, at, key, op, outcome, origin, contract, changes)
             select $1, $2 + n - 1, now(), key::text, 'update', 'applied', 'webhook', $3, changes::jsonb
             from unnest($4::int4[], $5::text[]) with ordinality as e(key, changes, n)
         )
         insert into fragrances (fragrance_id, description, cost)
         select key, description, cost from unnest($4::int4[], $6::text[], $7::int8[]) as e(key, description, cost)
         on conflict (fragrance_id) do update set description = excluded.description, cost = excluded.cost",
    )
    .bind(ids.pipeline)
    .bind(first)
    .bind(ids.contract)
    .bind(&batch.keys)
    .bind(&batch.changes)
    .bind(&batch.descriptions)
    .bind(&batch.costs)
    .execute(conn)
    .await?;
    if written.rows_affected() == batch.keys.len() as u64 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
