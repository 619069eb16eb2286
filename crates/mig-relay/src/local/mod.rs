//! The built-in relay: durable queues in a `SQLite` file.
//!
//! Which messages wait where is kept in memory; bodies and everything that
//! must survive are in the file. One task owns the file and gathers what
//! concurrent callers want into one transaction (`writer`), so that a commit's
//! fsync is paid once for many messages.

mod board;
mod consumer;
mod file;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mig_types::QueueLoc;
use tokio::sync::{mpsc, oneshot};

use crate::names::{self, HEARTBEATS, RESULTS};
use crate::{Consumer, MAX_BODY, Message, Relay, RelayError, Source};
use board::Board;
use consumer::LocalConsumer;
use writer::{Job, Outcomes};

/// Jobs waiting for the writer. A full channel slows publishers down.
const JOBS: usize = 4096;

/// A relay inside this process. Cheap to clone; every clone is the same relay.
#[derive(Clone)]
pub struct LocalRelay {
    board: Arc<Board>,
    jobs: mpsc::Sender<Job>,
}

/// Opens the relay kept in a `SQLite` file, creating it when it is missing.
/// Other tables in the file are left alone.
///
/// # Errors
///
/// [`RelayError::Failed`] when the file cannot be opened or another process
/// has it open as a relay.
pub async fn open_local(path: &Path) -> Result<LocalRelay, RelayError> {
    LocalRelay::open(path).await
}

impl LocalRelay {
    /// See [`open_local`].
    pub async fn open(path: &Path) -> Result<Self, RelayError> {
        let endpoint = format!("local:{}", path.display());
        let failed = failed(&endpoint);
        let (file, contents) = file::File::open(path).await.map_err(failed)?;
        Ok(Self::start(endpoint, file, contents))
    }

    /// A relay that forgets everything when it goes, for tests.
    pub async fn memory() -> Result<Self, RelayError> {
        let endpoint = "local:memory".to_owned();
        let (file, contents) = file::File::memory().await.map_err(failed(&endpoint))?;
        Ok(Self::start(endpoint, file, contents))
    }

    fn start(endpoint: String, file: file::File, contents: file::Contents) -> Self {
        let next_ids = contents.next_ids;
        let board = Arc::new(Board::new(endpoint, contents));
        let (jobs, queue) = mpsc::channel(JOBS);
        tokio::spawn(writer::run(file, Arc::clone(&board), queue, next_ids));
        Self { board, jobs }
    }

    /// Hands messages over in order; the outcomes arrive once they are durable.
    ///
    /// Calls made one after the other keep their order, without waiting for
    /// the outcomes in between.
    pub(crate) async fn submit(&self, messages: Vec<Message>) -> oneshot::Receiver<Outcomes> {
        let (reply, outcomes) = oneshot::channel();
        // A closed relay drops the job, and with it `reply`: the caller sees it.
        let _ = self.jobs.send(Job::Publish { messages, reply }).await;
        outcomes
    }

    /// What became of submitted messages.
    pub(crate) async fn outcomes(
        &self,
        count: usize,
        outcomes: oneshot::Receiver<Outcomes>,
    ) -> Outcomes {
        match outcomes.await {
            Ok(outcomes) => outcomes,
            Err(_) => (0..count).map(|_| Err(self.board.closed())).collect(),
        }
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, RelayError>>) -> Job,
    ) -> Result<T, RelayError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.jobs.send(job(reply)).await;
        answer.await.unwrap_or_else(|_| Err(self.board.closed()))
    }
}

#[async_trait]
impl Relay for LocalRelay {
    async fn declare(&self) -> Result<(), RelayError> {
        for queue in [RESULTS, HEARTBEATS] {
            let queue = queue.to_owned();
            self.ask(|reply| Job::Open { queue, event: None, reply }).await?;
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Outcomes {
        let count = messages.len();
        let outcomes = self.submit(messages).await;
        self.outcomes(count, outcomes).await
    }

    async fn consume(
        &self,
        source: Source,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, RelayError> {
        let queue = names::binding(&source, &self.board.endpoint)?.queue;
        let event = if let Source::Events { key, .. } = source { Some(key) } else { None };
        let reader = self.ask(|reply| Job::Open { queue, event, reply }).await?;
        Ok(Box::new(LocalConsumer::new(reader, self.clone(), prefetch)))
    }

    async fn delete_if_unused(&self, queueloc: &QueueLoc) -> Result<bool, RelayError> {
        let queue = queueloc.queue();
        self.ask(|reply| Job::Delete { queue, reply }).await
    }

    fn endpoint(&self) -> String {
        self.board.endpoint.clone()
    }

    async fn close(&self) {
        // Answered after the file is closed; an error means it already was.
        let _ = self.ask(|reply| Job::Close { reply }).await;
    }
}

/// Wraps a failure of the file.
pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(
    endpoint: &str,
) -> impl FnOnce(E) -> RelayError {
    let endpoint = endpoint.to_owned();
    move |error| RelayError::Failed { endpoint, source: Box::new(error) }
}

/// Refuses a message no relay of ours could carry.
pub(crate) fn check_size(message: &Message) -> Result<(), RelayError> {
    let bytes = message.body.len();
    if bytes > MAX_BODY { Err(RelayError::TooLarge { bytes, limit: MAX_BODY }) } else { Ok(()) }
}
