//! The relay as an agent sees it over WebSocket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mig_types::QueueLoc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::frame::{Failure, MAX_TAGS, ToServer};
use super::session::{Session, WsConnector};
use crate::address::Address;
use crate::config::RelayConfig;
use crate::dial::Dialer;
use crate::hands::Settled;
use crate::link::Link;
use crate::local::check_size;
use crate::names::{patience, refused, unavailable};
use crate::remote::{Attach, Feed, RemoteConsumer};
use crate::{Consumer, Delivery, Message, Relay, RelayError, Source};

/// A server that answers nothing for this long is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct WsRelay {
    link: Arc<Link<Session>>,
    patience: Duration,
}

impl WsRelay {
    pub(crate) fn start(address: Address, dialer: Dialer, config: &RelayConfig) -> Self {
        let endpoint = address.to_string();
        let heartbeat = config.heartbeat.clamp(Duration::from_secs(1), Duration::from_mins(1));
        let link = Link::start(endpoint, WsConnector { address, dialer, heartbeat });
        Self { link, patience: patience(config.connect_timeout) }
    }

    fn endpoint_text(&self) -> &str {
        self.link.endpoint()
    }

    fn schedulers_only(&self) -> RelayError {
        refused(self.endpoint_text(), "only schedulers do this, and they are with the relay")
    }

    /// Sends messages; one pending answer or error each.
    async fn send(
        &self,
        session: &Session,
        messages: Vec<Message>,
    ) -> Vec<Result<(usize, oneshot::Receiver<Result<(), Failure>>), RelayError>> {
        let mut pending = Vec::with_capacity(messages.len());
        for message in messages {
            if let Err(error) = check_size(&message) {
                pending.push(Err(error));
                continue;
            }
            let bytes = message.body.len();
            let request = session.request(|id| ToServer::Publish { id, message });
            pending.push(match timeout(ANSWER_TIMEOUT, request).await {
                Ok(Ok(answer)) => Ok((bytes, answer)),
                Ok(Err(lost)) => Err(unavailable(self.endpoint_text(), lost.to_string())),
                Err(_) => {
                    session.end("the relay takes nothing");
                    Err(unavailable(self.endpoint_text(), "the relay takes nothing"))
                }
            });
        }
        pending
    }
}

/// Waits for an answer, ending a session that gives none.
async fn answer(
    session: &Session,
    endpoint: &str,
    bytes: usize,
    answer: oneshot::Receiver<Result<(), Failure>>,
) -> Result<(), RelayError> {
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(failure))) => Err(failure.into_error(endpoint, bytes)),
        Ok(Err(_)) => Err(unavailable(endpoint, "the connection was lost")),
        Err(_) => {
            session.end("the relay does not answer");
            Err(unavailable(endpoint, "the relay does not answer"))
        }
    }
}

#[async_trait]
impl Relay for WsRelay {
    async fn declare(&self) -> Result<(), RelayError> {
        Err(self.schedulers_only())
    }

    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), RelayError>> {
        let session = match self.link.session(Instant::now() + self.patience).await {
            Ok(session) => session,
            Err(error) => {
                let mut outcomes = vec![Err(error)];
                outcomes.extend(messages.iter().skip(1).map(|_| Err(self.link.absence())));
                outcomes.truncate(messages.len());
                return outcomes;
            }
        };
        let mut outcomes = Vec::with_capacity(messages.len());
        for pending in self.send(&session, messages).await {
            outcomes.push(match pending {
                Ok((bytes, waiting)) => {
                    answer(&session, self.endpoint_text(), bytes, waiting).await
                }
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    async fn consume(
        &self,
        source: Source,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, RelayError> {
        let attach = WsAttach { endpoint: self.endpoint(), source, prefetch };
        let deadline = Instant::now() + self.patience;
        let link = Arc::clone(&self.link);
        Ok(Box::new(RemoteConsumer::start(link, attach, prefetch, deadline).await?))
    }

    async fn delete_if_unused(&self, _queueloc: &QueueLoc) -> Result<bool, RelayError> {
        Err(self.schedulers_only())
    }

    fn endpoint(&self) -> String {
        self.endpoint_text().to_owned()
    }

    fn proxy(&self) -> Option<String> {
        self.link.current().and_then(|session| session.proxy.clone())
    }

    async fn close(&self) {
        self.link.close().await;
    }
}

struct WsAttach {
    endpoint: String,
    source: Source,
    prefetch: u16,
}

/// A consumer on the server; dropping it ends the consumer there.
struct WsFeed {
    session: Arc<Session>,
    endpoint: String,
    consumer: u64,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

#[async_trait]
impl Attach for WsAttach {
    type Session = Session;
    type Feed = WsFeed;

    async fn attach(&self, session: &Arc<Session>) -> Result<WsFeed, RelayError> {
        let consumer = session.reserve_id();
        // Made before the request, so that giving up half-way ends it.
        let feed = WsFeed {
            session: Arc::clone(session),
            endpoint: self.endpoint.clone(),
            consumer,
            deliveries: session.deliveries(consumer),
        };
        let (source, prefetch) = (self.source.clone(), self.prefetch);
        let request = ToServer::Consume { id: consumer, source, prefetch };
        let waiting = session
            .request_as(consumer, request)
            .await
            .map_err(|lost| unavailable(&self.endpoint, lost.to_string()))?;
        answer(session, &self.endpoint, 0, waiting).await?;
        Ok(feed)
    }
}

impl WsFeed {
    async fn settle(
        &self,
        settled: Settled,
        frame: fn(u64, u64, Vec<u64>) -> ToServer,
    ) -> Result<(), RelayError> {
        for tags in settled.tags.chunks(MAX_TAGS) {
            let request = self.session.request(|id| frame(id, self.consumer, tags.to_vec()));
            let waiting =
                request.await.map_err(|lost| unavailable(&self.endpoint, lost.to_string()))?;
            answer(&self.session, &self.endpoint, 0, waiting).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Feed for WsFeed {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    async fn ack(&mut self, settled: Settled) -> Result<(), RelayError> {
        self.settle(settled, |id, consumer, tags| ToServer::Ack { id, consumer, tags }).await
    }

    async fn requeue(&mut self, settled: Settled) -> Result<(), RelayError> {
        self.settle(settled, |id, consumer, tags| ToServer::Requeue { id, consumer, tags }).await
    }
}

impl Drop for WsFeed {
    fn drop(&mut self) {
        self.session.cancel(self.consumer);
    }
}
