//! Records between the thread that receives them and the one that reads them, and
//! what was lost on the way.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mig_host::audit::Record;

/// Most records that wait, and their bytes.
const MAX_RECORDS: usize = 50_000;
const MAX_BYTES: usize = 32 << 20;

/// Records that are missing, by where they were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The kernel dropped them: too many a second, or too many waited.
    pub(crate) kernel: u64,
    /// How often the socket was full. It is not known what for.
    pub(crate) socket: u64,
    /// They came faster than they could be read.
    pub(crate) inbox: u64,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    bytes: usize,
    lost: Lost,
    closed: Option<Result<(), String>>,
}

/// A bounded queue that never makes the receiver wait.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

/// What the reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Records(Vec<Record>),
    /// Nothing, in the time that was allowed.
    Nothing,
    /// Nothing will come any more; why, unless that was asked for.
    Closed(Result<(), String>),
}

impl Inbox {
    pub(crate) fn put(&self, records: Vec<Record>) {
        let mut state = self.lock();
        for record in records {
            let size = record.text.len() + 64;
            if state.records.len() == MAX_RECORDS || state.bytes + size > MAX_BYTES {
                state.lost.inbox += 1;
            } else {
                state.bytes += size;
                state.records.push_back(record);
            }
        }
        self.changed.notify_one();
    }

    pub(crate) fn lose(&self, lost: Lost) {
        let mut state = self.lock();
        state.lost.kernel += lost.kernel;
        state.lost.socket += lost.socket;
        state.lost.inbox += lost.inbox;
    }

    pub(crate) fn close(&self, why: Result<(), String>) {
        self.lock().closed = Some(why);
        self.changed.notify_one();
    }

    /// Everything that waits; what was put before the end comes before it.
    pub(crate) fn take(&self, longest: Duration) -> Found {
        let mut state = self.lock();
        if state.records.is_empty() && state.closed.is_none() {
            let waited = self.changed.wait_timeout(state, longest);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if !state.records.is_empty() {
            state.bytes = 0;
            return Found::Records(state.records.drain(..).collect());
        }
        state.closed.clone().map_or(Found::Nothing, Found::Closed)
    }

    /// What was lost since this was asked last.
    pub(crate) fn take_lost(&self) -> Lost {
        std::mem::take(&mut self.lock().lost)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record { kind: 1300, text: text.into() }
    }

    #[test]
    fn a_storm_is_counted_and_takes_no_more_memory() {
        let inbox = Inbox::default();
        inbox.put((0..MAX_RECORDS + 7).map(|_| record("x")).collect());
        inbox.lose(Lost { kernel: 3, ..Lost::default() });
        assert_eq!(inbox.take_lost(), Lost { kernel: 3, socket: 0, inbox: 7 });
        assert_eq!(inbox.take_lost(), Lost::default());
        let Found::Records(records) = inbox.take(Duration::ZERO) else { panic!("records") };
        assert_eq!(records.len(), MAX_RECORDS);
        let long = "x".repeat(1 << 20);
        inbox.put((0..40).map(|_| record(&long)).collect());
        assert_eq!(inbox.take_lost().inbox, 9);
    }

    #[test]
    fn the_end_comes_after_what_came_before_it() {
        let inbox = Inbox::default();
        assert_eq!(inbox.take(Duration::ZERO), Found::Nothing);
        inbox.put(vec![record("last")]);
        inbox.close(Err("why".into()));
        assert_eq!(inbox.take(Duration::from_mins(1)), Found::Records(vec![record("last")]));
        assert_eq!(inbox.take(Duration::from_mins(1)), Found::Closed(Err("why".into())));
    }
}
