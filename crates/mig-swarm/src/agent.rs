//! One simulated agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use mig_relay::{Consumer, Delivery, Relay, RelayError, Route, Source};
use mig_runtime::Shutdown;
use mig_runtime::clock::Clock;
use mig_sign::verify::verify_action;
use mig_types::{Command, CommandId, ModuleResult, wire};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::book::{Book, Entered};
use crate::connection::Publisher;
use crate::fate::Fate;
use crate::plan::Plan;

/// Commands an agent has in hand at once.
const PREFETCH: u16 = 64;
/// Before a queue that cannot be read is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the relay keeps an answer.
const ANSWER_TTL: Duration = Duration::from_hours(6);

/// What all agents of a fleet share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) book: Arc<Book>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: Shutdown,
    /// Echo what comes, unread: see [`crate::floor`].
    pub(crate) bare: AtomicBool,
}

/// One agent on its connection.
pub(crate) struct SimulatedAgent {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: usize,
    pub(crate) source: Source,
    pub(crate) publisher: Publisher,
}

/// Work whose end settles a delivery; the flag says whether it may be
/// acknowledged.
type Work = BoxFuture<'static, (u64, bool)>;

impl SimulatedAgent {
    /// Starts reading this agent's queue, trying until it works. `None` when
    /// the swarm stops before.
    pub(crate) async fn listen(&self, relay: &dyn Relay) -> Option<Box<dyn Consumer>> {
        loop {
            tokio::select! {
                consumer = relay.consume(self.source.clone(), PREFETCH) => match consumer {
                    Ok(consumer) => return Some(consumer),
                    Err(error) => report(self.number, &error),
                },
                () = self.shared.stop.requested() => return None,
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.shared.stop.requested() => return None,
            }
        }
    }

    /// Serves its queue until the swarm stops.
    pub(crate) async fn serve(self, mut consumer: Box<dyn Consumer>) {
        let this = Arc::new(self);
        let mut work: FuturesUnordered<Work> = FuturesUnordered::new();
        loop {
            tokio::select! {
                batch = consumer.next_batch(usize::from(PREFETCH), Duration::ZERO) => match batch {
                    Ok(batch) => {
                        for delivery in batch {
                            work.push(Arc::clone(&this).take(delivery).boxed());
                        }
                    }
                    Err(error) => {
                        report(this.number, &error);
                        sleep(PAUSE).await;
                    }
                },
                Some((tag, settled)) = work.next(), if !work.is_empty() => {
                    // A lost connection: it is delivered again.
                    if settled && let Err(error) = consumer.ack(&[tag]).await {
                        tracing::debug!("agent {}: {error}", this.number);
                    }
                }
                () = this.shared.stop.requested() => return,
            }
        }
    }

    async fn take(self: Arc<Self>, delivery: Delivery) -> (u64, bool) {
        let settled = if self.shared.bare.load(Ordering::Relaxed) {
            self.publisher.publish(Route::Results, delivery.body, ANSWER_TTL).await
        } else {
            self.obey(&delivery.body).await
        };
        (delivery.tag, settled)
    }

    /// Does what the plan says with one message. Whether it is settled.
    async fn obey(&self, body: &[u8]) -> bool {
        let Shared { plan, book, .. } = self.shared.as_ref();
        let Ok(command) = wire::from_slice::<Command>(body) else {
            book.unreadable();
            return true;
        };
        let fate = plan.behaviour.fate(command.id);
        let refusal = self.refusal(&command);
        let fate = if refusal.is_some() { Fate::Fail } else { fate };
        match book.enter(&command, self.number, fate) {
            Entered::Settled => return true,
            Entered::New if refusal.is_some() => book.refused(),
            Entered::New | Entered::Unanswered => {}
        }
        if fate == Fate::Lose {
            return true;
        }
        let delay = plan.behaviour.delay(command.id);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let id = command.id;
        let Ok(answer) = self.answer(command, fate, refusal) else {
            book.unreadable();
            return true;
        };
        let confirmed = self.publisher.publish(Route::Results, answer, ANSWER_TTL).await;
        if confirmed {
            book.answered(id);
        }
        confirmed
    }

    fn refusal(&self, command: &Command) -> Option<String> {
        let plan = &self.shared.plan;
        let own = plan.queueloc(self.number);
        if own.is_none_or(|own| own.as_str() != command.agent.queueloc) {
            return Some("command is addressed to another agent".to_owned());
        }
        let keyring = plan.keyring.as_ref()?;
        let verified = verify_action(keyring, &command.action, self.shared.clock.now());
        verified.err().map(|error| format!("action signature verification failed: {error}"))
    }

    /// The whole command as it came, with status and results.
    fn answer(
        &self,
        mut command: Command,
        fate: Fate,
        refusal: Option<String>,
    ) -> Result<Bytes, wire::WireError> {
        let result = match fate {
            Fate::Succeed | Fate::Lose => ModuleResult {
                foundanything: true,
                success: true,
                elements: elements(&self.shared.plan, self.number, command.id),
                ..ModuleResult::default()
            },
            Fate::Fail => ModuleResult::failed(
                refusal.unwrap_or_else(|| token(&self.shared.plan, self.number, command.id)),
            ),
        };
        command.status = fate.status();
        command.results = Some(vec![result; command.action.operations().len().max(1)]);
        Ok(Bytes::from(wire::to_vec(&command)?))
    }
}

/// Marks the one answer to one command.
pub(crate) fn token(plan: &Plan, agent: usize, command: CommandId) -> String {
    format!("{}/{command}", plan.agent_name(agent))
}

fn elements(plan: &Plan, agent: usize, command: CommandId) -> Value {
    json!({ "swarm": token(plan, agent, command), "payload": "x".repeat(plan.behaviour.payload) })
}

fn report(agent: usize, error: &RelayError) {
    tracing::warn!(error = error as &dyn std::error::Error, "agent {agent} cannot read its queue");
}
