//! A reader of a built-in queue.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::LocalRelay;
use super::board::{Entry, Reader};
use super::writer::Job;
use crate::{Consumer, Delivery, RelayError};

pub(crate) struct LocalConsumer {
    reader: Reader,
    relay: LocalRelay,
    /// The most in hand, unacknowledged.
    window: usize,
    /// Taken from the queue, not yet handed over: a call that is cancelled
    /// while it lingers or reads bodies leaves them here for the next.
    taken: VecDeque<(i64, Entry)>,
    /// Handed over and not settled, by tag.
    in_hand: HashMap<u64, (i64, Entry)>,
    next_tag: u64,
}

impl LocalConsumer {
    pub(crate) fn new(reader: Reader, relay: LocalRelay, prefetch: u16) -> Self {
        let window = if prefetch == 0 { usize::MAX } else { usize::from(prefetch) };
        Self { reader, relay, window, taken: VecDeque::new(), in_hand: HashMap::new(), next_tag: 1 }
    }

    /// Fills `taken` up to `max`; whether the queue still serves us.
    fn take(&mut self, max: usize) -> Result<(), RelayError> {
        let mut state = self.reader.board.lock();
        if state.is_closed() {
            return Err(self.reader.board.closed());
        }
        let room = self.window.saturating_sub(self.taken.len() + self.in_hand.len());
        let wanted = max.saturating_sub(self.taken.len()).min(room);
        self.taken.extend(state.take(&self.reader.queue, wanted));
        Ok(())
    }

    /// Reads the bodies only the file has.
    async fn load_bodies(&mut self) -> Result<(), RelayError> {
        let missing: Vec<i64> =
            self.taken.iter().filter(|(_, e)| e.body.is_none()).map(|(id, _)| *id).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let bodies = self.relay.ask(|reply| Job::Load { ids: missing, reply }).await?;
        let mut bodies: HashMap<i64, _> = bodies.into_iter().collect();
        for (id, entry) in &mut self.taken {
            if entry.body.is_none() {
                entry.body = bodies.remove(id);
            }
        }
        // A row that vanished (an operator's hand) must not stop the queue.
        let before = self.taken.len();
        self.taken.retain(|(_, entry)| entry.body.is_some());
        let lost = before - self.taken.len();
        if lost > 0 {
            tracing::error!(queue = %self.reader.queue, lost, "messages vanished from the relay's file");
            self.reader.board.lock().forget(&self.reader.queue, lost);
        }
        Ok(())
    }

    /// Hands over what is taken, without a pause in which it could be lost.
    fn hand_over(&mut self, max: usize) -> Vec<Delivery> {
        let count = self.taken.len().min(max);
        let mut deliveries = Vec::with_capacity(count);
        for (id, entry) in self.taken.drain(..count) {
            let tag = self.next_tag;
            if let Some(delivery) = entry.delivery(tag) {
                self.next_tag += 1;
                self.in_hand.insert(tag, (id, entry));
                deliveries.push(delivery);
            }
        }
        deliveries
    }
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn next_batch(
        &mut self,
        max: usize,
        linger: Duration,
    ) -> Result<Vec<Delivery>, RelayError> {
        let max = max.max(1);
        let wake = Arc::clone(&self.reader.wake);
        let mut deadline = None;
        loop {
            // Registered before looking, so that nothing arrives unseen.
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            self.take(max)?;
            let full = self.taken.len() + self.in_hand.len() >= self.window;
            if self.taken.is_empty() {
                woken.await;
                continue;
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + linger);
            let filled = self.taken.len() >= max || full;
            if filled || timeout_at(until, woken).await.is_err() {
                self.load_bodies().await?;
                let deliveries = self.hand_over(max);
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
            }
        }
    }

    async fn ack(&mut self, tags: &[u64]) -> Result<(), RelayError> {
        let settled: Vec<(i64, Entry)> =
            tags.iter().filter_map(|tag| self.in_hand.remove(tag)).collect();
        if settled.is_empty() {
            return Ok(());
        }
        let queue = self.reader.queue.clone();
        let ids = settled.iter().map(|(id, _)| *id).collect();
        let settling = Settling { board: Arc::clone(&self.reader.board), queue, entries: settled };
        self.relay.ask(|reply| Job::Settle { ids, reply }).await?;
        settling.done();
        Ok(())
    }

    async fn requeue(&mut self, tags: &[u64]) -> Result<(), RelayError> {
        let entries = tags.iter().filter_map(|tag| self.in_hand.remove(tag));
        self.reader.board.lock().give_back(&self.reader.queue, entries);
        Ok(())
    }
}

impl Drop for LocalConsumer {
    fn drop(&mut self) {
        let entries = self.taken.drain(..).chain(self.in_hand.drain().map(|(_, entry)| entry));
        self.reader.board.lock().give_back(&self.reader.queue, entries);
    }
}

/// Messages on their way out of the file. If the file refuses, or the caller
/// loses patience, they go back to the queue: twice is better than never.
struct Settling {
    board: Arc<super::board::Board>,
    queue: String,
    entries: Vec<(i64, Entry)>,
}

impl Settling {
    fn done(mut self) {
        let count = std::mem::take(&mut self.entries).len();
        self.board.lock().forget(&self.queue, count);
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        self.board.lock().give_back(&self.queue, entries);
    }
}
