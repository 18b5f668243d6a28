//! `accord serve`: lays sources, waist, HTTP and background work out on the supervisor.
//!
//! Promises: nothing is served before contract and table agree; what runs has a name and an order of
//! stopping. Must not know: how any part does its work.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::apply::{self, Applier, Gap, Mode, ReferenceSettings, Settings, Stop};
use crate::config::{self, Config, Pipeline};
use crate::contract::gate::Gate;
use crate::contract::{Contract, Identifier};
use crate::http::{Access, HttpPipeline, LibraryRoutes, Limits, PipelineStatus, RoutePath, router};
use crate::leader;
use crate::library::pipeline::{self, Ids};
use crate::library::statement::TableSql;
use crate::library::{self, facts, retention, session};
use crate::quality::{Checker, Checks};
use crate::source::registration::{Listener, Observer, Registrar};
use crate::source::sender::Sender;
use crate::source::token::Tokens;
use crate::source::webhook::{self, Accepted, Webhook, WebhookStats};
use crate::supervisor::{Phase, Supervisor, thread};
use crate::telemetry::metrics::{Metrics, PipelineMetrics};

/// How often replicas exchange tokens and what they saw, where no keep-alive says otherwise.
const EXCHANGE: Duration = Duration::from_secs(30);

/// How often the gap is read, for those who ask.
const GAP_POLL: Duration = Duration::from_secs(2);

/// How often retention is looked after.
const SWEEP: Duration = Duration::from_mins(10);

/// Between two tries to reach the library at start.
const RETRY: Duration = Duration::from_secs(1);

/// The most bytes of bodies that one pipeline holds.
const HELD_BYTES: usize = 64 << 20;

/// Lays out all that the configuration asks for. It runs when the supervisor does.
pub async fn lay_out(
    config: &Config,
    listener: TcpListener,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let connect: PgConnectOptions = config.library.url.expose().parse().context("library.url")?;
    prepare_library(&connect).await?;
    let pool = PgPoolOptions::new()
        .max_connections(config.library.max_connections)
        .acquire_timeout(session::PATIENCE)
        .connect_lazy_with(connect.clone().application_name("accord"));
    let metrics = Metrics::new();
    let (lead, leading) = watch::channel(false);
    let house = House { config, connect, pool, metrics, leading };

    let mut served = Vec::new();
    for (name, pipeline) in &config.pipeline {
        served.push(
            house.pipeline(name, pipeline, supervisor).await.with_context(|| format!("pipeline `{name}`"))?,
        );
    }
    house.background(lead, supervisor);

    let access = Access::new(config.http.admin_token.clone());
    let checks = house.checker(&served, supervisor);
    let router = router(served, &house.pool, house.metrics.clone(), access.clone())?
        .merge(crate::http::checks::routes(checks, access));
    let limits =
        Limits { connections: config.http.max_connections, header_timeout: config.http.header_timeout };
    let stop = supervisor.soft(Phase::Intake);
    supervisor.spawn(Phase::Intake, "http", async move {
        crate::http::serve(listener, router, limits, stop).await;
        Ok(())
    });
    Ok(())
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
    connect: PgConnectOptions,
    pool: PgPool,
    metrics: Metrics,
    leading: watch::Receiver<bool>,
}

/// A pipeline's names and numbers, once the database knows it.
struct Known {
    ids: Ids,
    contract: Arc<Contract>,
}

