//! A platform in memory: SQLite, the built-in relay, a clock that stands still,
//! one investigator with a key, and agents that are a task each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mig_relay::{Consumer, Delivery, LocalRelay, Message, Relay, RelayError, Route, Source};
use mig_runtime::clock::{Clock as _, ManualClock};
use mig_scheduler::{Scheduler, Settings, collect, events, heartbeats};
use mig_sign::canonical::action_string;
use mig_sign::sign::SecretKey;
use mig_store::{NewInvestigator, Page, Search, Store, open_sqlite_memory};
use mig_types::{
    Action, ActionId, ActionStatus, Command, CommandStatus, Counters, IdGenerator, ModuleResult,
    Operation, Permissions, QueueLoc, Timestamp, wire,
};

/// Long enough for a busy machine; no test waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn start_time() -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
}

/// The built-in relay with an ear on events and a plug to pull.
pub(crate) struct TestRelay {
    inner: LocalRelay,
    pub(crate) away: AtomicBool,
    /// Never answers, as while a connection is being made.
    pub(crate) hangs: AtomicBool,
    calls: AtomicU32,
    events: Mutex<Vec<(String, Bytes)>>,
    pub(crate) ttls: Mutex<Vec<Duration>>,
}

impl TestRelay {
    /// Calls of schedulers so far.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn gate(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Relay for TestRelay {
    async fn declare(&self) -> Result<(), RelayError> {
        self.gate().await;
        self.inner.declare().await
    }

    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), RelayError>> {
        self.gate().await;
        if self.away.load(Ordering::SeqCst) {
            let away =
                |_| Err(RelayError::Unavailable { endpoint: "test".to_owned(), source: None });
            return messages.into_iter().map(away).collect();
        }
        for message in &messages {
            match &message.route {
                Route::Event(key) => {
                    self.events.lock().unwrap().push((key.clone(), message.body.clone()));
                }
                Route::Agent(_) => self.ttls.lock().unwrap().push(message.ttl),
                _ => {}
            }
        }
        self.inner.publish(messages).await
    }

    async fn consume(
        &self,
        source: Source,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, RelayError> {
        self.inner.consume(source, prefetch).await
    }

    async fn delete_if_unused(&self, queueloc: &QueueLoc) -> Result<bool, RelayError> {
        self.inner.delete_if_unused(queueloc).await
    }

    fn endpoint(&self) -> String {
        self.inner.endpoint()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

pub(crate) struct Platform {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) relay: Arc<TestRelay>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: SecretKey,
    pub(crate) settings: Settings,
    ids: IdGenerator,
}

impl Platform {
    pub(crate) async fn start() -> Self {
        Self::over(open_sqlite_memory().await.unwrap()).await
    }

    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        let inner = LocalRelay::memory().await.unwrap();
        inner.declare().await.unwrap();
        let key = SecretKey::generate_ed25519("Ada <ada@example.net>", start_time()).unwrap();
        let platform = Self {
            store,
            relay: Arc::new(TestRelay {
                inner,
                away: AtomicBool::new(false),
                hangs: AtomicBool::new(false),
                calls: AtomicU32::new(0),
                events: Mutex::default(),
                ttls: Mutex::default(),
            }),
            clock: Arc::new(ManualClock::new(start_time() + Duration::from_mins(1))),
            key,
            settings: Settings::default(),
            ids: IdGenerator::new(mig_runtime::random::u64()),
        };
        platform.investigator("Ada", &platform.key).await;
        platform
    }

    pub(crate) async fn investigator(&self, name: &str, key: &SecretKey) {
        let new = NewInvestigator {
            name: name.to_owned(),
            fingerprint: Some(key.fingerprint().clone()),
            public_key: Some(key.public_armored().unwrap()),
            private_key: None,
            permissions: Permissions::ALL,
        };
        self.store.insert_investigator(&new, self.now()).await.unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A scheduler as after a fresh start of the process.
    pub(crate) fn scheduler(&self) -> Scheduler {
        let store = Arc::clone(&self.store);
        self.scheduler_over(store)
    }

    pub(crate) fn scheduler_over(&self, store: Arc<dyn Store>) -> Scheduler {
        let (relay, clock) = (Arc::clone(&self.relay), Arc::clone(&self.clock));
        Scheduler::new(store, relay, clock, self.settings.clone())
    }

    /// A signed action that is valid for an hour from the start time.
    pub(crate) fn action(&self, name: &str, target: &str) -> Action {
        let mut action = Action {
            id: self.ids.action(self.now()),
            name: name.to_owned(),
            target: target.to_owned(),
            validfrom: start_time(),
            expireafter: start_time() + Duration::from_hours(1),
            operations: Some(vec![Operation {
                module: "file".to_owned(),
                parameters: serde_json::json!({"searches": {"s1": {"paths": ["/etc"]}}}),
                ..Operation::default()
            }]),
            syntaxversion: 2,
            status: Some(ActionStatus::Pending),
            starttime: Timestamp::NOT_STARTED,
            lastupdatetime: Timestamp::NOT_STARTED,
            finishtime: Timestamp::NEVER,
            ..Action::default()
        };
        sign(&mut action, &self.key);
        action
    }

    /// Stores an action as the API does.
    pub(crate) async fn launch(&self, action: &Action) -> ActionId {
        self.store.insert_action(action, &[]).await.unwrap();
        action.id
    }

    /// Brings agents online, their queues included.
    pub(crate) async fn enroll(&self, queuelocs: &[&str]) -> Vec<FakeAgent> {
        let mut agents = Vec::new();
        for queueloc in queuelocs {
            agents.push(FakeAgent::listen(&self.relay, queueloc).await);
            self.heartbeat(queueloc).await;
        }
        self.take_heartbeats(&self.scheduler()).await;
        agents
    }

    /// Sends a heartbeat and returns its bytes.
    pub(crate) async fn heartbeat(&self, queueloc: &str) -> Bytes {
        let body = serde_json::json!({
            "name": format!("host of {queueloc}"), "queueloc": queueloc, "mode": "daemon",
            "version": "1", "pid": 7, "starttime": self.now(), "heartbeatts": self.now(),
            "environment": {"os": "linux", "isproxied": false, "aws": {}}, "tags": {"operator": "x"},
        });
        let body = Bytes::from(serde_json::to_vec(&body).unwrap());
        self.send(Route::Heartbeats, body.clone()).await;
        body
    }

    pub(crate) async fn send(&self, route: Route, body: Bytes) {
        send(&self.relay, route, body).await;
    }

    /// Takes one batch of heartbeats and acknowledges it.
    pub(crate) async fn take_heartbeats(&self, scheduler: &Scheduler) {
        let (mut consumer, batch) = self.deliveries(Source::Heartbeats).await;
        let events = heartbeats::take(scheduler, &batch).await.unwrap();
        events::publish(scheduler, events).await;
        ack(consumer.as_mut(), &batch).await;
    }

    /// Takes one batch of results and acknowledges it.
    pub(crate) async fn take_results(&self, scheduler: &Scheduler) {
        let (mut consumer, batch) = self.deliveries(Source::Results).await;
        let events = collect::take(scheduler, &batch).await.unwrap();
        events::publish(scheduler, events).await;
        ack(consumer.as_mut(), &batch).await;
    }

    /// What waits in a queue, not acknowledged.
    pub(crate) async fn deliveries(&self, source: Source) -> (Box<dyn Consumer>, Vec<Delivery>) {
        let mut consumer = self.relay.consume(source, 1000).await.unwrap();
        let batch = consumer.next_batch(1000, Duration::from_millis(20));
        let batch = tokio::time::timeout(PATIENCE, batch).await.unwrap().unwrap();
        (consumer, batch)
    }

    /// A worker's queue hears of these events from now on.
    pub(crate) async fn listen(&self, key: &str) {
        let source = Source::Events { queue: format!("migevent.{key}"), key: key.to_owned() };
        self.relay.consume(source, 1).await.unwrap();
    }

    /// What was sent to the relay.
    pub(crate) fn events(&self, key: &str) -> Vec<Bytes> {
        let events = self.relay.events.lock().unwrap();
        events.iter().filter(|(name, _)| name == key).map(|(_, body)| body.clone()).collect()
    }

    pub(crate) async fn stored(&self, id: ActionId) -> Action {
        self.store.action(id).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, id: ActionId) -> ActionStatus {
        self.stored(id).await.status.unwrap()
    }

    pub(crate) async fn counters(&self, id: ActionId) -> Counters {
        self.stored(id).await.counters
    }

    pub(crate) async fn commands(&self, id: ActionId) -> Vec<Command> {
        let search = Search { action_id: Some(id), ..Search::default() };
        self.store.search_commands(&search, Page { limit: 1000, offset: 0 }).await.unwrap()
    }

    /// Queueloc and status of every command, in order.
    pub(crate) async fn outcome(&self, id: ActionId) -> Vec<(String, CommandStatus)> {
        let commands = self.commands(id).await;
        let mut outcome: Vec<_> =
            commands.into_iter().map(|command| (command.agent.queueloc, command.status)).collect();
        outcome.sort();
        outcome
    }

    /// Waits until an action has a status.
    pub(crate) async fn until(&self, id: ActionId, status: ActionStatus) {
        wait_for(async || self.status(id).await == status).await;
    }
}

/// Signs an action, alone.
pub(crate) fn sign(action: &mut Action, key: &SecretKey) {
    let text = action_string(action).unwrap();
    action.pgpsignatures = vec![key.sign(&text, start_time()).unwrap()];
}

pub(crate) async fn ack(consumer: &mut dyn Consumer, batch: &[Delivery]) {
    let tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
    consumer.ack(&tags).await.unwrap();
}

async fn send(relay: &TestRelay, route: Route, body: Bytes) {
    let ttl = Duration::from_mins(50);
    let outcome = relay.inner.publish(vec![Message { route, body, ttl }]).await;
    outcome.into_iter().next().unwrap().unwrap();
}

/// Looks again until the condition holds.
pub(crate) async fn wait_for(condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "the condition never held");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An agent as far as the relay can tell.
pub(crate) struct FakeAgent {
    pub(crate) queueloc: QueueLoc,
    relay: Arc<TestRelay>,
    consumer: Box<dyn Consumer>,
}

impl FakeAgent {
    pub(crate) async fn listen(relay: &Arc<TestRelay>, queueloc: &str) -> Self {
        let queueloc: QueueLoc = queueloc.parse().unwrap();
        let consumer = relay.consume(Source::Agent(queueloc.clone()), 100).await.unwrap();
        Self { queueloc, relay: Arc::clone(relay), consumer }
    }

    /// The next commands, acknowledged.
    pub(crate) async fn receive(&mut self) -> Vec<Command> {
        let batch = self.consumer.next_batch(100, Duration::from_millis(1));
        let batch = tokio::time::timeout(PATIENCE, batch).await.unwrap().unwrap();
        ack(self.consumer.as_mut(), &batch).await;
        batch.iter().map(|delivery| wire::from_slice(&delivery.body).unwrap()).collect()
    }

    /// Answers a command as an agent does.
    pub(crate) async fn answer(&self, command: Command, status: CommandStatus) -> Bytes {
        answer(&self.relay, &self.queueloc, command, status).await
    }

    /// Receives and answers until it is aborted; counts each command id.
    pub(crate) fn run(
        mut self,
        seen: Arc<Mutex<BTreeMap<u64, u32>>>,
    ) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let Ok(batch) = self.consumer.next_batch(100, Duration::from_millis(1)).await
                else {
                    return;
                };
                for delivery in &batch {
                    let command: Command = wire::from_slice(&delivery.body).unwrap();
                    *seen.lock().unwrap().entry(command.id.get()).or_default() += 1;
                    answer(&self.relay, &self.queueloc, command, CommandStatus::Success).await;
                }
                ack(self.consumer.as_mut(), &batch).await;
            }
        })
    }
}

async fn answer(
    relay: &TestRelay,
    queueloc: &QueueLoc,
    mut command: Command,
    status: CommandStatus,
) -> Bytes {
    command.status = status;
    command.agent.queueloc = queueloc.to_string();
    command.results = Some(vec![ModuleResult {
        foundanything: true,
        success: status == CommandStatus::Success,
        ..ModuleResult::default()
    }]);
    let body = Bytes::from(wire::to_vec(&command).unwrap());
    send(relay, Route::Results, body.clone()).await;
    body
}
