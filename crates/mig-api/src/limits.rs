//! How often somebody may do something.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers remembered; when there are more, full buckets are dropped first.
const MAX_CALLERS: usize = 50_000;

/// A bucket of tokens for each caller: it holds `burst` and gains one every
/// `refill`.
pub(crate) struct Limiter<K> {
    burst: u32,
    refill: Duration,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: u32,
    /// When the newest token came.
    since: Instant,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, buckets: Mutex::default() }
    }

    /// Takes a token; `false` when there is none.
    pub(crate) fn take(&self, caller: K, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CALLERS && !buckets.contains_key(&caller) {
            buckets.retain(|_, bucket| self.refilled(*bucket, now).tokens < self.burst);
            if buckets.len() >= MAX_CALLERS {
                // So many callers at once: forgetting favours them all.
                buckets.clear();
            }
        }
        let bucket = buckets.entry(caller).or_insert(Bucket { tokens: self.burst, since: now });
        *bucket = self.refilled(*bucket, now);
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }

    /// Whether there is a token, without taking it.
    pub(crate) fn allows(&self, caller: &K, now: Instant) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(caller).is_none_or(|bucket| self.refilled(*bucket, now).tokens > 0)
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let gained =
            now.saturating_duration_since(bucket.since).as_nanos() / self.refill.as_nanos();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        if gained >= self.burst - bucket.tokens.min(self.burst) {
            return Bucket { tokens: self.burst, since: now };
        }
        Bucket { tokens: bucket.tokens + gained, since: bucket.since + self.refill * gained }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let limiter = Limiter::new(3, Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for wanted in [true, true, true, false, false] {
            assert_eq!(limiter.allows(&"a", start), wanted);
            assert_eq!(limiter.take("a", start), wanted);
        }
        assert!(limiter.take("b", start), "another caller is not affected");
        assert!(!limiter.take("a", after(9)));
        assert!(limiter.take("a", after(10)));
        assert!(!limiter.take("a", after(10)));
        for wanted in [true, true, true, false] {
            assert_eq!(limiter.take("a", after(1000)), wanted);
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_callers() {
        let limiter = Limiter::new(1, Duration::from_secs(10));
        let now = Instant::now();
        for caller in 0..=MAX_CALLERS * 2 {
            assert!(limiter.take(caller, now));
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MAX_CALLERS);
    }
}
