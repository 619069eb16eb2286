//! The platform's keyring: the keys of active investigators, cached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mig_sign::keyring::Keyring;
use mig_store::{Store, StoreError, StoreEvent};
use tokio::sync::{Mutex, broadcast};

/// A change made by another process is seen after this at the latest.
const MAX_AGE: Duration = Duration::from_secs(10);

/// An unknown key triggers a reload, at most this often.
const MIN_AGE: Duration = Duration::from_millis(500);

/// Reloads when investigators change, when it is old, and when a caller shows a
/// key it does not know.
pub(crate) struct KeyCache {
    state: Mutex<State>,
}

struct State {
    events: broadcast::Receiver<StoreEvent>,
    loaded: Option<(Instant, Arc<Keyring>)>,
}

impl KeyCache {
    pub(crate) fn new(events: broadcast::Receiver<StoreEvent>) -> Self {
        Self { state: Mutex::new(State { events, loaded: None }) }
    }

    /// The keyring; `fresh` asks for one that is hardly older than now.
    pub(crate) async fn get(
        &self,
        store: &dyn Store,
        fresh: bool,
    ) -> Result<Arc<Keyring>, StoreError> {
        let mut state = self.state.lock().await;
        let changed = state.changed();
        let limit = if fresh { MIN_AGE } else { MAX_AGE };
        if let Some((at, keyring)) = &state.loaded
            && !changed
            && at.elapsed() < limit
        {
            return Ok(Arc::clone(keyring));
        }
        let rows = store.active_investigators().await?;
        let keys = rows.iter().filter_map(|row| row.public_key.as_deref());
        let (keyring, bad) = Keyring::from_armored(keys);
        for error in bad {
            tracing::error!("a key of an active investigator is left out: {error}");
        }
        let keyring = Arc::new(keyring);
        state.loaded = Some((Instant::now(), Arc::clone(&keyring)));
        Ok(keyring)
    }
}

impl State {
    /// Whether investigators changed since the last call. A missed event
    /// counts as a change.
    fn changed(&mut self) -> bool {
        use broadcast::error::TryRecvError;
        let mut changed = false;
        loop {
            match self.events.try_recv() {
                Ok(StoreEvent::InvestigatorsChanged) | Err(TryRecvError::Lagged(_)) => {
                    changed = true;
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return changed,
            }
        }
    }
}