impl House<'_> {
    async fn pipeline(
        &self,
        name: &str,
        pipeline: &Pipeline,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<HttpPipeline> {
        let contract = Arc::new(Contract::load(&pipeline.contract, pipeline.table.as_deref())?);
        let known = self.enroll(name, contract).await?;
        let gate = Gate::new(Arc::clone(&known.contract));
        let metrics = self.metrics.pipeline(name);
        let applier = self.waist(name, pipeline, &gate, &metrics, supervisor)?;

        let stats: Arc<WebhookStats> = Arc::default();
        let sender = Arc::new(Sender::new(self.pool.clone(), known.ids.pipeline, name, Arc::clone(&stats)));
        let webhook = match &pipeline.source.webhook {
            Some(settings) => {
                let tokens =
                    self.source(name, settings, &known, &sender, &applier, &metrics, supervisor).await?;
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
        Ok(HttpPipeline {
            name: name.into(),
            mode: pipeline.mode().as_str().into(),
            contract: known.contract,
            applier,
            webhook,
            library: pipeline.routes.as_ref().map(library_routes).transpose()?,
            status: self.status(name, sender, pipeline.register().is_some(), metrics, supervisor),
        })
    }

    /// Makes the pipeline known, and makes sure that its table is what the contract says.
    async fn enroll(&self, name: &str, contract: Arc<Contract>) -> anyhow::Result<Known> {
        let mut conn = session::connect_writer(&self.connect).await?;
        let sql = TableSql::new(&contract);
        let wrong = facts::disagreements(&mut conn, sql.target(), &contract).await?;
        anyhow::ensure!(
            wrong.is_empty(),
            "table and contract disagree; see `accord doctor`:\n  {}",
            wrong.join("\n  ")
        );
        let ids = pipeline::enroll(&mut conn, name, sql.target(), &contract).await?;
        conn.close().await?;
        Ok(Known { ids, contract })
    }

    fn waist(
        &self,
        name: &str,
        pipeline: &Pipeline,
        gate: &Gate,
        metrics: &PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<Applier> {
        let reference = pipeline.reference.as_ref().map(|r| reference(&r.postgres)).transpose()?;
        let mode = pipeline.mode();
        let order = match (mode, gate.contract().version_column) {
            (Mode::Refetch, _) => "the reference decides: each row is read afresh".to_owned(),
            (Mode::Apply, Some(i)) => {
                format!("by field `{}`, ties by arrival", gate.contract().columns[i].field)
            }
            (Mode::Apply, None) => "by arrival".to_owned(),
        };
        tracing::info!(pipeline = name, mode = mode.as_str(), order, "newer wins");
        let settings = Settings {
            name: name.to_owned(),
            gate: gate.clone(),
            connect: self.connect.clone(),
            mode,
            reference,
            max_batch: pipeline.batch.max_changes,
            max_held: pipeline.hold.max_requests,
            max_held_bytes: HELD_BYTES,
            hold: pipeline.hold.max_time,
            metrics: metrics.clone(),
        };
        let stop = Stop { asked: supervisor.soft(Phase::Intake), drain: supervisor.soft(Phase::Foundation) };
        let (applier, writer) = Applier::new(settings, stop);
        supervisor.spawn(
            Phase::Foundation,
            format!("waist of {name}"),
            thread::run(format!("waist-{name}"), writer),
        );
        Ok(applier)
    }

    /// Token, exchange between replicas, and registration of a webhook.
    #[expect(clippy::too_many_arguments, reason = "each is one part that the registration joins")]
    async fn source(
        &self,
        name: &str,
        settings: &config::Webhook,
        known: &Known,
        sender: &Arc<Sender>,
        applier: &Applier,
        metrics: &PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> anyhow::Result<Option<Arc<Tokens>>> {
        let every = settings.register.as_ref().map_or(EXCHANGE, |register| register.keep_alive);
        let tokens = match settings.auth {
            config::Auth::Token => {
                Some(Arc::new(Tokens::load(self.pool.clone(), known.ids.pipeline, every).await?))
            }
            config::Auth::None => None,
        };
        let stop = supervisor.soft(Phase::Work);
        let (sharing, shared_tokens) = (Arc::clone(sender), tokens.clone());
        supervisor.spawn(Phase::Work, format!("exchange of {name}"), async move {
            sharing.keep_shared(shared_tokens, every, stop).await;
            Ok(())
        });
        if let (Some(register), Some(public_url)) = (&settings.register, &self.config.http.public_url) {
            let listener = Listener::new(public_url, &settings.path, tokens.clone());
            let observer = Arc::new(Watcher { applier: applier.clone(), metrics: metrics.clone() });
            let registrar = Registrar::new(register.clone(), listener, Arc::clone(sender), observer)?;
            let stop = supervisor.soft(Phase::Work);
            let leading = self.leading.clone();
            supervisor.spawn(Phase::Work, format!("registration of {name}"), async move {
                let registered = leader::while_leading(leading.clone(), || registrar.run(stop.clone()));
                let not_ours = async {
                    stop.cancelled().await;
                    // A leader takes its registration back, where that is wished, before it ends.
                    if *leading.borrow() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = registered => {}
                    () = not_ours => {}
                }
                Ok(())
            });
        }
        Ok(tokens)
    }

    fn webhook_settings(&self, settings: &config::Webhook) -> anyhow::Result<webhook::Settings> {
        let http = &self.config.http;
        let mut webhook = webhook::Settings::new(RoutePath::new(settings.path.clone())?);
        webhook.auth = match settings.auth {
            config::Auth::Token => webhook::Auth::Token,
            config::Auth::None => webhook::Auth::None,
        };
        webhook.body_limit = http.body_limit;
        webhook.body_timeout = http.body_timeout;
        if let Some(header) = &settings.event_id_header {
            webhook.event_id_headers = vec![header.clone()];
        }
        Ok(webhook)
    }

    /// Keeps what is shown of gap and registration fresh.
    fn status(
        &self,
        name: &str,
        sender: Arc<Sender>,
        registers: bool,
        metrics: PipelineMetrics,
        supervisor: &mut Supervisor,
    ) -> watch::Receiver<PipelineStatus> {
        let (publish, status) = watch::channel(PipelineStatus::default());
        let (pool, stop, owned) = (self.pool.clone(), supervisor.soft(Phase::Work), name.to_owned());
        supervisor.spawn(Phase::Work, format!("status of {name}"), async move {
            let keep = async {
                loop {
                    let registration = registers.then(|| sender.state());
                    let gap = pipeline::gap(&pool, &owned).await;
                    publish.send_modify(|status| {
                        status.registration = registration;
                        if let Ok(gap) = gap {
                            metrics.gap(gap.is_some());
                            status.gap = gap;
                        }
                    });
                    tokio::time::sleep(GAP_POLL).await;
                }
            };
            stop.run_until_cancelled(keep).await;
            Ok(())
        });
        status
    }

    /// Checks tables when asked to.
    fn checker(&self, served: &[HttpPipeline], supervisor: &mut Supervisor) -> Checks {
        let contracts = served.iter().map(|p| (Arc::clone(&p.name), Arc::clone(&p.contract)));
        let (checker, checks) = Checker::new(contracts, self.connect.clone(), self.pool.clone());
        let stop = supervisor.soft(Phase::Work);
        supervisor.spawn(Phase::Work, "checks", async move {
            checker.run(stop).await;
            Ok(())
        });
        checks
    }

    /// What a process does apart from its pipelines.
    fn background(&self, lead: watch::Sender<bool>, supervisor: &mut Supervisor) {
        let (connect, stop) = (self.connect.clone(), supervisor.soft(Phase::Foundation));
        supervisor.spawn(Phase::Foundation, "leadership", async move {
            leader::contend(connect, lead, stop).await;
            Ok(())
        });

        let (metrics, mut leading, stop) =
            (self.metrics.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "leadership metric", async move {
            let keep = async {
                loop {
                    metrics.leader(*leading.borrow_and_update());
                    if leading.changed().await.is_err() {
                        return;
                    }
                }
            };
            stop.run_until_cancelled(keep).await;
            Ok(())
        });

        let policy = retention::Policy {
            ledger: self.config.retention.ledger,
            quarantine: self.config.retention.quarantine,
            event_id: self.config.retention.event_id,
            check: self.config.retention.check,
        };
        let (pool, leading, stop) = (self.pool.clone(), self.leading.clone(), supervisor.soft(Phase::Work));
        supervisor.spawn(Phase::Work, "retention", async move {
            stop.run_until_cancelled(leader::while_leading(leading, || keep_swept(&pool, policy))).await;
            Ok(())
        });
    }
}

async fn keep_swept(pool: &PgPool, policy: retention::Policy) {
    loop {
        let swept = async {
            let mut conn = pool.acquire().await?;
            retention::sweep(&mut conn, policy).await
        };
        match swept.await {
            Ok(swept) if swept != retention::Swept::default() => tracing::info!(?swept, "retention"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "retention did not finish; it will go on at the next round"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Carries what registration notices to the waist and to the metrics.
struct Watcher {
    applier: Applier,
    metrics: PipelineMetrics,
}

impl Observer for Watcher {
    fn gap(&self, gap: Gap) {
        self.applier.mark_gap(gap);
    }

    fn registered(&self, registered: bool) {
        self.metrics.registered(registered);
    }
}

fn reference(config: &config::PostgresReference) -> anyhow::Result<ReferenceSettings> {
    let (schema, table) = match config.table.split_once('.') {
        Some((schema, table)) => (Some(Identifier::new(schema)?), table),
        None => (None, config.table.as_str()),
    };
    Ok(apply::ReferenceSettings {
        connect: config.url.expose().parse().context("reference.postgres.url")?,
        schema,
        table: Identifier::new(table)?,
        timeout: config.timeout,
    })
}

/// The item's path without the placeholder that configuration shows for a person's sake.
fn library_routes(routes: &config::Routes) -> anyhow::Result<LibraryRoutes> {
    Ok(LibraryRoutes {
        list_path: RoutePath::new(routes.list.clone())?,
        item_path: RoutePath::new(routes.item.replace("/{id}", ""))?,
    })
}
