//! Reading a queue of a broker.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::session::{Session, declare_exchanges, declare_queue, short};
use super::{ANSWER_TIMEOUT, bounded};
use crate::hands::Settled;
use crate::names::{self, Binding, unavailable};
use crate::remote::{Attach, Feed};
use crate::{Delivery, RelayError, Source};

pub(super) struct AmqpAttach {
    endpoint: String,
    asked: Asked,
}

/// What is read, and how.
#[derive(Clone)]
struct Asked {
    binding: Binding,
    /// The reader owns the exchanges too: it is a scheduler.
    central: bool,
    prefetch: u16,
}

/// A consumer and the channel it reads over.
type Reading = (Channel, lapin::Consumer);

impl AmqpAttach {
    pub(super) fn new(
        endpoint: String,
        source: &Source,
        prefetch: u16,
    ) -> Result<Self, RelayError> {
        let binding = names::binding(source, &endpoint)?;
        let central = matches!(source, Source::Results | Source::Heartbeats);
        Ok(Self { endpoint, asked: Asked { binding, central, prefetch } })
    }

    /// Opens a channel and reads the queue over it.
    ///
    /// In a task of its own: a reader that the broker was asked for and that
    /// nobody waits for any more would stay, and keep its share of the messages
    /// from the next one.
    async fn read(&self, session: &Arc<Session>) -> Result<Reading, lapin::Error> {
        let (told, reading) = oneshot::channel();
        let (asked, session) = (self.asked.clone(), Arc::clone(session));
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = asked.read(&session) => outcome,
                _ = session.over() => return,
            };
            if let Err(Ok((channel, consumer))) = told.send(outcome) {
                let closing = channel.close(200, "OK".into());
                if !matches!(timeout(ANSWER_TIMEOUT, closing).await, Ok(Ok(()))) {
                    session.end("a reader could not be ended");
                }
                drop(consumer);
            }
        });
        reading.await.unwrap_or_else(|_| Err(std::io::Error::other("the session is over").into()))
    }
}

impl Asked {
    async fn read(&self, session: &Session) -> Result<Reading, lapin::Error> {
        let channel = session.open_channel().await?;
        // For this channel's readers, not for all of the connection.
        channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
        if self.central {
            declare_exchanges(&channel).await?;
        }
        let Binding { queue, exchange, key } = &self.binding;
        declare_queue(&channel, queue, exchange, key).await?;
        let options = BasicConsumeOptions::default();
        let tag = short("")?;
        let consumer =
            channel.basic_consume(short(queue)?, tag, options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }
}

#[async_trait]
impl Attach for AmqpAttach {
    type Session = Session;
    type Feed = AmqpFeed;

    async fn attach(&self, session: &Arc<Session>) -> Result<AmqpFeed, RelayError> {
        let (channel, consumer) = bounded(&self.endpoint, session, self.read(session)).await?;
        let session = Arc::clone(session);
        Ok(AmqpFeed { endpoint: self.endpoint.clone(), consumer, channel, session })
    }
}

/// A consumer and its channel. Both close when dropped, and the broker takes
/// back what was not acknowledged.
pub(super) struct AmqpFeed {
    endpoint: String,
    consumer: lapin::Consumer,
    channel: Channel,
    session: Arc<Session>,
}

#[async_trait]
impl Feed for AmqpFeed {
    async fn next(&mut self) -> Option<Delivery> {
        let next = tokio::select! {
            next = self.consumer.next() => next,
            // The stream ends by itself, unless its connection hangs.
            _ = self.session.over() => None,
        };
        match next? {
            Ok(delivery) => Some(Delivery {
                tag: delivery.delivery_tag,
                body: Bytes::from(delivery.data),
                redelivered: delivery.redelivered,
            }),
            Err(error) => {
                tracing::debug!(%error, "a queue can no longer be read");
                None
            }
        }
    }

    async fn ack(&mut self, settled: Settled) -> Result<(), RelayError> {
        let lost = |error: lapin::Error| unavailable(&self.endpoint, error.to_string());
        if settled.all_up_to_last
            && let Some(last) = settled.tags.last()
        {
            let multiple = BasicAckOptions { multiple: true };
            return self.channel.basic_ack(*last, multiple).await.map_err(lost);
        }
        for tag in settled.tags {
            self.channel.basic_ack(tag, BasicAckOptions::default()).await.map_err(lost)?;
        }
        Ok(())
    }

    async fn requeue(&mut self, settled: Settled) -> Result<(), RelayError> {
        let lost = |error: lapin::Error| unavailable(&self.endpoint, error.to_string());
        for tag in settled.tags {
            let options = BasicNackOptions { requeue: true, multiple: false };
            self.channel.basic_nack(tag, options).await.map_err(lost)?;
        }
        Ok(())
    }
}
