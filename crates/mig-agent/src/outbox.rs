//! Delivers answers: each stays in the journal until the relay has confirmed it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Message, RelayError, Route};
use mig_runtime::Shutdown;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::journal::{JournalError, Outgoing};
use crate::report;

/// Answers sent together.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 4 << 20;
/// Longest wait before the relay is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last answers may take when the agent stops.
const LAST_CALL: Duration = Duration::from_secs(5);
/// An answer is offered at least that long, even if it seems too late: the clock
/// may have jumped, and whoever does not want it any more drops it.
const SHORTEST_TTL: Duration = Duration::from_mins(1);

/// Delivers until `stop`, then once more.
///
/// # Errors
///
/// When the journal fails.
pub async fn deliver(context: Arc<Context>, stop: Shutdown) -> Result<(), JournalError> {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    loop {
        let pause = match step(&context).await? {
            Step::Empty => None,
            Step::Sent => {
                backoff.reset();
                continue;
            }
            Step::Failed(error) => {
                let delay = backoff.delay();
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Publication to relay is failing"
                );
                Some(delay)
            }
        };
        let wake = async {
            match pause {
                Some(delay) => tokio::time::sleep(delay).await,
                None => context.posted.notified().await,
            }
        };
        tokio::select! {
            () = stop.requested() => break,
            () = wake => {}
        }
    }
    let last = async {
        while matches!(step(&context).await?, Step::Sent) {}
        Ok(())
    };
    tracing::debug!("closing sendResults channel");
    // What is not delivered now is at the next start.
    tokio::time::timeout(LAST_CALL, last).await.unwrap_or(Ok(()))
}

enum Step {
    Empty,
    Sent,
    Failed(RelayError),
}

/// Delivers one batch.
async fn step(context: &Context) -> Result<Step, JournalError> {
    let now = context.clock.now();
    let batch = context.journal(|journal| journal.outbox(BATCH, BATCH_BYTES)).await?;
    if batch.is_empty() {
        return Ok(Step::Empty);
    }
    let mut done = Vec::new();
    let mut messages = Vec::new();
    for (seq, Outgoing { expires, body }) in batch {
        messages.push((seq, expires, Bytes::from(body)));
    }
    let outgoing = messages
        .iter()
        .map(|(_, expires, body)| Message {
            route: Route::Results,
            body: body.clone(),
            ttl: expires.since(now).max(SHORTEST_TTL),
        })
        .collect();
    let outcomes = context.relay.publish(outgoing).await;
    let mut failure = None;
    for ((seq, expires, body), outcome) in messages.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => {
                tracing::debug!(
                    "Message published to exchange 'toschedulers' with routing key 'mig.agt.results'"
                );
                done.push(seq);
            }
            Err(RelayError::TooLarge { bytes, limit }) => {
                if let Some(body) = report::shrink(&body, limit) {
                    tracing::warn!("an answer of {bytes} bytes is cut to the relay's {limit}");
                    let message = Outgoing { expires, body };
                    context.journal(move |journal| journal.repost(seq, &message)).await?;
                } else {
                    tracing::error!("an answer of {bytes} bytes cannot be made to fit {limit}");
                    done.push(seq);
                }
            }
            Err(error) => failure = Some(error),
        }
    }
    if !done.is_empty() {
        context.journal(move |journal| journal.clear(&done)).await?;
        context.room.notify_one();
    }
    Ok(failure.map_or(Step::Sent, Step::Failed))
}
