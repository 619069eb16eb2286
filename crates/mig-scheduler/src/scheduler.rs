//! One scheduler: what its passes share, and the tasks that run them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mig_relay::Relay;
use mig_runtime::Shutdown;
use mig_runtime::clock::Clock;
use mig_runtime::whitelist::Whitelist;
use mig_store::{Job, Owner, Store, StoreEvent, Unpublished};
use mig_types::{Action, ActionId, CommandId, Fingerprint, IdGenerator, Timestamp};
use tokio::sync::{Notify, OnceCell, broadcast};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::error::{Chain, SchedulerError};
use crate::identity::Identity;
use crate::intake::Unsettled;
use crate::keys::KeyCache;
use crate::leased::Leased;
use crate::listener::{Intake, listen};
use crate::metrics::SchedulerMetrics;
use crate::settings::Settings;
use crate::spool::Spool;
use crate::supervise::supervise;
use crate::{
    cleanup, collect, dispatch, events, expire, heartbeats, identity, intake, liveness, observe,
    presence, publish,
};

/// Longest wait after a pass that failed.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Time to give up leases when the store does not answer.
const FAREWELL: Duration = Duration::from_secs(2);
/// Time that tasks get to finish what is in hand.
const DRAIN: Duration = Duration::from_secs(15);

/// Moves actions from a store to a relay and results back. Any number of them
/// may share both.
pub struct Scheduler {
    store: Arc<dyn Store>,
    relay: Arc<dyn Relay>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    owner: Owner,
    ids: IdGenerator,
    spool: Option<Spool>,
    identity: OnceCell<Identity>,
    pub(crate) metrics: SchedulerMetrics,
    touched: Mutex<BTreeSet<ActionId>>,
    pub(crate) keys: KeyCache,
    pub(crate) whitelist: Arc<Whitelist>,
    pub(crate) wake: Wake,
    pub(crate) claimed: Leased<Action>,
    /// How many agents the actions that this scheduler dispatched are for.
    targets: Mutex<HashMap<ActionId, usize>>,
    pub(crate) unsent: Leased<Unpublished>,
    pub(crate) unmarked: Leased<CommandId>,
    pub(crate) unsettled: Unsettled,
}

/// Actions whose number of agents is remembered, at most.
const MAX_TARGETS: usize = 10_000;

/// Wakes passes before their timers do.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(crate) dispatch: Notify,
    pub(crate) publish: Notify,
    pub(crate) intake: Notify,
}

impl Scheduler {
    /// Puts the parts together; touches nothing.
    pub fn new(
        store: Arc<dyn Store>,
        relay: Arc<dyn Relay>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let owner = format!("{} {}", settings.instance, mig_runtime::random::alphanumeric(8));
        Self {
            store,
            relay,
            clock,
            owner: Owner(owner),
            ids: IdGenerator::new(mig_runtime::random::u64()),
            spool: settings.spool.clone().map(Spool::new),
            identity: OnceCell::new(),
            metrics: SchedulerMetrics::default(),
            touched: Mutex::default(),
            keys: KeyCache::default(),
            whitelist: Arc::new(Whitelist::new(settings.whitelist.clone())),
            wake: Wake::default(),
            claimed: Leased::default(),
            targets: Mutex::default(),
            unsent: Leased::default(),
            unmarked: Leased::default(),
            unsettled: Unsettled::default(),
            settings,
        }
    }

    /// Creates the spool and the scheduler's key where they are missing.
    /// Returns the key's fingerprint; doing it again costs nothing.
    ///
    /// # Errors
    ///
    /// When spool or store do not let us.
    pub async fn prepare(&self) -> Result<Fingerprint, SchedulerError> {
        Ok(self.identity().await?.key.fingerprint().clone())
    }

    /// Creates what is missing of the spool.
    pub(crate) fn create_spool(settings: &Settings) -> Result<(), SchedulerError> {
        settings.spool.clone().map(Spool::new).map_or(Ok(()), |spool| spool.create())
    }

    /// The scheduler's key, loaded once.
    pub(crate) async fn identity(&self) -> Result<&Identity, SchedulerError> {
        let loaded = self.identity.get_or_try_init(async || {
            Self::create_spool(&self.settings)?;
            let identity = identity::load(self).await?;
            tracing::debug!("leaving initSecring()");
            Ok(identity)
        });
        loaded.await
    }

