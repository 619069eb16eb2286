//! What every request shares.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mig_observe::Metrics;
use mig_runtime::Shutdown;
use mig_runtime::clock::Clock;
use mig_runtime::whitelist::Whitelist;
use mig_store::Store;
use mig_types::{IdGenerator, LoaderId, Timestamp};
use tokio::sync::Semaphore;

use crate::client_ip::ClientIp;
use crate::intake::HeartbeatIntake;
use crate::keys::KeyCache;
use crate::limits::Limiter;
use crate::manifests::ManifestCache;
use crate::metrics::ApiMetrics;
use crate::reuse::TokenUse;
use crate::secrets::KeyChecker;

/// Settings that change what the API answers.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Public base of every link, without a final slash.
    pub host: String,
    /// Path below which all routes live, without a final slash.
    pub baseroute: String,
    pub authenticate: bool,
    /// How far a token's time may be from now, either way.
    pub token_tolerance: Duration,
    pub client_ip: ClientIp,
    /// Whether a search also needs the permission to read what it finds.
    pub strict_search: bool,
    /// Signatures that make a manifest active.
    pub required_signatures: u32,
    /// Largest manifest accepted, in bytes of the request.
    pub max_manifest: usize,
    /// Largest other form accepted, in bytes.
    pub max_form: usize,
    /// Which agents may send heartbeats; everybody without a file.
    pub whitelist: Option<PathBuf>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            baseroute: String::new(),
            authenticate: true,
            token_tolerance: Duration::from_mins(10),
            client_ip: ClientIp::Peer,
            strict_search: false,
            required_signatures: 1,
            max_manifest: 200 * 1024 * 1024,
            max_form: 10 * 1024 * 1024,
            whitelist: None,
        }
    }
}

/// Wrong keys one address may show at once, and how fast it is forgiven.
const FAILURES: (u32, Duration) = (20, Duration::from_secs(5));
/// Requests of one loader: it asks for a manifest and a few files.
const LOADER_REQUESTS: (u32, Duration) = (60, Duration::from_secs(1));
/// Heartbeats of one agent, which sends one every few minutes.
const HEARTBEATS: (u32, Duration) = (10, Duration::from_secs(5));
/// Archives unpacked or taken in at once: each may be large.
const ARCHIVES: usize = 2;

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: ApiSettings,
    ids: Arc<IdGenerator>,
    keys: KeyCache,
    key_checker: KeyChecker,
    tokens: TokenUse,
    failures: Limiter<IpAddr>,
    loader_requests: Limiter<LoaderId>,
    heartbeats: Limiter<String>,
    intake: Arc<HeartbeatIntake>,
    whitelist: Arc<Whitelist>,
    manifests: ManifestCache,
    archives: Semaphore,
    metrics: ApiMetrics,
    shutdown: Shutdown,
}

impl ApiState {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: ApiSettings,
        shutdown: Shutdown,
    ) -> Self {
        let ids = Arc::new(IdGenerator::new(mig_runtime::random::u64()));
        Self {
            inner: Arc::new(Inner {
                keys: KeyCache::new(store.events()),
                key_checker: KeyChecker::new(),
                tokens: TokenUse::default(),
                failures: Limiter::new(FAILURES.0, FAILURES.1),
                loader_requests: Limiter::new(LOADER_REQUESTS.0, LOADER_REQUESTS.1),
                heartbeats: Limiter::new(HEARTBEATS.0, HEARTBEATS.1),
                intake: HeartbeatIntake::new(Arc::clone(&store), Arc::clone(&ids)),
                whitelist: Arc::new(Whitelist::new(settings.whitelist.clone())),
                manifests: ManifestCache::default(),
                archives: Semaphore::new(ARCHIVES),
                metrics: ApiMetrics::new(),
                ids,
                store,
                clock,
                settings,
                shutdown,
            }),
        }
    }

    /// What this API counts, for a listener to show.
    pub fn registry(&self) -> Metrics {
        self.inner.metrics.registry()
    }

    pub(crate) fn metrics(&self) -> &ApiMetrics {
        &self.inner.metrics
    }

    pub(crate) fn key_checker(&self) -> &KeyChecker {
        &self.inner.key_checker
    }

    /// Where tokens were seen.
    pub(crate) fn tokens(&self) -> &TokenUse {
        &self.inner.tokens
    }

    /// Addresses that showed wrong keys.
    pub(crate) fn failures(&self) -> &Limiter<IpAddr> {
        &self.inner.failures
    }

    pub(crate) fn loader_requests(&self) -> &Limiter<LoaderId> {
        &self.inner.loader_requests
    }

    /// Queuelocs that sent heartbeats.
    pub(crate) fn heartbeats(&self) -> &Limiter<String> {
        &self.inner.heartbeats
    }

    pub(crate) fn intake(&self) -> &Arc<HeartbeatIntake> {
        &self.inner.intake
    }

    pub(crate) fn whitelist(&self) -> Arc<Whitelist> {
        Arc::clone(&self.inner.whitelist)
    }

    pub(crate) fn manifests(&self) -> &ManifestCache {
        &self.inner.manifests
    }

    /// Held while an archive is in memory.
    pub(crate) fn archives(&self) -> &Semaphore {
        &self.inner.archives
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    pub(crate) fn store_handle(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.store)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }

    pub(crate) fn ids(&self) -> &IdGenerator {
        &self.inner.ids
    }

    pub(crate) fn keys(&self) -> &KeyCache {
        &self.inner.keys
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.inner.shutdown
    }

    /// Public base of links: host and base route.
    pub(crate) fn base(&self) -> String {
        format!("{}{}", self.inner.settings.host, self.inner.settings.baseroute)
    }
}
