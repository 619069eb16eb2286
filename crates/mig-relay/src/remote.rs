//! Reading a queue of a relay elsewhere, across lost connections.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::hands::{Hands, Settled};
use crate::link::Link;
use crate::{Consumer, Delivery, RelayError};

/// How long to wait before asking again a relay that is there and cannot serve
/// us yet.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A batch that waits to fill up looks this often for what came.
const NAPS: u32 = 8;

/// Starts reading over a session.
#[async_trait]
pub(crate) trait Attach: Send + Sync + 'static {
    type Session: Send + Sync + 'static;
    type Feed: Feed;

    /// Declares what the source needs and reads it; bounded in time. Dropping
    /// the future leaves no reader behind.
    async fn attach(&self, session: &Arc<Self::Session>) -> Result<Self::Feed, RelayError>;
}

/// Deliveries of one session. Dropping it gives back what is unacknowledged.
#[async_trait]
pub(crate) trait Feed: Send + 'static {
    /// The next delivery, tagged by the relay; `None` when the feed is over.
    /// Cancel-safe.
    async fn next(&mut self) -> Option<Delivery>;

    async fn ack(&mut self, settled: Settled) -> Result<(), RelayError>;

    async fn requeue(&mut self, settled: Settled) -> Result<(), RelayError>;
}

/// A reader that attaches again whenever its feed ends.
pub(crate) struct RemoteConsumer<A: Attach> {
    link: Arc<Link<A::Session>>,
    attach: Arc<A>,
    /// Zero: no bound.
    prefetch: usize,
    feed: Option<A::Feed>,
    /// Attaching again; kept over cancelled waits, or a caller that waits in
    /// short turns would never see the end of it.
    attaching: Option<Attaching<A::Feed>>,
    hands: Hands,
    /// The newest refusal the caller has heard of.
    told: u64,
}

/// What becomes of attaching, with the newest refusal it told.
type Attaching<F> = Pin<Box<dyn Future<Output = (u64, Result<F, RelayError>)> + Send>>;

impl<A: Attach> RemoteConsumer<A> {
    /// Attaches for the first time, trying until `deadline`.
    pub(crate) async fn start(
        link: Arc<Link<A::Session>>,
        attach: A,
        prefetch: u16,
        deadline: Instant,
    ) -> Result<Self, RelayError> {
        let mut pause = RETRY.0;
        let feed = loop {
            let session = link.session(deadline).await?;
            match timeout_at(deadline, attach.attach(&session)).await {
                Ok(Ok(feed)) => break feed,
                Ok(Err(error)) if !is_passing(&error) => return Err(error),
                Ok(Err(error)) if Instant::now() + pause >= deadline => return Err(error),
                Ok(Err(_)) => sleep(pause).await,
                Err(_) => return Err(link.absence()),
            }
            pause = (pause * 2).min(RETRY.1);
        };
        let prefetch = usize::from(prefetch);
        let (feed, attach, hands) = (Some(feed), Arc::new(attach), Hands::default());
        Ok(Self { link, attach, prefetch, feed, attaching: None, hands, told: 0 })
    }

    /// Attaches again, however long it takes. Cancel-safe.
    async fn attached(&mut self) -> Result<&mut A::Feed, RelayError> {
        if self.feed.is_none() {
            let attaching = self.attaching.get_or_insert_with(|| {
                let (link, attach) = (Arc::clone(&self.link), Arc::clone(&self.attach));
                Box::pin(attach_again(link, attach, self.told))
            });
            let (told, outcome) = attaching.await;
            self.attaching = None;
            self.told = told;
            self.feed = Some(outcome?);
        }
        self.feed.as_mut().ok_or_else(|| self.link.absence())
    }

    /// Whether waiting longer cannot fill the batch further.
    fn is_full(&self, max: usize) -> bool {
        self.hands.ready() >= max || (self.prefetch > 0 && self.hands.total() >= self.prefetch)
    }
}

async fn attach_again<A: Attach>(
    link: Arc<Link<A::Session>>,
    attach: Arc<A>,
    mut told: u64,
) -> (u64, Result<A::Feed, RelayError>) {
    let mut pause = RETRY.0;
    loop {
        let session = match link.session_whenever(&mut told).await {
            Ok(session) => session,
            Err(error) => return (told, Err(error)),
        };
        match attach.attach(&session).await {
            Err(error) if is_passing(&error) => {
                tracing::debug!(relay = %link.endpoint(), %error, "cannot read the queue yet");
                drop(session);
                sleep(pause).await;
            }
            outcome => return (told, outcome),
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Whether another try may help.
fn is_passing(error: &RelayError) -> bool {
    matches!(error, RelayError::Unavailable { .. } | RelayError::Failed { .. })
}

#[async_trait]
impl<A: Attach> Consumer for RemoteConsumer<A> {
    async fn next_batch(
        &mut self,
        max: usize,
        linger: Duration,
    ) -> Result<Vec<Delivery>, RelayError> {
        let max = max.max(1);
        let mut until = None;
        loop {
            let ready = self.hands.ready();
            let feed = self.attached().await?;
            let next = if ready == 0 {
                feed.next().await
            } else if let Some(next) = feed.next().now_or_never() {
                next
            } else {
                let now = Instant::now();
                let until = *until.get_or_insert(now + linger);
                if now >= until {
                    return Ok(self.hands.hand_over(max));
                }
                // Not woken by each message that comes meanwhile: while they pour, that
                // would cost more than reading them.
                sleep_until(until.min(now + linger / NAPS)).await;
                continue;
            };
            if let Some(delivery) = next {
                self.hands.receive(delivery);
                if self.is_full(max) {
                    return Ok(self.hands.hand_over(max));
                }
            } else {
                self.feed = None;
                self.hands.let_go();
                until = None;
            }
        }
    }

    async fn ack(&mut self, tags: &[u64]) -> Result<(), RelayError> {
        let settled = self.hands.settle(tags);
        match &mut self.feed {
            Some(feed) if !settled.tags.is_empty() => feed.ack(settled).await,
            _ => Ok(()),
        }
    }

    async fn requeue(&mut self, tags: &[u64]) -> Result<(), RelayError> {
        let settled = self.hands.settle(tags);
        match &mut self.feed {
            Some(feed) if !settled.tags.is_empty() => feed.requeue(settled).await,
            _ => Ok(()),
        }
    }
}
