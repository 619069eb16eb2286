//! What the API counts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mig_observe::{Counters, Histograms, Metrics, Readiness};
use mig_store::Store;

/// Counters of one API.
pub(crate) struct ApiMetrics {
    registry: Metrics,
    requests: Counters<3>,
    seconds: Histograms<1>,
    refused_actions: Counters<1>,
    heartbeats: Counters<1>,
}

impl ApiMetrics {
    pub(crate) fn new() -> Self {
        let registry = Metrics::new("mig_api");
        Self {
            requests: registry.counters(
                "requests",
                "Requests by route and status",
                ["method", "route", "status"],
            ),
            seconds: registry.histograms(
                "request_seconds",
                "Time until the head of the answer",
                ["route"],
            ),
            refused_actions: registry.counters(
                "refused_actions",
                "Actions that were not stored, by what was wrong",
                ["reason"],
            ),
            heartbeats: registry.counters(
                "heartbeats",
                "Heartbeats over HTTP by what became of them",
                ["outcome"],
            ),
            registry,
        }
    }

    /// The registry they are in.
    pub(crate) fn registry(&self) -> Metrics {
        self.registry.clone()
    }

    /// `route` is a path of the table of routes, never one that was asked for.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        // Anybody can invent methods; two are served.
        let method = if matches!(method, "GET" | "POST") { method } else { "other" };
        self.requests.add([method, route, &status.to_string()], 1);
        self.seconds.observe([route], took);
    }

    pub(crate) fn refused_action(&self, reason: &'static str) {
        self.refused_actions.add([reason], 1);
    }

    pub(crate) fn heartbeat(&self, outcome: &'static str) {
        self.heartbeats.add([outcome], 1);
    }
}

/// The API can work when its database answers.
pub(crate) struct StoreReadiness(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Readiness for StoreReadiness {
    async fn ready(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| {
            tracing::warn!("not ready: {}", crate::problem::chain(&error));
            "database is not reachable".to_owned()
        })
    }
}
