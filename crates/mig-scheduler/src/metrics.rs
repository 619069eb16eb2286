//! What the scheduler counts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mig_observe::{Counter, Counters, Gauge, Gauges, Histograms, Metrics, Readiness};
use mig_store::Store;

/// Counters of one scheduler, updated by its passes.
#[derive(Debug, Clone)]
pub struct SchedulerMetrics {
    registry: Metrics,
    /// How long the last batch of heartbeats was under way, in seconds.
    pub(crate) insertion_lag: Gauge,
    /// Heartbeats by what became of them.
    pub(crate) heartbeats: Counters<1>,
    /// Results by status, or why they were dropped.
    pub(crate) results: Counters<1>,
    pub(crate) published: Counter,
    pub(crate) publish_retries: Counters<1>,
    pub(crate) actions: Counters<1>,
    pub(crate) refused: Counters<1>,
    pub(crate) kill_orders: Counter,
    pub(crate) passes: Histograms<1>,
    pub(crate) failures: Counters<1>,
    pub(crate) queues: Gauges<1>,
    pub(crate) in_flight: Gauge,
    pub(crate) agents: Gauges<1>,
}

impl Default for SchedulerMetrics {
    fn default() -> Self {
        let registry = Metrics::new("mig_scheduler");
        let m = &registry;
        Self {
            insertion_lag: m.gauge(
                "insertion_lag_seconds",
                "Age of the oldest heartbeat of the last batch when it was stored, by the clock \
                 of its agent",
            ),
            heartbeats: m.counters("heartbeats", "Heartbeats by outcome", ["outcome"]),
            results: m.counters("results", "Results by outcome", ["outcome"]),
            published: m.counter("commands_published", "Commands that the relay took"),
            publish_retries: m.counters(
                "publish_retries",
                "Commands that must be published again, by reason",
                ["reason"],
            ),
            actions: m.counters("actions", "Actions by what became of them", ["outcome"]),
            refused: m.counters("refusals", "Actions refused, by reason", ["reason"]),
            kill_orders: m.counter("kill_orders", "Orders against duplicate agents"),
            passes: m.histograms("pass_duration_seconds", "Duration of passes", ["pass"]),
            failures: m.counters("pass_failures", "Passes that failed", ["pass"]),
            queues: m.gauges("queue_messages", "Messages ready in a central queue", ["queue"]),
            in_flight: m.gauge("commands_in_flight", "Commands without an answer yet"),
            agents: m.gauges("agents", "Agents by status", ["status"]),
            registry,
        }
    }
}

impl SchedulerMetrics {
    /// What a listener shows.
    pub fn registry(&self) -> &Metrics {
        &self.registry
    }

    pub(crate) fn pass(&self, name: &str, duration: Duration, failed: bool) {
        self.passes.observe([name], duration);
        if failed {
            self.failures.add([name], 1);
        }
    }
}

/// A scheduler is ready while its database answers. The relay may be away: then
/// work waits in the database.
pub(crate) struct StoreAnswers(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Readiness for StoreAnswers {
    async fn ready(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| format!("database: {error}"))
    }
}
