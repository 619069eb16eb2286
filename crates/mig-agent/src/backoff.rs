//! Waiting longer after every failure, and not in step with other agents.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);

/// Delays that double from one second up to a longest one.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub fn new(longest: Duration) -> Self {
        Self { next: FIRST.min(longest), longest }
    }

    /// The next delay, give or take a fifth.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        jitter(delay, 20)
    }

    /// The failure is over.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }
}

/// `duration` give or take `percent` of it.
pub fn jitter(duration: Duration, percent: u32) -> Duration {
    let parts = u32::try_from(mig_runtime::random::u64() % 1001).unwrap_or(500);
    let span = duration * percent / 100;
    duration.saturating_sub(span) + span * 2 * parts / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        for seconds in [1.0, 2.0, 4.0, 5.0, 5.0] {
            let delay = backoff.delay().as_secs_f64();
            assert!((seconds * 0.79..=seconds * 1.21).contains(&delay), "{seconds} {delay}");
        }
        backoff.reset();
        assert!(backoff.delay() < Duration::from_millis(1300));
    }

    #[test]
    fn jitter_stays_within_its_share() {
        for _ in 0..1000 {
            let value = jitter(Duration::from_mins(5), 10).as_secs_f64();
            assert!((270.0..=330.0).contains(&value), "{value}");
        }
    }
}
