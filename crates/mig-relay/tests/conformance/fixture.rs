//! A relay of each kind, and the three parties that use it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_relay::{
    Consumer, Delivery, LocalRelay, Message, Relay, RelayConfig, Role, Route, Source, WsAccount,
    connect, open_local, serve_ws,
};
use mig_types::QueueLoc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const HOUR: Duration = Duration::from_hours(1);
/// No promise takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse: battery/staple@";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    File,
    WsPlain,
    WsTls,
    Amqp,
}

pub(crate) struct Fixture {
    pub(crate) kind: Kind,
    pub(crate) scheduler: Arc<dyn Relay>,
    pub(crate) agent: Arc<dyn Relay>,
    pub(crate) worker: Arc<dyn Relay>,
    server: Option<Server>,
    _dir: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(crate) async fn start(kind: Kind) -> Self {
        let mut dir = None;
        let mut server = None;
        let [scheduler, agent, worker]: [Arc<dyn Relay>; 3] = match kind {
            Kind::Memory => {
                let relay = LocalRelay::memory().await.unwrap();
                [Arc::new(relay.clone()), Arc::new(relay.clone()), Arc::new(relay)]
            }
            Kind::File => {
                let made = tempfile::tempdir().unwrap();
                let relay = open_local(&made.path().join("relay.db")).await.unwrap();
                dir = Some(made);
                [Arc::new(relay.clone()), Arc::new(relay.clone()), Arc::new(relay)]
            }
            Kind::WsPlain | Kind::WsTls => {
                let relay = LocalRelay::memory().await.unwrap();
                let tls = (kind == Kind::WsTls).then(Tls::new);
                let started = Server::start(relay.clone(), "127.0.0.1:0", tls).await;
                let agent = connect(&started.config("agent")).await.unwrap();
                let worker = connect(&started.config("worker")).await.unwrap();
                server = Some(started);
                [Arc::new(relay), agent, worker]
            }
            Kind::Amqp => {
                let role = |name| amqp_config(name).expect("a broker is given");
                [
                    connect(&role("MIG_TEST_AMQP_URL")).await.unwrap(),
                    connect(&role("MIG_TEST_AMQP_AGENT_URL")).await.unwrap(),
                    connect(&role("MIG_TEST_AMQP_WORKER_URL")).await.unwrap(),
                ]
            }
        };
        scheduler.declare().await.unwrap();
        Self { kind, scheduler, agent, worker, server, _dir: dir }
    }

    pub(crate) async fn stop(self) {
        for relay in [&self.agent, &self.worker, &self.scheduler] {
            relay.close().await;
        }
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// A queueloc nobody else uses.
pub(crate) fn unique_queueloc() -> QueueLoc {
    let random = getrandom::u64().unwrap();
    format!("linux.conformance.{random:x}").parse().unwrap()
}

/// The configuration of an AMQP account, if a broker is given.
pub(crate) fn amqp_config(variable: &str) -> Option<RelayConfig> {
    let mut config = RelayConfig::new(std::env::var(variable).ok()?);
    let pem = |name| std::env::var(name).ok().map(|path| std::fs::read(Path::new(&path)).unwrap());
    config.ca_pem = pem("MIG_TEST_AMQP_CA");
    config.cert_pem = pem("MIG_TEST_AMQP_CERT");
    config.key_pem = pem("MIG_TEST_AMQP_KEY");
    config.connect_timeout = Duration::from_secs(10);
    Some(config)
}

/// A private authority and a certificate for `localhost`.
pub(crate) struct Tls {
    pub(crate) ca_pem: String,
    server: Arc<rustls::ServerConfig>,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params =
            rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self { ca_pem: ca.pem(), server: Arc::new(server) }
    }
}

/// A running network face.
pub(crate) struct Server {
    pub(crate) address: String,
    tls: Option<String>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(relay: LocalRelay, bind: &str, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let account = |user: &str, role| WsAccount {
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
            role,
        };
        let accounts = vec![account("agent", Role::Agent), account("worker", Role::Worker)];
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.server));
        let task = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            serve_ws(relay, listener, config, accounts, stop).await.unwrap();
        });
        Self { address, tls: tls.map(|tls| tls.ca_pem), stop, task }
    }

    pub(crate) fn config(&self, user: &str) -> RelayConfig {
        let password = "correct%20horse%3A%20battery%2Fstaple%40";
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let mut config = RelayConfig::new(format!("{scheme}://{user}:{password}@{}", self.address));
        config.ca_pem = self.tls.as_ref().map(|pem| pem.clone().into_bytes());
        config
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

pub(crate) fn message(route: Route, body: impl Into<Bytes>, ttl: Duration) -> Message {
    Message { route, body: body.into(), ttl }
}

/// Publishes one message and expects it to be taken.
pub(crate) async fn publish(relay: &dyn Relay, route: Route, body: impl Into<Bytes>) {
    for outcome in relay.publish(vec![message(route, body, HOUR)]).await {
        outcome.unwrap();
    }
}

/// Publishes numbers as bodies.
pub(crate) async fn publish_numbers(
    relay: &dyn Relay,
    route: &Route,
    numbers: std::ops::Range<u32>,
) {
    let messages = numbers.map(|n| message(route.clone(), n.to_string(), HOUR)).collect();
    for outcome in relay.publish(messages).await {
        outcome.unwrap();
    }
}

pub(crate) async fn next(
    consumer: &mut Box<dyn Consumer>,
    max: usize,
    linger: Duration,
) -> Vec<Delivery> {
    let batch = tokio::time::timeout(DEADLINE, consumer.next_batch(max, linger)).await;
    let batch = batch.expect("a delivery in time").unwrap();
    assert!(!batch.is_empty() && batch.len() <= max);
    batch
}

/// Reads until there are `count`, without acknowledging.
pub(crate) async fn gather(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(consumer, count - all.len(), Duration::ZERO).await);
    }
    all
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|d| String::from_utf8(d.body.to_vec()).unwrap()).collect()
}

pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    bodies(deliveries).iter().map(|body| body.parse().unwrap()).collect()
}

pub(crate) fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// Whether nothing arrives for a moment.
pub(crate) async fn is_silent(consumer: &mut Box<dyn Consumer>) -> bool {
    let wait = consumer.next_batch(10, Duration::ZERO);
    tokio::time::timeout(Duration::from_millis(300), wait).await.is_err()
}

/// Takes away what earlier tests left in a queue shared by all of them.
pub(crate) async fn drain(relay: &dyn Relay, source: Source) {
    let mut consumer = relay.consume(source, 1000).await.unwrap();
    loop {
        let wait = consumer.next_batch(1000, Duration::ZERO);
        match tokio::time::timeout(Duration::from_millis(300), wait).await {
            Ok(batch) => consumer.ack(&tags(&batch.unwrap())).await.unwrap(),
            Err(_) => return,
        }
    }
}
