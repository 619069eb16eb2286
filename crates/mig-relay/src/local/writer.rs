//! The task that owns the file and gathers work into transactions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::board::{Board, Entry, Reader};
use super::file::{File, FileError, NewMessage, NextIds, QueueRow};
use super::{check_size, failed};
use crate::link::Shared;
use crate::names::exchange_and_key;
use crate::{Message, RelayError, Route, clock};

/// One outcome per message.
pub(crate) type Outcomes = Vec<Result<(), RelayError>>;
type Reply<T> = oneshot::Sender<Result<T, RelayError>>;

/// Jobs gathered into one transaction, and the bytes they may carry.
const BATCH_JOBS: usize = 4096;
const BATCH_BYTES: usize = 32 * 1024 * 1024;
/// How often expired messages nobody reads are swept out.
const SWEEP: Duration = Duration::from_mins(1);

pub(crate) enum Job {
    Publish {
        messages: Vec<Message>,
        reply: oneshot::Sender<Outcomes>,
    },
    /// Creates a queue if needed and takes a place at it.
    Open {
        queue: String,
        event: Option<String>,
        reply: Reply<Reader>,
    },
    Settle {
        ids: Vec<i64>,
        reply: Reply<()>,
    },
    Delete {
        queue: String,
        reply: Reply<bool>,
    },
    Load {
        ids: Vec<i64>,
        reply: Reply<Vec<(i64, Bytes)>>,
    },
    Close {
        reply: Reply<()>,
    },
}

/// Serves jobs until the relay is closed or its last handle is gone.
pub(crate) async fn run(
    file: File,
    board: Arc<Board>,
    mut jobs: mpsc::Receiver<Job>,
    next_ids: NextIds,
) {
    let mut writer = Writer { file, board, next_ids, batch: Batch::default() };
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            _ = sweep.tick() => {
                writer.sweep().await;
                continue;
            }
        };
        let Some(mut job) = job else { break };
        // What is waiting already shares the transaction; nothing is waited for.
        loop {
            if let Job::Close { reply } = job {
                writer.commit().await;
                writer.board.close();
                jobs.close();
                writer.file.close().await;
                let _ = reply.send(Ok(()));
                return;
            }
            writer.take(job).await;
            if writer.batch.jobs >= BATCH_JOBS || writer.batch.bytes >= BATCH_BYTES {
                break;
            }
            match jobs.try_recv() {
                Ok(next) => job = next,
                Err(_) => break,
            }
        }
        writer.commit().await;
    }
    writer.board.close();
    writer.file.close().await;
}

struct Writer {
    file: File,
    board: Arc<Board>,
    next_ids: NextIds,
    batch: Batch,
}

/// What one transaction will do, and whom to tell.
#[derive(Default)]
struct Batch {
    jobs: usize,
    bytes: usize,
    queues: Vec<QueueRow>,
    /// Row ids of `queues`, by name.
    new_rows: HashMap<String, i64>,
    messages: Vec<NewMessage>,
    /// Queue name of each of `messages`.
    homes: Vec<String>,
    gone: Vec<i64>,
    published: Vec<(Outcomes, Vec<usize>, oneshot::Sender<Outcomes>)>,
    opened: Vec<(String, Reply<Reader>)>,
    settled: Vec<Reply<()>>,
}

impl Writer {
    async fn take(&mut self, job: Job) {
        self.batch.jobs += 1;
        match job {
            Job::Publish { messages, reply } => self.publish(messages, reply),
            Job::Open { queue, event, reply } => {
                if self.row(&queue).is_none() {
                    let id = self.next_ids.queue;
                    self.next_ids.queue += 1;
                    self.batch.new_rows.insert(queue.clone(), id);
                    self.batch.queues.push(QueueRow { id, name: queue.clone(), event });
                }
                self.batch.opened.push((queue, reply));
            }
            Job::Settle { ids, reply } => {
                self.batch.gone.extend(ids);
                self.batch.settled.push(reply);
            }
            Job::Delete { queue, reply } => {
                // What came before must be seen by the question whether it is empty.
                self.commit().await;
                let _ = reply.send(self.delete(&queue).await);
            }
            Job::Load { ids, reply } => {
                let failed = failed(&self.board.endpoint);
                let _ = reply.send(self.file.bodies(&ids).await.map_err(failed));
            }
            // Taken by the loop.
            Job::Close { reply } => drop(reply),
        }
    }

    fn row(&self, queue: &str) -> Option<i64> {
        self.batch.new_rows.get(queue).copied().or_else(|| self.board.lock().row(queue))
    }

