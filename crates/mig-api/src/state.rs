//! What every request shares.

use std::sync::Arc;
use std::time::Duration;

use mig_runtime::Shutdown;
use mig_runtime::clock::Clock;
use mig_store::Store;
use mig_types::{IdGenerator, Timestamp};

use crate::client_ip::ClientIp;
use crate::keys::KeyCache;

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
}

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: ApiSettings,
    ids: IdGenerator,
    keys: KeyCache,
    shutdown: Shutdown,
}

impl ApiState {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: ApiSettings,
        shutdown: Shutdown,
    ) -> Self {
        let keys = KeyCache::new(store.events());
        let ids = IdGenerator::new(mig_runtime::random::u64());
        Self { inner: Arc::new(Inner { store, clock, settings, ids, keys, shutdown }) }
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
