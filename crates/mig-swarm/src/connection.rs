//! One connection to a relay, shared by a few agents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Message, Relay, RelayError, Route};
use mig_runtime::Shutdown;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// Messages published together.
const BATCH: usize = 256;
/// Before what a relay did not take is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// A message on its way, and who waits for its confirmation.
pub(crate) struct Outgoing {
    message: Message,
    confirmed: oneshot::Sender<()>,
}

/// Publishes for the agents of one connection.
#[derive(Clone)]
pub(crate) struct Publisher(mpsc::Sender<Outgoing>);

impl Publisher {
    pub(crate) fn start(relay: Arc<dyn Relay>, stop: Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(BATCH);
        tokio::spawn(publish(relay, receiver, stop));
        Self(sender)
    }

    /// Publishes a message and waits until the relay holds it, across outages.
    /// `false` when the swarm stops before, or the relay will never take it.
    pub(crate) async fn publish(&self, route: Route, body: Bytes, ttl: Duration) -> bool {
        let (confirmed, confirmation) = oneshot::channel();
        let message = Message { route, body, ttl };
        self.0.send(Outgoing { message, confirmed }).await.is_ok() && confirmation.await.is_ok()
    }
}

/// Takes what waits, all of it at once: one round trip serves many.
async fn publish(relay: Arc<dyn Relay>, mut waiting: mpsc::Receiver<Outgoing>, stop: Shutdown) {
    let mut batch: Vec<Outgoing> = Vec::with_capacity(BATCH);
    loop {
        if batch.is_empty() {
            tokio::select! {
                count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = stop.requested() => return,
            }
        }
        let messages = batch.iter().map(|outgoing| outgoing.message.clone()).collect();
        let outcomes = tokio::select! {
            outcomes = relay.publish(messages) => outcomes,
            () = stop.requested() => return,
        };
        let mut left = Vec::new();
        for (outgoing, outcome) in std::mem::take(&mut batch).into_iter().zip(outcomes) {
            match outcome {
                // Nobody waits any more: nothing is owed.
                Ok(()) => drop(outgoing.confirmed.send(())),
                Err(error @ (RelayError::TooLarge { .. } | RelayError::Refused { .. })) => {
                    tracing::error!("message not taken: {error}");
                }
                Err(_) => left.push(outgoing),
            }
        }
        batch = left;
        if !batch.is_empty() {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stop.requested() => return,
            }
        }
    }
}
