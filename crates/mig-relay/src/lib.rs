#![doc = include_str!("../README.md")]

mod address;
mod amqp;
mod clock;
mod config;
mod dial;
mod hands;
mod link;
mod local;
mod names;
mod remote;
mod ws;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mig_types::QueueLoc;

pub use config::{RelayConfig, connect};
pub use dial::connect_through;
pub use local::{LocalRelay, open_local};
pub use names::MAX_BODY;
#[doc(hidden)]
pub use ws::frame_is_stable;
pub use ws::{Role, WsAccount, serve_ws};

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// A command to one agent: exchange `toagents`.
    Agent(QueueLoc),
    /// A result to the schedulers: exchange `toschedulers`.
    Results,
    /// A heartbeat to the schedulers: exchange `toschedulers`.
    Heartbeats,
    /// An event to the workers: exchange `toworkers`, with its routing key. That nobody
    /// listens, [`RelayError::Unroutable`], is no failure: events are news.
    Event(String),
}

/// What one message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub route: Route,
    pub body: Bytes,
    /// How long the relay keeps it when nobody takes it.
    pub ttl: Duration,
}

/// A queue that is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An agent's own queue; declared and bound by consuming it.
    Agent(QueueLoc),
    /// `mig.agt.results`.
    Results,
    /// `mig.agt.heartbeats`.
    Heartbeats,
    /// A worker's queue, `migevent.…`, bound to `toworkers` with one routing
    /// key; declared and bound by consuming it.
    Events { queue: String, key: String },
}

/// One message received and not yet acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names the delivery to [`Consumer::ack`]; valid for this consumer only.
    pub tag: u64,
    pub body: Bytes,
    /// Whether the relay has (or may have) delivered it before.
    pub redelivered: bool,
}

/// Why the relay did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Away or not answering in time: try again later.
    #[error("relay {endpoint} is not reachable")]
    Unavailable {
        endpoint: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Nobody has ever listened there: the agent's queue does not exist, or no worker's is
    /// bound to the event.
    #[error("no queue takes messages for {route}")]
    Unroutable { route: String },
    /// Credentials, permissions or certificates: trying again will not help.
    #[error("relay {endpoint} refused")]
    Refused {
        endpoint: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The message is larger than the relay takes.
    #[error("message of {bytes} bytes exceeds the relay's limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// The address or its options make no sense.
    #[error("relay address {address}: {reason}")]
    Address { address: String, reason: String },
    /// Any other failure of the transport or of the store below it.
    #[error("relay {endpoint} failed")]
    Failed {
        endpoint: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Carries opaque bytes between schedulers and agents. Knows queues, not actions.
///
/// Delivery is at least once. An implementation reconnects by itself, for ever,
/// with jittered back-off; while it is away calls fail with
/// [`RelayError::Unavailable`] after a bounded time and never hang.
#[async_trait]
pub trait Relay: Send + Sync {
    /// Declares what schedulers own: exchanges, the two central queues and
    /// their bindings. Idempotent. Agents never call it.
    async fn declare(&self) -> Result<(), RelayError>;

    /// Publishes messages and returns once the relay holds each of them, one
    /// outcome per message in their order. Durable before `Ok`.
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), RelayError>>;

    /// Starts reading a queue; what it declares is in place on return.
    /// `prefetch` bounds what is in hand unacknowledged, zero means no bound.
    ///
    /// # Errors
    ///
    /// [`RelayError::Refused`] when the queue may not be read,
    /// [`RelayError::Unavailable`] when the relay stayed away for a bounded
    /// time or its schedulers have not declared their exchanges yet.
    async fn consume(&self, source: Source, prefetch: u16)
    -> Result<Box<dyn Consumer>, RelayError>;

    /// Deletes an agent's queue when nobody reads it and it is empty.
    /// Returns whether it is gone.
    async fn delete_if_unused(&self, queueloc: &QueueLoc) -> Result<bool, RelayError>;

    /// Messages ready in a queue of schedulers and read by nobody yet. `None`
    /// when the relay cannot tell.
    async fn backlog(&self, source: &Source) -> Result<Option<u64>, RelayError> {
        let _ = source;
        Ok(None)
    }

    /// Address without credentials, for messages.
    fn endpoint(&self) -> String;

    /// `host:port` of the proxy in use, if any.
    fn proxy(&self) -> Option<String> {
        None
    }

    /// Stops reading, ends the connection in an orderly way.
    async fn close(&self);
}

/// One reader of a queue.
///
/// Survives reconnections: what was in hand is then delivered again under new
/// tags, and acknowledging an old tag does nothing.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one delivery, then takes what is there, up to `max`,
    /// lingering at most `linger` to fill the batch. With the whole prefetch
    /// in hand it waits for ever: acknowledge or requeue first.
    ///
    /// # Errors
    ///
    /// [`RelayError::Refused`] when the queue may not be read; outages are
    /// waited out inside. Cancel-safe: dropping the future loses nothing.
    async fn next_batch(
        &mut self,
        max: usize,
        linger: Duration,
    ) -> Result<Vec<Delivery>, RelayError>;

    /// Acknowledges deliveries. Call it after their effects are durable.
    ///
    /// # Errors
    ///
    /// [`RelayError::Unavailable`] when the connection they came over was lost
    /// meanwhile: they will be delivered again.
    async fn ack(&mut self, tags: &[u64]) -> Result<(), RelayError>;

    /// Gives deliveries back for another try.
    async fn requeue(&mut self, tags: &[u64]) -> Result<(), RelayError>;
}
