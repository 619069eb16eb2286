//! Names of exchanges and queues, and the limits every implementation shares.

use std::time::Duration;

use crate::{RelayError, Route, Source};

pub(crate) const TO_AGENTS: &str = "toagents";
pub(crate) const TO_SCHEDULERS: &str = "toschedulers";
pub(crate) const TO_WORKERS: &str = "toworkers";
pub(crate) const RESULTS: &str = "mig.agt.results";
pub(crate) const HEARTBEATS: &str = "mig.agt.heartbeats";
/// What the queues of event workers start with.
pub(crate) const EVENT_PREFIX: &str = "migevent.";

/// The largest body the built-in relay takes, bytes. A frame of the WebSocket
/// protocol holds one body and at most 64 KiB of head.
pub const MAX_BODY: usize = 64 * 1024 * 1024 - 64 * 1024;

/// How long a call waits for a relay that is away, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a call waits for a relay that is away, given the time one attempt
/// to connect may take.
pub(crate) fn patience(connect_timeout: Duration) -> Duration {
    connect_timeout.clamp(Duration::from_millis(100), PATIENCE)
}

/// Exchange and routing key of a route.
pub(crate) fn exchange_and_key(route: &Route) -> (&'static str, String) {
    match route {
        Route::Agent(queueloc) => (TO_AGENTS, queueloc.queue()),
        Route::Results => (TO_SCHEDULERS, RESULTS.to_owned()),
        Route::Heartbeats => (TO_SCHEDULERS, HEARTBEATS.to_owned()),
        Route::Event(key) => (TO_WORKERS, key.clone()),
    }
}

/// Queue, exchange and binding key of a source.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) queue: String,
    pub(crate) exchange: &'static str,
    pub(crate) key: String,
}

/// What reading a source declares.
///
/// # Errors
///
/// [`RelayError::Refused`] for a worker's queue with a name or a key outside
/// what workers may have.
pub(crate) fn binding(source: &Source, endpoint: &str) -> Result<Binding, RelayError> {
    let same = |queue: String, exchange| Binding { key: queue.clone(), queue, exchange };
    match source {
        Source::Agent(queueloc) => Ok(same(queueloc.queue(), TO_AGENTS)),
        Source::Results => Ok(same(RESULTS.to_owned(), TO_SCHEDULERS)),
        Source::Heartbeats => Ok(same(HEARTBEATS.to_owned(), TO_SCHEDULERS)),
        Source::Events { queue, key } => {
            // 255 bytes: the longest name AMQP carries.
            let fits = |text: &str| text.len() <= 255 && !text.chars().any(char::is_control);
            if !queue.starts_with(EVENT_PREFIX) || !fits(queue) || !fits(key) {
                let reason = format!("{queue:?} is no queue of an event worker");
                return Err(refused(endpoint, reason));
            }
            Ok(Binding { queue: queue.clone(), exchange: TO_WORKERS, key: key.clone() })
        }
    }
}

/// A refusal with a reason in words.
pub(crate) fn refused(endpoint: &str, reason: impl Into<String>) -> RelayError {
    let source = Some(reason.into().into());
    RelayError::Refused { endpoint: endpoint.to_owned(), source }
}

/// An absence with a reason in words.
pub(crate) fn unavailable(endpoint: &str, reason: impl Into<String>) -> RelayError {
    let source = Some(reason.into().into());
    RelayError::Unavailable { endpoint: endpoint.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_worker_queues_outside_their_prefix() {
        for queue in ["", "mig.agt.results", "migevent", "migevent.\n", &"migevent.x".repeat(26)] {
            let source = Source::Events { queue: queue.to_owned(), key: "agent.new".to_owned() };
            assert!(matches!(binding(&source, "x"), Err(RelayError::Refused { .. })), "{queue:?}");
        }
    }

    #[test]
    fn queue_and_routing_key_of_an_agent_are_the_same() {
        let queueloc: mig_types::QueueLoc = "linux.web1.abc".parse().unwrap();
        let read = binding(&Source::Agent(queueloc.clone()), "x").unwrap();
        let (exchange, key) = exchange_and_key(&Route::Agent(queueloc));
        assert_eq!((read.exchange, read.key.as_str()), (exchange, key.as_str()));
        assert_eq!(read.queue, "mig.agt.linux.web1.abc");
    }

    #[test]
    fn patience_is_bounded_both_ways() {
        assert_eq!(patience(Duration::ZERO), Duration::from_millis(100));
        assert_eq!(patience(Duration::from_mins(10)), PATIENCE);
    }
}
