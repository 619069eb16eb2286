//! Check-in mode: connect, work off what waits, end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::context::Context;
use crate::journal::JournalError;

/// Between two looks at what is left to do.
const LOOK: Duration = Duration::from_millis(200);

/// How long a check-in may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckIn {
    /// Silence of the relay after which nothing more is expected.
    pub wait: Duration,
    /// For all of it. What is not done then is done at the next check-in.
    pub limit: Duration,
}

/// How a check-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every command that came is answered, and the relay has the answers.
    Done,
    /// The limit passed first.
    Late,
}

/// Waits until nothing is left to do: the queue was silent for a while, no
/// command waits or runs, and no answer waits for the relay.
///
/// # Errors
///
/// When the journal fails.
pub async fn over(context: &Context, checkin: CheckIn) -> Result<Ended, JournalError> {
    timeout(checkin.limit, silence(context, checkin.wait)).await.unwrap_or(Ok(Ended::Late))
}

async fn silence(context: &Context, wait: Duration) -> Result<Ended, JournalError> {
    let mut listening = context.listening.subscribe();
    // The sender lives as long as the context.
    let _ = listening.wait_for(|listening| *listening).await;
    let mut arrived = *context.arrived.borrow();
    let mut since = Instant::now();
    loop {
        sleep(LOOK).await;
        let now = *context.arrived.borrow();
        let idle = context.journal.accepted() == 0
            && context.journal(|journal| journal.outbox(1, 1)).await?.is_empty();
        if now != arrived || !idle {
            arrived = now;
            since = Instant::now();
        } else if since.elapsed() >= wait {
            return Ok(Ended::Done);
        }
    }
}
