//! Work that was claimed from the store and is not done yet.

use std::sync::{Mutex, PoisonError};

use mig_types::Timestamp;

/// Claimed work that failed and is tried again by this process while its lease
/// lasts. After that it is left to whoever claims it next.
#[derive(Debug)]
pub(crate) struct Leased<T>(Mutex<Vec<(T, Timestamp)>>);

impl<T> Default for Leased<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Leased<T> {
    /// Keeps work with the end of its lease.
    pub(crate) fn put(&self, work: impl IntoIterator<Item = (T, Timestamp)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(work);
    }

    /// Takes everything whose lease still holds and forgets the rest.
    pub(crate) fn take(&self, now: Timestamp) -> Vec<(T, Timestamp)> {
        let work = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        work.into_iter().filter(|(_, until)| *until > now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_work_whose_lease_ran_out() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let second = std::time::Duration::from_secs(1);
        let leased = Leased::default();
        leased.put([(1, now), (2, now + second)]);
        assert_eq!(leased.take(now), [(2, now + second)]);
        assert!(leased.take(now).is_empty());
    }
}
