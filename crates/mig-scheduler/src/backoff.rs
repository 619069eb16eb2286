//! Waiting longer after each failure.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(100);

/// Doubling waits with jitter, from a tenth of a second up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { next: FIRST, limit }
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait: between half of it and all of it, so that several
    /// schedulers do not come back at the same moment.
    pub(crate) fn wait(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.limit);
        let half = full / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(mig_runtime::random::u64() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_limit_and_start_over() {
        let limit = Duration::from_secs(1);
        let mut backoff = Backoff::new(limit);
        assert!(backoff.wait() <= FIRST);
        for _ in 0..10 {
            assert!(backoff.wait() <= limit);
        }
        let late = backoff.wait();
        assert!(late >= limit / 2 && late <= limit, "{late:?}");
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
