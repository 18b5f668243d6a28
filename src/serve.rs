//! `accord serve`: lays sources, waist, HTTP and background work out on the supervisor.
//!
//! Promises: nothing is served before contract and table agree; what runs has a name and an order of
//! stopping; a contract that is activated is taken up without losing a call. Must not know: how any part does its work.

mod background;
mod check;
mod front;
pub(crate) mod parts;
mod reconcile;
mod renewal;
mod source;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::apply::{Applier, Gap, Mode, Stop};
use crate::config::{self, Config, Pipeline};
use crate::contract::gate::Gate;
use crate::http::{Access, HttpPipeline, LibraryRoutes, RoutePath, router};
use crate::library::{self, session};
use crate::reconcile::schedule::Timer;
use crate::source::sender::Sender;
use crate::source::webhook::{Accepted, Webhook, WebhookStats};
use crate::supervisor::{End, Phase, Requests, Supervisor, thread};
use crate::telemetry::metrics::{Metrics, PipelineMetrics};

use front::{Front, Handover};
use renewal::InForce;
use standing::{AllTold, Watched};

/// Between two tries to reach the library at start.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of the time before a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// What came before may not have been heard.
    Start,
    /// Whoever called was answered, or waits.
    Renewal,
}

/// A server that runs.
pub struct Service {
    config: Config,
    metrics: Metrics,
    told: AllTold,
    supervisor: Supervisor,
    handover: Handover,
}

impl Service {
    /// Lays out all that the configuration asks for, and serves. To be [run](Self::run), or it ends when it is dropped.
    pub async fn start(config: Config, listener: TcpListener) -> anyhow::Result<Self> {
        let (metrics, told) = (Metrics::new(), AllTold::default());
        let mut supervisor = Supervisor::new(config.shutdown.grace);
        let router = lay_out(&config, &metrics, &told, Beginning::Start, &mut supervisor).await?;
        let handover = Front::open(listener, router, &config).attend(&mut supervisor);
        Ok(Self { config, metrics, told, supervisor, handover })
    }

    /// Runs until a stop is requested, or a part ends unasked. A contract that is activated meanwhile is taken up:
    /// everything is stopped in order and laid out anew, behind the same connections.
    pub async fn run(self, requests: &mut Requests) -> anyhow::Result<()> {
        let Self { config, metrics, told, mut supervisor, mut handover } = self;
        while supervisor.run(requests).await? == End::Renewal {
            let waiting = handover.await.context("the HTTP server ended")?;
            let beginning = if waiting.all_answered { Beginning::Renewal } else { Beginning::Start };
            supervisor = Supervisor::new(config.shutdown.grace);
            let router = tokio::select! {
                router = lay_out(&config, &metrics, &told, beginning, &mut supervisor) => router,
                _ = requests.next() => {
                    waiting.turn_away(requests).await;
                    return Ok(());
                }
            };
            let router = match router {
                Ok(router) => router,
                Err(error) => {
                    waiting.turn_away(requests).await;
                    return Err(error);
                }
            };
            handover = waiting.open(router).attend(&mut supervisor);
            tracing::info!("serving again");
        }
        // A stop that came in the middle of a renewal leaves callers waiting.
        if let Ok(waiting) = handover.await {
            waiting.turn_away(requests).await;
        }
        Ok(())
    }
}

/// Lays out all that the configuration asks for, but for the HTTP server, which is to answer by the router.
async fn lay_out(
    config: &Config,
    metrics: &Metrics,
    told: &AllTold,
    beginning: Beginning,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Router> {
    let connect: PgConnectOptions = config.library.url.expose().parse().context("library.url")?;
    prepare_library(&connect).await?;
    let pool = PgPoolOptions::new()
        .max_connections(config.library.max_connections)
        .acquire_timeout(session::PATIENCE)
        .connect_lazy_with(connect.clone().application_name("accord"));
    let (lead, leading) = watch::channel(false);
    let timer = Timer::start().await.context("cannot start the timer")?;
    let house = House { config, beginning, connect, pool, metrics: metrics.clone(), told, leading, timer };

    let (mut served, mut watched, mut in_force) = (Vec::new(), Vec::new(), InForce::new());
    for (name, pipeline) in &config.pipeline {
        let laid_out = house.pipeline(name, pipeline, supervisor).await;
        let LaidOut { pipeline, watched: watch, contract } =
            laid_out.with_context(|| format!("pipeline `{name}`"))?;
        served.push(pipeline);
        watched.push(watch);
        in_force.insert(name.clone(), contract);
    }
    house.background(lead, supervisor);
    house.keep_watch(watched, supervisor);
    house.watch_contracts(in_force, supervisor);
    house.keep_quarantine(&served, supervisor);
    let access = Access::new(config.http.admin_token.clone());
    let checks = house.checker(&served, supervisor).await?;
    let router = router(served, &house.pool, house.metrics.clone(), access.clone())?
        .merge(crate::http::checks::routes(checks, access));
    house.end_timer_in_time(supervisor);
    Ok(router)
}

/// Waits for the library, and brings schema `accord` up to date.
async fn prepare_library(connect: &PgConnectOptions) -> anyhow::Result<()> {
    let mut told = false;
    let mut conn = loop {
        match session::connect_writer(connect).await {
            Ok(conn) => break conn,
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "waiting for the library's database");
            }
            Err(error) => tracing::debug!(%error, "still waiting for the library's database"),
        }
        tokio::time::sleep(RETRY).await;
    };
    library::migrate(&mut conn)
        .await
        .context("cannot bring schema `accord` up to date; see `accord doctor`")?;
    conn.close().await?;
    Ok(())
}

