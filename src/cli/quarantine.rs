//! `accord quarantine …`: what was refused, and what to do about it.
//!
//! Promises: needs no server, and gets along with one; sensitive fields are masked unless `--raw` asks for them;
//! nothing is erased or put aside without a reason. Must not know: what a replay may set.

mod act;
mod tell;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

use super::output::{pretty, print};
use crate::config::Config;
use crate::contract::Contract;
use crate::library::quarantine::read::{self, Entry, Filter, From, State, Whole};
use crate::library::{self, session};
use crate::prose::Paint;
use crate::quarantine::{Mask, Masks, judges};
use crate::serve::parts::Judge;

pub(super) const EXAMPLES: &str = "\
Examples:
  accord quarantine list                                   what waits, the newest first
  accord quarantine list --rule maxLength --older-than 7days
  accord quarantine show 17                                why, with its payload and what came since
  accord quarantine replay 17                              try it again, under the contract of today
  accord quarantine show 17 --raw --json | jq -r .payload.text > fixed.json
  accord quarantine replay 17 --payload fixed.json         try it as you mended it; the original stays
  accord quarantine replay --all --reason foreignKey       try many, the oldest first
  accord quarantine discard 17 --because 'a test of the CMS'
  accord quarantine purge 17 --because 'erasure request 4711'

A replay overwrites nothing newer: it sets a field only if no later change named it and its value still is what it
was. What newer data settled is superseded.

Exit codes: 0 done, 1 error, 3 something that was replayed was refused again and stays open.";

/// What was refused, and what to do about it.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List entries, the newest first; without --state, those that are open.
    List(ListArgs),
    /// Show one entry: payload, violations, the row as it was, and what happened to it since.
    Show {
        /// The entry's number.
        id: i64,
        /// Show what the contract calls sensitive, too.
        #[arg(long)]
        raw: bool,
    },
    /// Try entries again, under the contract of today.
    Replay(act::ReplayArgs),
    /// Put an open entry aside for good. Its bytes stay until retention takes them.
    Discard(act::DecisionArgs),
    /// Erase an entry's bytes, its row and the values in its violations; a mark stays. What was applied is not
    /// touched: it is in the library, and in the ledger as long as that is kept.
    Purge(act::DecisionArgs),
}

/// Which entries.
#[derive(Clone, Debug, Args)]
pub struct FilterArgs {
    /// Of this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Kept for this reason: the first rule that was broken.
    #[arg(long, value_name = "RULE")]
    reason: Option<String>,
    /// With this rule among those that were broken.
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// About this row.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Kept longer ago than this, such as 90s, 2h, 7days.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Kept within this time.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

impl FilterArgs {
    fn filter(&self, state: Option<State>) -> anyhow::Result<Filter> {
        let Self { pipeline, reason, rule, key, older_than, newer_than } = self.clone();
        let filter = Filter { pipeline, state, reason, rule, key, older_than, newer_than };
        match filter.fault() {
            Some(fault) => bail!("{fault}"),
            None => Ok(filter),
        }
    }
}

/// The flags of `accord quarantine list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// In this state.
    #[arg(long, default_value = "open", conflicts_with = "any")]
    state: State,
    /// In any state.
    #[arg(long)]
    any: bool,
    /// As many at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Only those before this entry: the next page.
    #[arg(long, value_name = "ENTRY")]
    before: Option<i64>,
    /// Show what the contract calls sensitive, too.
    #[arg(long)]
    raw: bool,
}

/// Does what the command says.
pub async fn run(command: QuarantineCommand, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(config).await?;
    match command {
        QuarantineCommand::List(args) => desk.list(&args, json).await,
        QuarantineCommand::Show { id, raw } => desk.show(id, raw, json).await,
        QuarantineCommand::Replay(args) => act::replay(&desk, &args, json).await,
        QuarantineCommand::Discard(args) => act::discard(&desk, &args, json).await,
        QuarantineCommand::Purge(args) => act::purge(&desk, &args, json).await,
    }
}

/// What every command here works with.
struct Desk<'a> {
    config: &'a Config,
    connect: PgConnectOptions,
    pool: PgPool,
    /// Of the configured pipelines, by name.
    contracts: BTreeMap<&'a str, Arc<Contract>>,
    masks: Masks,
}

/// A page as JSON.
#[derive(Serialize)]
struct Page {
    data: Vec<Entry>,
    /// For `--before`, if there is more.
    next_before: Option<i64>,
}

impl<'a> Desk<'a> {
    async fn open(config: &'a Config) -> anyhow::Result<Self> {
        let connect: PgConnectOptions = config.library.url.expose().parse().context("library.url")?;
        let mut conn = session::connect_writer(&connect).await.with_context(|| {
            format!("cannot reach the library's database at {}; see `accord doctor`", config.library.url)
        })?;
        library::migrate(&mut conn)
            .await
            .context("cannot bring schema `accord` up to date; see `accord doctor`")?;
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(session::PATIENCE)
            .connect_lazy_with(connect.clone().application_name("accord"));
        let mut contracts = BTreeMap::new();
        for (name, pipeline) in &config.pipeline {
            let judge = Judge::of(&mut conn, name, pipeline).await?;
            contracts.insert(name.as_str(), Arc::new(judge.contract));
        }
        conn.close().await?;
        Ok(Self { config, connect, pool, contracts, masks: Masks::default() })
    }

    /// The mask for what these contracts have judged for a pipeline.
    async fn mask(
        &self,
        pipeline: &str,
        judged_by: impl IntoIterator<Item = i32>,
        raw: bool,
    ) -> anyhow::Result<Mask> {
        if raw {
            return Ok(Mask::Raw);
        }
        let mut conn = self.pool.acquire().await?;
        Ok(self.masks.of(&mut conn, self.contracts.get(pipeline), judged_by).await?)
    }

    async fn whole(&self, id: i64) -> anyhow::Result<Whole> {
        let found = read::one(&self.pool, id).await?;
        found
            .with_context(|| format!("there is no quarantine entry {id}: see `accord quarantine list --any`"))
    }

    async fn list(&self, args: &ListArgs, json: bool) -> anyhow::Result<ExitCode> {
        let filter = args.filter.filter((!args.any).then_some(args.state))?;
        let mut found = read::list(&self.pool, &filter, From::Newest(args.before), args.limit + 1).await?;
        let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        if args.raw {
            tell::raw();
        }
        let mut data = Vec::with_capacity(found.len());
        for entry in found {
            let mask = self.mask(&entry.pipeline, [entry.judged_by], args.raw).await?;
            data.push(mask.entry(entry));
        }
        let page = Page { next_before: data.last().filter(|_| has_more).map(|last| last.id), data };
        print(&if json {
            pretty(&page)?
        } else {
            tell::list(&page.data, page.next_before, Paint::stdout())
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&self, id: i64, raw: bool, json: bool) -> anyhow::Result<ExitCode> {
        /// Events of a row's history that are shown.
        const HISTORY: i64 = 100;
        let whole = self.whole(id).await?;
        let history = read::history(&self.pool, id, HISTORY).await?;
        if raw {
            tell::raw();
        }
        let mask = self.mask(&whole.entry.pipeline, judges(&whole.entry, &history), raw).await?;
        let view = mask.whole(whole, history);
        print(&if json { pretty(&view)? } else { tell::whole(&view, Paint::stdout()) })?;
        Ok(ExitCode::SUCCESS)
    }
}
