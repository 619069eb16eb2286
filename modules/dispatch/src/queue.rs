//! Alerts that wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many alerts wait when the configuration does not say.
pub(crate) const DEFAULT_SIZE: usize = 1024;
/// Most bytes of all alerts that wait.
const MAX_BYTES: usize = 32 << 20;
/// Between two complaints about alerts that were dropped.
const COMPLAIN_EVERY: Duration = Duration::from_mins(5);

/// A queue with a bound, for one who takes and any number who put.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State {
    alerts: VecDeque<String>,
    bytes: usize,
    size: usize,
    dropped: u64,
    complained: Option<Instant>,
}

impl Default for Queue {
    fn default() -> Self {
        let state = State {
            alerts: VecDeque::new(),
            bytes: 0,
            size: DEFAULT_SIZE,
            dropped: 0,
            complained: None,
        };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no more than `size` alerts wait; those that do stay.
    pub(crate) fn bound(&self, size: usize) {
        self.lock().size = size;
    }

    /// Adds an alert if there is room, and never waits. When it is time to
    /// complain, how many were dropped since the last complaint.
    pub(crate) fn put(&self, alert: &str) -> Option<u64> {
        let mut state = self.lock();
        if state.alerts.len() < state.size && state.bytes + alert.len() <= MAX_BYTES {
            state.bytes += alert.len();
            state.alerts.push_back(alert.to_owned());
            drop(state);
            self.arrived.notify_one();
            return None;
        }
        state.dropped += 1;
        if state.complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return None;
        }
        state.complained = Some(Instant::now());
        Some(std::mem::take(&mut state.dropped))
    }

    /// The next alert; waits for it.
    pub(crate) fn take(&self) -> String {
        let mut state = self.lock();
        loop {
            if let Some(alert) = state.alerts.pop_front() {
                state.bytes = state.bytes.saturating_sub(alert.len());
                return alert;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_said_once() {
        let queue = Queue::default();
        queue.bound(2);
        assert_eq!((queue.put("a"), queue.put("b")), (None, None));
        assert_eq!(queue.put("c"), Some(1));
        assert_eq!((queue.put("d"), queue.put("e")), (None, None));
        assert_eq!(queue.lock().dropped, 2);
        assert_eq!((&*queue.take(), &*queue.take()), ("a", "b"));
        assert_eq!(queue.put("f"), None);
        assert_eq!(queue.take(), "f");
        assert_eq!(queue.put(&"x".repeat(MAX_BYTES + 1)), None, "it was complained already");
        let state = queue.lock();
        assert_eq!((state.dropped, state.bytes), (3, 0));
    }

    #[test]
    fn who_takes_waits_for_who_puts() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take());
            queue.put("late");
            assert_eq!(taken.join().unwrap(), "late");
        });
    }
}