    /// Runs all passes until the stop is requested, then finishes what is in
    /// hand. Store and relay stay open: they belong to the caller.
    ///
    /// # Errors
    ///
    /// When spool or key cannot be prepared. Later failures are logged and
    /// tried again.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        self.prepare().await?;
        let scheduler = Arc::new(self);
        let store_events = scheduler.store.events();
        let mut tasks = JoinSet::new();
        announce(&scheduler.settings);
        tasks.spawn(wake_on_events(Arc::clone(&scheduler), store_events, shutdown.clone()));
        for pass in Pass::ALL {
            if matches!(pass, Pass::Observe) && !scheduler.settings.observe {
                continue;
            }
            let (scheduler, stop) = (Arc::clone(&scheduler), shutdown.clone());
            tasks.spawn(supervise(pass.name(), shutdown.clone(), move || {
                repeat(Arc::clone(&scheduler), pass, stop.clone())
            }));
        }
        for intake in [&heartbeats::INTAKE, &collect::INTAKE] {
            let (scheduler, stop) = (Arc::clone(&scheduler), shutdown.clone());
            tasks.spawn(supervise(intake.name, shutdown.clone(), move || {
                read(Arc::clone(&scheduler), intake, stop.clone())
            }));
        }
        shutdown.requested().await;
        let drained = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("{} tasks did not finish in time; their work is redone", tasks.len());
            tasks.shutdown().await;
        }
        // Others need not wait until our leases run out.
        let released = timeout(FAREWELL, scheduler.store.release(&scheduler.owner)).await;
        if let Ok(Err(error)) = released {
            tracing::debug!("jobs are free when their leases run out: {}", Chain(&error));
        }
        Ok(())
    }

    /// Counters, for a listener.
    pub fn metrics(&self) -> &SchedulerMetrics {
        &self.metrics
    }

    /// Whether a periodic job is this scheduler's. Whoever has it keeps it, so
    /// that one of many does it; one that is gone is replaced after two runs.
    pub(crate) async fn leads(&self, job: Job, now: Timestamp) -> Result<bool, SchedulerError> {
        let lease = self.settings.periodic_frequency * 2;
        let leads = self.store.lease(job, &self.owner, lease, now).await;
        leads.map_err(SchedulerError::store("lease a periodic job"))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) fn relay(&self) -> &dyn Relay {
        self.relay.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn ids(&self) -> &IdGenerator {
        &self.ids
    }

    pub(crate) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Remembers for how many agents an action is. Its commands say so, also those
    /// that are published while others are still being created.
    pub(crate) fn is_for(&self, action: ActionId, agents: usize) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MAX_TARGETS {
            targets.clear();
        }
        targets.insert(action, agents);
    }

    /// For how many agents an action is that this scheduler dispatched.
    pub(crate) fn targets_of(&self, action: ActionId) -> Option<usize> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).get(&action).copied()
    }

    /// Remembers actions whose progress is worth a line.
    pub(crate) fn touch(&self, actions: impl IntoIterator<Item = ActionId>) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).extend(actions);
    }

    pub(crate) fn untouch(&self, action: ActionId) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).remove(&action);
    }

    pub(crate) fn take_touched(&self) -> BTreeSet<ActionId> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is done over and over.
#[derive(Debug, Clone, Copy)]
enum Pass {
    Dispatch,
    Publish,
    Expire,
    Intake,
    Liveness,
    Cleanup,
    Heartbeat,
    Observe,
    Presence,
}

impl Pass {
    const ALL: [Self; 9] = [
        Self::Dispatch,
        Self::Publish,
        Self::Expire,
        Self::Intake,
        Self::Liveness,
        Self::Cleanup,
        Self::Heartbeat,
        Self::Observe,
        Self::Presence,
    ];

