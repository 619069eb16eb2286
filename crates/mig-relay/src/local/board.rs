//! Which messages wait in which queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::file::{Contents, QueueRow};
use crate::names::unavailable;
use crate::{Delivery, RelayError, clock};

/// Bodies kept in memory beside the file, bytes altogether.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// One hand-over ends when it holds this many bytes.
const BATCH_BYTES: usize = 32 * 1024 * 1024;

pub(crate) struct Board {
    pub(crate) endpoint: String,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    queues: HashMap<String, Queue>,
    /// Bytes of the bodies the waiting entries keep.
    cached_bytes: usize,
    /// Expired messages still to be deleted from the file.
    garbage: Vec<i64>,
    closed: bool,
}

struct Queue {
    row: QueueRow,
    /// By message id, which is the order of publication.
    waiting: BTreeMap<i64, Entry>,
    readers: usize,
    in_hand: usize,
    wake: Arc<Notify>,
}

/// A waiting message, or one in a reader's hands.
pub(crate) struct Entry {
    pub(crate) expires_ms: i64,
    pub(crate) redelivered: bool,
    pub(crate) bytes: usize,
    /// Absent when only the file has it.
    pub(crate) body: Option<Bytes>,
}

/// A place at a queue. Dropping it gives the place up.
pub(crate) struct Reader {
    pub(crate) board: Arc<Board>,
    pub(crate) queue: String,
    pub(crate) wake: Arc<Notify>,
}

impl Board {
    pub(crate) fn new(endpoint: String, contents: Contents) -> Self {
        let mut by_row: HashMap<i64, Queue> =
            contents.queues.into_iter().map(|row| (row.id, Queue::new(row))).collect();
        for message in contents.messages {
            let Some(queue) = by_row.get_mut(&message.queue) else { continue };
            let entry = Entry {
                expires_ms: message.expires_ms,
                // It may have been in somebody's hands when we ended.
                redelivered: true,
                bytes: message.bytes,
                body: None,
            };
            queue.waiting.insert(message.id, entry);
        }
        let queues = by_row.into_values().map(|queue| (queue.row.name.clone(), queue)).collect();
        Self { endpoint, state: Mutex::new(State { queues, ..State::default() }) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; and if it did, a queue is
        // better served than stopped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn closed(&self) -> RelayError {
        unavailable(&self.endpoint, "the relay was closed")
    }

    /// Takes a place at a queue that exists.
    pub(crate) fn attach(self: &Arc<Self>, queue: &str) -> Option<Reader> {
        let mut state = self.lock();
        let found = state.queues.get_mut(queue)?;
        found.readers += 1;
        let wake = Arc::clone(&found.wake);
        Some(Reader { board: Arc::clone(self), queue: queue.to_owned(), wake })
    }

    /// Ends all reading.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for queue in state.queues.values() {
            queue.wake.notify_waiters();
        }
    }
}

impl State {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Row id of a queue.
    pub(crate) fn row(&self, queue: &str) -> Option<i64> {
        self.queues.get(queue).map(|queue| queue.row.id)
    }

    /// Queues bound to an event: name and row id.
    pub(crate) fn bound_to(&self, event: &str) -> Vec<(String, i64)> {
        let bound = self.queues.values().filter(|q| q.row.event.as_deref() == Some(event));
        bound.map(|queue| (queue.row.name.clone(), queue.row.id)).collect()
    }

    pub(crate) fn add_queue(&mut self, row: QueueRow) {
        self.queues.entry(row.name.clone()).or_insert_with(|| Queue::new(row));
    }

    /// Takes an unread, empty queue away and returns it; `None` in `Ok` when
    /// there is none, an error when it is in use.
    pub(crate) fn remove_unused(&mut self, name: &str) -> Result<Option<QueueRow>, InUse> {
        self.drop_expired(name);
        let Some(queue) = self.queues.get(name) else { return Ok(None) };
        if queue.readers > 0 || queue.in_hand > 0 || !queue.waiting.is_empty() {
            return Err(InUse);
        }
        Ok(self.queues.remove(name).map(|queue| queue.row))
    }

    /// Makes a message available.
    pub(crate) fn add(&mut self, queue: &str, id: i64, mut entry: Entry) {
        let Some(found) = self.queues.get_mut(queue) else { return };
        if self.cached_bytes.saturating_add(entry.bytes) > CACHE_BYTES {
            entry.body = None;
        }
        self.cached_bytes += entry.cached_bytes();
        found.waiting.insert(id, entry);
        found.wake.notify_waiters();
    }

    /// Takes waiting messages in order, at most `max` and about `BATCH_BYTES`.
    pub(crate) fn take(&mut self, queue: &str, max: usize) -> Vec<(i64, Entry)> {
        let now = clock::now_ms();
        let mut taken = Vec::new();
        let mut bytes = 0;
        let Some(found) = self.queues.get_mut(queue) else { return taken };
        while taken.len() < max && bytes < BATCH_BYTES {
            let Some((id, entry)) = found.waiting.pop_first() else { break };
            self.cached_bytes -= entry.cached_bytes();
            if entry.expires_ms <= now {
                self.garbage.push(id);
                continue;
            }
            bytes += entry.bytes;
            found.in_hand += 1;
            taken.push((id, entry));
        }
        taken
    }

    /// Gives messages back to where they were.
    pub(crate) fn give_back(
        &mut self,
        queue: &str,
        entries: impl IntoIterator<Item = (i64, Entry)>,
    ) {
        for (id, mut entry) in entries {
            entry.redelivered = true;
            self.forget(queue, 1);
            self.add(queue, id, entry);
        }
    }

    /// Counts messages as no longer in hand.
    pub(crate) fn forget(&mut self, queue: &str, count: usize) {
        if let Some(found) = self.queues.get_mut(queue) {
            found.in_hand = found.in_hand.saturating_sub(count);
        }
    }

    /// Moves everything expired to the garbage.
    pub(crate) fn drop_all_expired(&mut self) {
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            self.drop_expired(&name);
        }
    }

    fn drop_expired(&mut self, name: &str) {
        let now = clock::now_ms();
        let Some(queue) = self.queues.get_mut(name) else { return };
        let expired: Vec<i64> = queue
            .waiting
            .iter()
            .filter(|(_, entry)| entry.expires_ms <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in &expired {
            if let Some(entry) = queue.waiting.remove(id) {
                self.cached_bytes -= entry.cached_bytes();
            }
        }
        self.garbage.extend(expired);
    }

    pub(crate) fn take_garbage(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.garbage)
    }
}

/// The queue has a reader or a message.
pub(crate) struct InUse;

impl Queue {
    fn new(row: QueueRow) -> Self {
        let wake = Arc::new(Notify::new());
        Self { row, waiting: BTreeMap::new(), readers: 0, in_hand: 0, wake }
    }
}

impl Entry {
    fn cached_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The delivery of an entry whose body is at hand.
    pub(crate) fn delivery(&self, tag: u64) -> Option<Delivery> {
        let body = self.body.clone()?;
        Some(Delivery { tag, body, redelivered: self.redelivered })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(queue) = self.board.lock().queues.get_mut(&self.queue) {
            queue.readers = queue.readers.saturating_sub(1);
        }
    }
}
