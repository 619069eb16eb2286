//! What one run of a module may use.

use std::time::{Duration, Instant};

use crate::module::ModuleError;

/// Default bound of a result document.
const RESULT_BYTES: usize = 20 << 20;

/// Limits of one run. The process around a module enforces its own, harder
/// ones; these let a module stop in time and hand back what it has.
#[derive(Debug, Clone)]
pub struct Budget {
    deadline: Option<Instant>,
    threads: usize,
    result_bytes: usize,
}

impl Budget {
    /// A deadline and a number of threads, at least one.
    pub fn new(deadline: Option<Instant>, threads: usize) -> Self {
        Self { deadline, threads: threads.max(1), result_bytes: RESULT_BYTES }
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

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// # Errors
    ///
    /// [`ModuleError::Deadline`] once the deadline has passed.
    pub fn check(&self) -> Result<(), ModuleError> {
        if self.is_over() { Err(ModuleError::Deadline) } else { Ok(()) }
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
}
