//! What event workers hear.

use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Message, RelayError, Route};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// How long the relay keeps an event: 6,000,000 ms.
pub const TTL: Duration = Duration::from_mins(100);
/// An agent's row was created; the body is its heartbeat.
pub const AGENT_NEW: &str = "agent.new";
/// A heartbeat came from an agent that is not in the whitelist; it is the body.
pub const AGENT_AUTHENTICATION_FAILURE: &str = "agent.authentication.failure";
/// A result was accepted; it is the body.
pub const COMMAND_RESULTS: &str = "command.results";
/// A scheduler is alive, every minute.
pub const SCHEDULER_HEARTBEAT: &str = "scheduler.heartbeat";

/// Tries before events are given up.
const TRIES: u32 = 5;
/// Longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Publishes events, trying a few times while the relay is away. They are a
/// courtesy: what still fails is dropped with a warning.
pub(crate) async fn publish(scheduler: &Scheduler, events: Vec<(&'static str, Bytes)>) {
    let mut messages: Vec<Message> = events
        .into_iter()
        .map(|(key, body)| Message { route: Route::Event(key.to_owned()), body, ttl: TTL })
        .collect();
    let mut backoff = Backoff::new(MAX_WAIT);
    for attempt in 1..=TRIES {
        if messages.is_empty() {
            return;
        }
        let outcomes = scheduler.relay().publish(messages.clone()).await;
        let mut again = Vec::new();
        let mut reason = None;
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            match outcome {
                // Nobody listens: that is most deployments.
                Ok(()) | Err(RelayError::Unroutable { .. }) => {}
                Err(error) => {
                    again.push(message);
                    reason.get_or_insert(error);
                }
            }
        }
        messages = again;
        let Some(error) = reason else { return };
        if attempt == TRIES {
            tracing::warn!("{} events dropped: {}", messages.len(), Chain(&error));
            return;
        }
        sleep(backoff.wait()).await;
    }
}

/// Publishes that this scheduler lives; a failure shows that the relay does not.
///
/// # Errors
///
/// When the relay did not take it.
pub async fn heartbeat(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let body = format!("{}{}", scheduler.settings().instance, scheduler.now());
    let route = Route::Event(SCHEDULER_HEARTBEAT.to_owned());
    let message = Message { route, body: Bytes::from(body), ttl: TTL };
    match scheduler.relay().publish(vec![message]).await.into_iter().next() {
        None | Some(Ok(()) | Err(RelayError::Unroutable { .. })) => Ok(()),
        Some(Err(source)) => {
            Err(SchedulerError::Relay { doing: "publish the scheduler's heartbeat", source })
        }
    }
}