/// What all pipelines share.
struct House<'a> {
    config: &'a Config,
    beginning: Beginning,
    connect: PgConnectOptions,
    pool: PgPool,
    metrics: Metrics,
    told: &'a AllTold,
    leading: watch::Receiver<bool>,
    timer: Timer,
}

/// A pipeline that is laid out.
struct LaidOut {
    pipeline: HttpPipeline,
    watched: Watched,
    /// The id of the contract that judges it.
    contract: i32,
}

impl House<'_> {
    async fn pipeline(
        &self,
        name: &str,
        pipeline: &Pipeline,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<LaidOut> {
        let known = parts::enroll(&self.connect, name, pipeline, "serve").await?;
        if let Some(notice) = &known.notice {
            tracing::warn!(pipeline = name, "{notice}");
        }
        let gate = Gate::new(Arc::clone(&known.contract));
        let metrics = self.metrics.pipeline(name);
        let applier = self.waist(name, pipeline, &gate, &metrics, supervisor)?;

        let register_again: Arc<Notify> = Arc::default();
        let stats: Arc<WebhookStats> = Arc::default();
        let sender = Arc::new(Sender::new(self.pool.clone(), known.ids.pipeline, name, Arc::clone(&stats)));
        let webhook = match &pipeline.source.webhook {
            Some(settings) => {
                let watcher = source::Watcher {
                    applier: applier.clone(),
                    metrics: metrics.clone(),
                    register_again: Arc::clone(&register_again),
                };
                let tokens = self.source(name, settings, &known, &sender, watcher, supervisor).await?;
                let accepted = tokens.map_or_else(Accepted::default, |tokens| tokens.accepted().clone());
                let settings = self.webhook_settings(settings)?;
                Some(Arc::new(Webhook::new(
                    settings,
                    accepted,
                    stats,
                    gate,
                    applier.clone(),
                    metrics.clone(),
                )))
            }
            None => None,
        };
        self.reconciler(name, pipeline, &known, &applier, register_again, &metrics, supervisor).await?;
        let watched = Watched::new(name, pipeline, &applier, sender, metrics);
        let served = HttpPipeline {
            name: name.into(),
            mode: pipeline.mode().as_str().into(),
            contract: known.contract,
            applier,
            webhook,
            library: pipeline.routes.as_ref().map(library_routes).transpose()?,
            reconcile: reconcile::offered(pipeline, known.ids.pipeline),
            status: watched.status(),
        };
        Ok(LaidOut { pipeline: served, watched, contract: known.ids.contract })
    }

    fn waist(
        &self,
        name: &str,
        pipeline: &Pipeline,
        gate: &Gate,
        metrics: &PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<Applier> {
        let mode = pipeline.mode();
        let order = match (mode, gate.contract().version_column) {
            (Mode::Refetch, _) => "the reference decides: each row is read afresh".to_owned(),
            (Mode::Apply, Some(i)) => {
                format!("by field `{}`, ties by arrival", gate.contract().columns[i].field)
            }
            (Mode::Apply, None) => "by arrival".to_owned(),
        };
        tracing::info!(pipeline = name, mode = mode.as_str(), order, "newer wins");
        let settings = parts::waist_settings(name, pipeline, gate, &self.connect, metrics)?;
        let stop = Stop { asked: supervisor.soft(Phase::Intake), drain: supervisor.soft(Phase::Foundation) };
        let (applier, writer) = Applier::new(settings, stop);
        if self.beginning == Beginning::Start {
            applier.mark_gap(Gap::Start);
        }
        supervisor.spawn(
            Phase::Foundation,
            format!("waist of {name}"),
            thread::run(format!("waist-{name}"), writer),
        );
        Ok(applier)
    }
}

/// The item's path without the placeholder that configuration shows for a person's sake.
fn library_routes(routes: &config::Routes) -> anyhow::Result<LibraryRoutes> {
    Ok(LibraryRoutes {
        list_path: RoutePath::new(routes.list.clone())?,
        item_path: RoutePath::new(routes.item.replace("/{id}", ""))?,
    })
}
