//! What event workers hear.

use std::collections::BTreeMap;
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

/// A key and the body that goes under it.
pub type Event = (&'static str, Bytes);

/// Publishes events, trying a few times while the relay is away. They are a
/// courtesy: what still fails is dropped with a warning.
///
/// One event of each kind goes first. When nobody listens to it, which is most
/// deployments, the others of its kind would come back as well, each with its
/// whole body: they are not sent.
pub async fn publish(scheduler: &Scheduler, events: Vec<Event>) {
    let mut first: Vec<Message> = Vec::new();
    let mut rest: BTreeMap<&'static str, Vec<Message>> = BTreeMap::new();
    for (key, body) in events {
        let message = Message { route: Route::Event(key.to_owned()), body, ttl: TTL };
        if let Some(others) = rest.get_mut(key) {
            others.push(message);
        } else {
            rest.insert(key, Vec::new());
            first.push(message);
        }
    }
    let unheard = deliver(scheduler, first).await;
    rest.retain(|key, _| !unheard.iter().any(|route| *route == Route::Event((*key).to_owned())));
    deliver(scheduler, rest.into_values().flatten().collect()).await;
}

/// Publishes messages; the routes of those that nobody listens to.
async fn deliver(scheduler: &Scheduler, mut messages: Vec<Message>) -> Vec<Route> {
    let mut unheard = Vec::new();
    let mut backoff = Backoff::new(MAX_WAIT);
    for attempt in 1..=TRIES {
        if messages.is_empty() {
            break;
        }
        let outcomes = scheduler.relay().publish(messages.clone()).await;
        let mut again = Vec::new();
        let mut reason = None;
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(RelayError::Unroutable { .. }) => unheard.push(message.route),
                Err(error) => {
                    again.push(message);
                    reason.get_or_insert(error);
                }
            }
        }
        messages = again;
        let Some(error) = reason else { break };
        if attempt == TRIES {
            tracing::warn!("{} events dropped: {}", messages.len(), Chain(&error));
            break;
        }
        sleep(backoff.wait()).await;
    }
    unheard
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
