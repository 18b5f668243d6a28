//! Where a pipeline's changes come from: its webhook, the webhook's tokens, and the registration with the sender.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::House;
use super::parts::Known;
use crate::apply::{Applier, Gap};
use crate::config;
use crate::http::RoutePath;
use crate::leader;
use crate::source::registration::{Listener, Observer, Registrar};
use crate::source::sender::Sender;
use crate::source::token::Tokens;
use crate::source::webhook;
use crate::supervisor::{Phase, Supervisor};
use crate::telemetry::metrics::PipelineMetrics;

/// How often replicas exchange tokens and what they saw, where no keep-alive says otherwise.
const EXCHANGE: Duration = Duration::from_secs(30);

impl House<'_> {
    /// Token, exchange between replicas, and registration of a webhook.
    pub(super) async fn source(
        &self,
        name: &str,
        settings: &config::Webhook,
        known: &Known,
        sender: &Arc<Sender>,
        watcher: Watcher,
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
            let again = Arc::clone(&watcher.register_again);
            let registrar =
                Registrar::new(register.clone(), listener, Arc::clone(sender), Arc::new(watcher))?
                    .told_by(again);
            let (stop, renewal) = (supervisor.soft(Phase::Work), supervisor.renewal());
            let leading = self.leading.clone();
            supervisor.spawn(Phase::Work, format!("registration of {name}"), async move {
                // A leader takes its registration back, where that is wished, before it ends: for good, that is.
                let keep = leader::while_leading_until(leading, &stop, || registrar.run(stop.clone()));
                renewal.run_until_cancelled(keep).await;
                Ok(())
            });
        }
        Ok(tokens)
    }

    pub(super) fn webhook_settings(&self, settings: &config::Webhook) -> anyhow::Result<webhook::Settings> {
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
}

/// Carries what registration notices to the waist and to the metrics.
pub(super) struct Watcher {
    pub(super) applier: Applier,
    pub(super) metrics: PipelineMetrics,
    /// By which the reconciler has us register at once.
    pub(super) register_again: Arc<Notify>,
}

impl Observer for Watcher {
    fn gap(&self, gap: Gap) {
        self.applier.mark_gap(gap);
    }

    fn registered(&self, registered: bool) {
        self.metrics.registered(registered);
    }
}