    /// The names operators know from their logs.
    const fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "processNewAction()",
            Self::Publish => "sendCommands()",
            Self::Expire => "updateAction()",
            Self::Intake => "collector",
            Self::Liveness => "periodic",
            Self::Cleanup => "queue cleanup",
            Self::Heartbeat => "relay heartbeating",
            Self::Observe => "monitoring",
            Self::Presence => "presence",
        }
    }

    const fn period(self, settings: &Settings) -> Duration {
        match self {
            Self::Dispatch | Self::Publish | Self::Expire | Self::Intake => {
                settings.collector_frequency
            }
            Self::Liveness => settings.periodic_frequency,
            Self::Cleanup => settings.queues_cleanup_frequency,
            Self::Heartbeat => settings.event_frequency,
            Self::Observe => observe::PERIOD,
            Self::Presence => presence::PERIOD,
        }
    }

    async fn run(self, scheduler: &Scheduler) -> Result<(), SchedulerError> {
        match self {
            Self::Dispatch => dispatch::run(scheduler).await.map(drop),
            Self::Publish => publish::run(scheduler).await.map(drop),
            Self::Expire => expire::run(scheduler).await,
            Self::Intake => intake::run(scheduler).await.map(drop),
            Self::Liveness => liveness::run(scheduler).await,
            Self::Cleanup => cleanup::run(scheduler).await,
            Self::Heartbeat => events::heartbeat(scheduler).await,
            Self::Observe => observe::run(scheduler).await,
            Self::Presence => presence::run(scheduler).await,
        }
    }

    /// Whether a stop need not wait for its end: it only talks to the relay,
    /// which may be away.
    const fn may_be_cut(self) -> bool {
        matches!(self, Self::Cleanup | Self::Heartbeat | Self::Observe | Self::Presence)
    }

    /// Waits for the event that announces work; for ever when there is none.
    async fn woken(self, wake: &Wake) {
        match self {
            Self::Dispatch => wake.dispatch.notified().await,
            Self::Publish => wake.publish.notified().await,
            Self::Intake => wake.intake.notified().await,
            Self::Expire
            | Self::Liveness
            | Self::Cleanup
            | Self::Heartbeat
            | Self::Observe
            | Self::Presence => std::future::pending::<()>().await,
        }
    }
}

/// The lines that operators compare a start with, in their order. Some name a
/// routine of former days whose work is a part of another one now.
fn announce(settings: &Settings) {
    for name in [
        "mig.ProcessLog()",
        "processNewAction()",
        "sendCommands()",
        "terminateCommand()",
        "updateAction()",
    ] {
        tracing::info!("{name} routine started");
    }
    for intake in [&heartbeats::INTAKE, &collect::INTAKE] {
        tracing::info!("{} initialized", intake.name);
        tracing::info!("{} routine started", intake.name);
    }
    for name in ["collector", "periodic", "queue cleanup", "killDupAgents()"] {
        tracing::info!("{name} routine started");
    }
    tracing::info!("relay heartbeating routine started");
    if settings.observe {
        tracing::info!("monitoring routine started");
    }
}

/// Runs a pass whenever it is woken or its time has come. A failure shortens
/// the wait; an event ends it all the same.
async fn repeat(
    scheduler: Arc<Scheduler>,
    pass: Pass,
    shutdown: Shutdown,
) -> Result<(), SchedulerError> {
    let mut backoff = Backoff::new(MAX_WAIT);
    while !shutdown.is_requested() {
        let span = tracing::info_span!("pass", op.id = scheduler.ids.next(scheduler.now()));
        let begun = Instant::now();
        let outcome = tokio::select! {
            biased;
            () = shutdown.requested(), if pass.may_be_cut() => break,
            outcome = pass.run(&scheduler).instrument(span) => outcome,
        };
        scheduler.metrics.pass(pass.name(), begun.elapsed(), outcome.is_err());
        let wait = match outcome {
            Ok(()) => {
                backoff.reset();
                pass.period(&scheduler.settings)
            }
            Err(error) => {
                tracing::warn!("{} tries again: {}", pass.name(), Chain(&error));
                backoff.wait()
            }
        };
        tokio::select! {
            () = shutdown.requested() => break,
            () = pass.woken(&scheduler.wake) => {}
            () = sleep(wait) => {}
        }
    }
    Ok(())
}

/// Reads one of the central queues.
async fn read(
    scheduler: Arc<Scheduler>,
    intake: &'static Intake,
    shutdown: Shutdown,
) -> Result<(), SchedulerError> {
    listen(&scheduler, intake, &shutdown).await
}

/// Turns events of the store into wake-ups. A lost one costs a timer's period.
async fn wake_on_events(
    scheduler: Arc<Scheduler>,
    mut store_events: broadcast::Receiver<StoreEvent>,
    shutdown: Shutdown,
) {
    let wake = &scheduler.wake;
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return,
            event = store_events.recv() => event,
        };
        match event {
            Ok(StoreEvent::ActionCreated(_)) => wake.dispatch.notify_one(),
            Ok(StoreEvent::CommandsReady(_)) => wake.publish.notify_one(),
            Ok(StoreEvent::Progress(_) | StoreEvent::InvestigatorsChanged) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                wake.dispatch.notify_one();
                wake.publish.notify_one();
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
