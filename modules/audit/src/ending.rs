//! How the work is asked to end, and waited for.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mig_host::audit::Waker;

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    /// What ends the wait of the work, while there is any.
    waker: Option<Waker>,
}

/// Shared by the work and whoever ends it.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    state: Mutex<State>,
    changed: Condvar,
}

impl Ending {
    /// The work begins.
    ///
    /// # Errors
    ///
    /// The system's; and when the end was asked for already.
    pub(crate) fn begin(&self) -> io::Result<Waker> {
        let waker = Waker::new()?;
        let mut state = self.lock();
        if state.is_asked {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        state.waker = Some(waker.clone());
        Ok(waker)
    }

    /// The work is over.
    pub(crate) fn finish(&self) {
        self.lock().waker = None;
        self.changed.notify_all();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.lock().is_asked
    }

    /// Whether the end was asked for before `longest` was over.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), longest, |state| !state.is_asked);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_asked
    }

    /// Asks the work to end, and waits until it has.
    pub(crate) fn ask(&self, longest: Duration) {
        let mut state = self.lock();
        state.is_asked = true;
        if let Some(waker) = &state.waker {
            waker.wake();
        }
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, longest, |state| state.waker.is_some());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
