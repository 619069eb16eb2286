//! All simulated agents of one plan.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Relay, RelayError, Route, Source};
use mig_runtime::clock::Clock;
use mig_runtime::{Shutdown, ShutdownTrigger};
use mig_types::wire;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::agent::{Shared, SimulatedAgent};
use crate::book::Book;
use crate::connection::Publisher;
use crate::plan::{Plan, PlanError};

/// Connections being made at once: handshakes cost the relay most.
const CONNECTING: usize = 16;
/// For connections to end in an orderly way.
const CLOSING: Duration = Duration::from_secs(10);

/// Why a fleet cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    #[error("the plan makes no sense")]
    Plan(#[from] PlanError),
    #[error("the relay cannot be used")]
    Relay(#[from] RelayError),
}

/// Agents that run until [`Fleet::stop`] or until it is dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    ready: Arc<AtomicUsize>,
    relays: Arc<Mutex<Vec<Arc<dyn Relay>>>>,
    trigger: ShutdownTrigger,
    connections: JoinSet<()>,
}

impl Fleet {
    /// Starts agents in the background; [`Fleet::ready`] tells how far it is.
    ///
    /// # Errors
    ///
    /// [`FleetError`] when plan or address make no sense. A relay that is away
    /// is waited for.
    pub async fn start(plan: Plan, clock: Arc<dyn Clock>) -> Result<Self, FleetError> {
        plan.check()?;
        // Says at once what no connection could mend.
        mig_relay::connect(&plan.relay).await?.close().await;
        let (trigger, stop) = Shutdown::new();
        let (agents, per_connection) = (plan.agents, plan.per_connection);
        let book = Arc::new(Book::default());
        let shared = Arc::new(Shared { plan, book, clock, stop, bare: AtomicBool::new(false) });
        let mut fleet = Self {
            shared,
            ready: Arc::default(),
            relays: Arc::default(),
            trigger,
            connections: JoinSet::new(),
        };
        let handshakes = Arc::new(Semaphore::new(CONNECTING));
        for first in (0..agents).step_by(per_connection) {
            let crew = Crew {
                shared: Arc::clone(&fleet.shared),
                numbers: first..(first + per_connection).min(agents),
                ready: Arc::clone(&fleet.ready),
            };
            let (handshakes, relays) = (Arc::clone(&handshakes), Arc::clone(&fleet.relays));
            fleet.connections.spawn(crew.run(handshakes, relays));
        }
        Ok(fleet)
    }

    /// Agents that listen and whose first heartbeat the relay holds.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// What the fleet saw and did.
    pub fn book(&self) -> &Arc<Book> {
        &self.shared.book
    }

    /// Whether agents send every message back unread, instead of obeying.
    pub(crate) fn set_bare(&self, bare: bool) {
        self.shared.bare.store(bare, Ordering::Relaxed);
    }

    /// Ends all agents and their connections. Queues stay, as those of agents
    /// that are switched off.
    pub async fn stop(mut self) {
        self.trigger.request();
        while self.connections.join_next().await.is_some() {}
        let relays: Vec<_> =
            std::mem::take(&mut *self.relays.lock().unwrap_or_else(PoisonError::into_inner));
        let closing = relays.iter().map(|relay| relay.close());
        if timeout(CLOSING, futures_util::future::join_all(closing)).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.trigger.request();
    }
}

/// The agents of one connection.
struct Crew {
    shared: Arc<Shared>,
    numbers: std::ops::Range<usize>,
    ready: Arc<AtomicUsize>,
}

impl Crew {
    async fn run(self, handshakes: Arc<Semaphore>, relays: Arc<Mutex<Vec<Arc<dyn Relay>>>>) {
        let stop = self.shared.stop.clone();
        let Ok(turn) = handshakes.acquire_owned().await else { return };
        if stop.is_requested() {
            return;
        }
        let relay = match mig_relay::connect(&self.shared.plan.relay).await {
            Ok(relay) => relay,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot connect");
                return;
            }
        };
        relays.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&relay));
        let publisher = Publisher::start(Arc::clone(&relay), stop.clone());
        let mut agents = JoinSet::new();
        for number in self.numbers.clone() {
            let Some(queueloc) = self.shared.plan.queueloc(number) else { continue };
            let agent = SimulatedAgent {
                shared: Arc::clone(&self.shared),
                number,
                source: Source::Agent(queueloc),
                publisher: publisher.clone(),
            };
            let Some(consumer) = agent.listen(relay.as_ref()).await else { return };
            agents.spawn(agent.serve(consumer));
        }
        drop(turn);
        self.beat(&publisher).await;
        while agents.join_next().await.is_some() {}
    }

    /// One heartbeat of each agent now, then of one after the other.
    async fn beat(&self, publisher: &Publisher) {
        let stop = &self.shared.stop;
        let first = self.numbers.clone().map(|number| self.heartbeat(publisher, number));
        tokio::select! {
            sent = futures_util::future::join_all(first) => {
                let sent = sent.into_iter().filter(|sent| *sent).count();
                self.ready.fetch_add(sent, Ordering::Relaxed);
            }
            () = stop.requested() => return,
        }
        let agents = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX).max(1);
        let mut turn = interval(self.shared.plan.heartbeat / agents);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turn.tick().await;
        for number in self.numbers.clone().cycle() {
            tokio::select! {
                _ = turn.tick() => {}
                () = stop.requested() => return,
            }
            tokio::select! {
                _ = self.heartbeat(publisher, number) => {}
                () = stop.requested() => return,
            }
        }
    }

    async fn heartbeat(&self, publisher: &Publisher, number: usize) -> bool {
        let Shared { plan, clock, book, .. } = self.shared.as_ref();
        let Ok(body) = wire::to_vec(&plan.record(number, clock.now())) else { return false };
        let ttl = plan.heartbeat.saturating_mul(10);
        let sent = publisher.publish(Route::Heartbeats, Bytes::from(body), ttl).await;
        book.heartbeats(u64::from(sent));
        sent
    }
}
