//! What one run of a module may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::module::ModuleError;

/// Default bound of a result document.
const RESULT_BYTES: usize = 20 << 20;

/// How soon a run notices that it is to end while it waits for something.
const NOTICE: Duration = Duration::from_millis(50);

/// An order to end a run early, which may come from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn order(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_ordered(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Limits of one run. The process around a module enforces its own, harder
/// ones; these let a module stop in time and hand back what it has.
#[derive(Debug, Clone)]
pub struct Budget {
    deadline: Option<Instant>,
    threads: usize,
    result_bytes: usize,
    stop: Stop,
}

impl Budget {
    /// A deadline and a number of threads, at least one.
    pub fn new(deadline: Option<Instant>, threads: usize) -> Self {
        Self {
            deadline,
            threads: threads.max(1),
            result_bytes: RESULT_BYTES,
            stop: Stop::default(),
        }
    }

    /// No deadline, and half of the machine's processors.
    pub fn unlimited() -> Self {
        Self::new(None, default_threads())
    }

    /// Bounds the result document to about so many bytes.
    #[must_use]
    pub fn with_result_bytes(mut self, bytes: usize) -> Self {
        self.result_bytes = bytes;
        self
    }

    /// Lets `stop` end the run.
    #[must_use]
    pub fn with_stop(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// How many threads a module may compute with.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// About how large a result document may be, in bytes.
    pub fn result_bytes(&self) -> usize {
        self.result_bytes
    }

    /// When the run must be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long the run may still take.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the run was told to end early. What it has found is not wanted.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_ordered()
    }

    /// Whether the deadline has passed, or the run was told to end.
    pub fn is_over(&self) -> bool {
        self.is_stopped() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// # Errors
    ///
    /// [`ModuleError::Stopped`] once the run was told to end, and
    /// [`ModuleError::Deadline`] once the deadline has passed.
    pub fn check(&self) -> Result<(), ModuleError> {
        if self.is_stopped() {
            return Err(ModuleError::Stopped);
        }
        if self.is_over() { Err(ModuleError::Deadline) } else { Ok(()) }
    }

    /// Does something that cannot be interrupted, such as looking up a name, on
    /// a thread of its own, and waits for it no longer than the run may last.
    /// When the wait ends first, the thread is left to itself.
    ///
    /// # Errors
    ///
    /// Those of [`Budget::check`], and [`ModuleError::Failed`] when the work
    /// panics.
    pub fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ModuleError> {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .spawn(move || {
                // Nobody may be waiting any more.
                let _ = sender.send(work());
            })
            .map_err(|error| ModuleError::Failed(format!("cannot start a thread: {error}")))?;
        loop {
            self.check()?;
            let wait = self.remaining().map_or(NOTICE, |left| left.min(NOTICE));
            match receiver.recv_timeout(wait) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ModuleError::Failed("the work ended without a result".to_owned()));
                }
            }
        }
    }
}

/// Half of the machine, at least one: an agent is a guest.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_deadline_is_an_error() {
        let over = Budget::new(Some(Instant::now()), 0);
        assert!(matches!(over.check(), Err(ModuleError::Deadline)));
        assert_eq!(over.remaining(), Some(Duration::ZERO));
        assert_eq!(over.threads(), 1);
        assert!(Budget::unlimited().check().is_ok());
    }

    #[test]
    fn an_order_to_stop_ends_the_wait_for_endless_work() {
        let stop = Stop::default();
        let budget = Budget::unlimited().with_stop(&stop);
        assert_eq!(budget.aside(|| 7).unwrap(), 7);
        let (_keep, never) = channel::<()>();
        let ordered = stop.clone();
        let waited = budget.aside(move || {
            ordered.order();
            never.recv()
        });
        assert!(matches!(waited, Err(ModuleError::Stopped)));
        assert!(budget.is_over() && budget.is_stopped());
    }

    #[test]
    fn work_that_panics_is_a_failure() {
        let failed = Budget::unlimited().aside(|| assert_eq!(1, 2, "told to"));
        assert!(matches!(failed, Err(ModuleError::Failed(_))));
    }
}