    fn publish(&mut self, messages: Vec<Message>, reply: oneshot::Sender<Outcomes>) {
        let now = clock::now_ms();
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut written = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            if let Err(error) = check_size(&message) {
                outcomes.push(Err(error));
                continue;
            }
            let homes = match &message.route {
                Route::Event(key) => {
                    let homes = self.bound_to(key);
                    if homes.is_empty() {
                        outcomes.push(Err(RelayError::Unroutable { route: key.clone() }));
                        continue;
                    }
                    homes
                }
                route => {
                    let name = exchange_and_key(route).1;
                    let Some(row) = self.row(&name) else {
                        outcomes.push(Err(RelayError::Unroutable { route: name }));
                        continue;
                    };
                    vec![(name, row)]
                }
            };
            let ttl = i64::try_from(message.ttl.as_millis()).unwrap_or(i64::MAX);
            for (name, queue) in homes {
                let id = self.next_ids.message;
                self.next_ids.message += 1;
                self.batch.bytes += message.body.len();
                self.batch.homes.push(name);
                self.batch.messages.push(NewMessage {
                    id,
                    queue,
                    expires_ms: now.saturating_add(ttl),
                    body: message.body.clone(),
                });
            }
            outcomes.push(Ok(()));
            written.push(index);
        }
        self.batch.published.push((outcomes, written, reply));
    }

    /// Queues bound to an event.
    fn bound_to(&self, key: &str) -> Vec<(String, i64)> {
        let mut homes = self.board.lock().bound_to(key);
        let new = self.batch.queues.iter().filter(|row| row.event.as_deref() == Some(key));
        homes.extend(new.map(|row| (row.name.clone(), row.id)));
        homes
    }

    /// Commits what was gathered, then makes it visible, then answers.
    async fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.jobs == 0 {
            return;
        }
        let mut gone = batch.gone;
        gone.extend(self.board.lock().take_garbage());
        let nothing = batch.queues.is_empty() && batch.messages.is_empty() && gone.is_empty();
        let written = if nothing {
            Ok(())
        } else {
            self.file.write(&batch.queues, &batch.messages, &gone).await
        };
        if let Err(error) = written {
            self.answer_failure(error, batch.published, batch.opened, batch.settled);
            return;
        }
        {
            let mut state = self.board.lock();
            for row in batch.queues {
                state.add_queue(row);
            }
            for (message, home) in batch.messages.into_iter().zip(batch.homes) {
                let bytes = message.body.len();
                let entry = Entry {
                    expires_ms: message.expires_ms,
                    redelivered: false,
                    bytes,
                    body: Some(message.body),
                };
                state.add(&home, message.id, entry);
            }
        }
        for (outcomes, _, reply) in batch.published {
            let _ = reply.send(outcomes);
        }
        for (queue, reply) in batch.opened {
            let reader = self.board.attach(&queue).ok_or_else(|| self.board.closed());
            let _ = reply.send(reader);
        }
        for reply in batch.settled {
            let _ = reply.send(Ok(()));
        }
    }

    fn answer_failure(
        &self,
        error: FileError,
        published: Vec<(Outcomes, Vec<usize>, oneshot::Sender<Outcomes>)>,
        opened: Vec<(String, Reply<Reader>)>,
        settled: Vec<Reply<()>>,
    ) {
        tracing::error!(%error, relay = %self.board.endpoint, "the relay cannot write its file");
        let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
        let failure = || RelayError::Failed {
            endpoint: self.board.endpoint.clone(),
            source: Box::new(Shared(Arc::clone(&error))),
        };
        for (mut outcomes, written, reply) in published {
            for index in written {
                if let Some(outcome) = outcomes.get_mut(index) {
                    *outcome = Err(failure());
                }
            }
            let _ = reply.send(outcomes);
        }
        for (_, reply) in opened {
            let _ = reply.send(Err(failure()));
        }
        for reply in settled {
            let _ = reply.send(Err(failure()));
        }
    }

    async fn delete(&mut self, queue: &str) -> Result<bool, RelayError> {
        let removed = self.board.lock().remove_unused(queue);
        let row = match removed {
            Err(super::board::InUse) => return Ok(false),
            Ok(None) => return Ok(true),
            Ok(Some(row)) => row,
        };
        if let Err(error) = self.file.delete_queue(row.id).await {
            self.board.lock().add_queue(row);
            return Err(failed(&self.board.endpoint)(error));
        }
        Ok(true)
    }

    async fn sweep(&mut self) {
        let garbage = {
            let mut state = self.board.lock();
            state.drop_all_expired();
            state.take_garbage()
        };
        if garbage.is_empty() {
            return;
        }
        if let Err(error) = self.file.write(&[], &[], &garbage).await {
            // They are gone from the queues; the file forgets them at its next opening.
            tracing::warn!(%error, "expired messages stay in the relay's file for now");
        }
    }
}
