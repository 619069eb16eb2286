//! What the relay itself needs: the same queues and bodies, and nobody who
//! reads, checks or stores anything.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mig_relay::{Message, Relay, RelayError, Route, Source};
use serde::Serialize;

use crate::fleet::Fleet;

/// Messages published together, as a scheduler does.
const BATCH: usize = 500;
/// Answers in hand at once.
const PREFETCH: u16 = 1000;
/// How long the relay keeps a message.
const TTL: Duration = Duration::from_mins(10);

/// One run of the bare loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Floor {
    pub messages: usize,
    /// From the first message published to the last answer acknowledged.
    pub took: Duration,
}

/// Why the bare loop did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloorError {
    #[error("the relay failed")]
    Relay(#[from] RelayError),
    #[error("{missing} of {messages} answers did not come in time")]
    Late { missing: usize, messages: usize },
}

/// Publishes one message of `body` to each agent, which sends it back, and
/// reads and acknowledges the answers. All of it durable and confirmed, as in
/// earnest. No scheduler may read the results meanwhile.
///
/// # Errors
///
/// [`FloorError`] when the relay fails or `limit` passes.
pub async fn floor(
    relay: &dyn Relay,
    fleet: &Fleet,
    body: &Bytes,
    limit: Duration,
) -> Result<Floor, FloorError> {
    relay.declare().await?;
    let mut answers = relay.consume(Source::Results, PREFETCH).await?;
    let plan = fleet.plan();
    let mut messages: Vec<Message> = (0..plan.agents)
        .filter_map(|number| plan.queueloc(number))
        .map(|queueloc| Message { route: Route::Agent(queueloc), body: body.clone(), ttl: TTL })
        .collect();
    let total = messages.len();
    fleet.set_bare(true);
    let start = Instant::now();
    let publish = async {
        while !messages.is_empty() {
            let rest = messages.split_off(messages.len().min(BATCH));
            for outcome in relay.publish(std::mem::replace(&mut messages, rest)).await {
                outcome?;
            }
        }
        Ok::<_, RelayError>(())
    };
    let mut seen = 0;
    let read = async {
        while seen < total {
            let batch = answers.next_batch(usize::from(PREFETCH), Duration::ZERO).await?;
            seen += batch.len();
            let tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
            answers.ack(&tags).await?;
        }
        Ok::<_, RelayError>(())
    };
    let both = async { tokio::try_join!(publish, read) };
    let outcome = tokio::time::timeout(limit, both).await;
    fleet.set_bare(false);
    match outcome {
        Ok(outcome) => outcome?,
        Err(_) => return Err(FloorError::Late { missing: total - seen, messages: total }),
    };
    Ok(Floor { messages: total, took: start.elapsed() })
}
