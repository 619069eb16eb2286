//! RabbitMQ behind the trait.
//!
//! Exchanges and queues are declared exactly as every other peer declares
//! them: durable, without arguments. A queue type or an expiry is the broker's
//! policy, or peers that redeclare the queue are turned away.

mod fault;
mod publish;
mod read;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use mig_types::QueueLoc;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::config::RelayConfig;
use crate::dial::Dialer;
use crate::link::Link;
use crate::names::{HEARTBEATS, RESULTS, patience, unavailable};
use crate::remote::RemoteConsumer;
use crate::{Consumer, Message, Relay, RelayError, Source};
use read::AmqpAttach;
use session::{AmqpConnector, Session};

/// A broker that answers nothing for this long is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct AmqpRelay {
    link: Arc<Link<Session>>,
    patience: Duration,
    /// The broker's queues cannot be deleted on condition (quorum queues), and
    /// asking costs the connection: asked once.
    keeps_queues: AtomicBool,
}

impl AmqpRelay {
    pub(crate) fn start(address: Address, dialer: Dialer, config: &RelayConfig) -> Self {
        let endpoint = address.to_string();
        // 16 bits of seconds on the wire; zero would mean no heartbeat at all.
        let heartbeat = u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
        let link = Link::start(endpoint, AmqpConnector { address, dialer, heartbeat });
        Self {
            link,
            patience: patience(config.connect_timeout),
            keeps_queues: AtomicBool::new(false),
        }
    }

    async fn session(&self) -> Result<Arc<Session>, RelayError> {
        self.link.session(Instant::now() + self.patience).await
    }

    /// Bounds what the broker is asked, and gives up a session that is silent.
    async fn bounded<T>(
        &self,
        session: &Session,
        work: impl Future<Output = Result<T, lapin::Error>>,
    ) -> Result<T, RelayError> {
        bounded(self.link.endpoint(), session, work).await
    }
}

/// See [`AmqpRelay::bounded`].
async fn bounded<T>(
    endpoint: &str,
    session: &Session,
    work: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, RelayError> {
    let Ok(outcome) = timeout(ANSWER_TIMEOUT, work).await else {
        session.end("the broker does not answer");
        return Err(unavailable(endpoint, "the broker does not answer"));
    };
    outcome.map_err(|error| fault::to_relay_error(endpoint, error))
}

#[async_trait]
impl Relay for AmqpRelay {
    async fn declare(&self) -> Result<(), RelayError> {
        let session = self.session().await?;
        self.bounded(&session, async {
            let channel = session.open_channel().await?;
            session::declare_exchanges(&channel).await?;
            for queue in [RESULTS, HEARTBEATS] {
                session::declare_queue(&channel, queue, crate::names::TO_SCHEDULERS, queue).await?;
            }
            channel.close(200, "OK".into()).await
        })
        .await
    }

    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), RelayError>> {
        match self.session().await {
            Ok(session) => publish::publish(self.link.endpoint(), &session, &messages).await,
            Err(error) => {
                let mut outcomes = vec![Err(error)];
                outcomes.extend(messages.iter().skip(1).map(|_| Err(self.link.absence())));
                outcomes.truncate(messages.len());
                outcomes
            }
        }
    }

    async fn consume(
        &self,
        source: Source,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, RelayError> {
        let attach = AmqpAttach::new(self.endpoint(), &source, prefetch)?;
        let deadline = Instant::now() + self.patience;
        let link = Arc::clone(&self.link);
        Ok(Box::new(RemoteConsumer::start(link, attach, prefetch, deadline).await?))
    }

    async fn delete_if_unused(&self, queueloc: &QueueLoc) -> Result<bool, RelayError> {
        if self.keeps_queues.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let session = self.session().await?;
        let queue = session::short(&queueloc.queue())
            .map_err(|error| fault::to_relay_error(self.link.endpoint(), error))?;
        let options = QueueDeleteOptions { if_unused: true, if_empty: true, nowait: false };
        let deleted = timeout(ANSWER_TIMEOUT, async {
            let channel = session.open_channel().await?;
            channel.queue_delete(queue, options).await?;
            channel.close(200, "OK".into()).await
        });
        match deleted.await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => match fault::code(&error) {
                Some(fault::PRECONDITION_FAILED) => Ok(false),
                Some(fault::NOT_IMPLEMENTED) => {
                    tracing::warn!(
                        "the broker cannot delete queues on condition; let a policy expire them"
                    );
                    self.keeps_queues.store(true, Ordering::Relaxed);
                    Ok(false)
                }
                _ => Err(fault::to_relay_error(self.link.endpoint(), error)),
            },
            Err(_) => {
                session.end("the broker does not answer");
                Err(unavailable(self.link.endpoint(), "the broker does not answer"))
            }
        }
    }

    async fn backlog(&self, source: &Source) -> Result<Option<u64>, RelayError> {
        let queue = match source {
            Source::Heartbeats => HEARTBEATS,
            Source::Results => RESULTS,
            Source::Agent(_) | Source::Events { .. } => return Ok(None),
        };
        let session = self.session().await?;
        let queue = session::short(queue)
            .map_err(|error| fault::to_relay_error(self.link.endpoint(), error))?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.bounded(&session, async {
            let channel = session.open_channel().await?;
            let state = channel.queue_declare(queue, passive, FieldTable::default()).await?;
            channel.close(200, "OK".into()).await?;
            Ok(Some(u64::from(state.message_count())))
        })
        .await
    }

    fn endpoint(&self) -> String {
        self.link.endpoint().to_owned()
    }

    fn proxy(&self) -> Option<String> {
        self.link.current().and_then(|session| session.proxy.clone())
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
