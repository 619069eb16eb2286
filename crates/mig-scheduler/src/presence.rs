//! Tells, through the store, that a scheduler works and reaches the relay: the
//! API sees neither, and investigators ask it when nothing is answered.

use std::time::Duration;

use mig_relay::Source;
use mig_store::Sign;
use tokio::time::timeout;

use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// Time between two signs of life.
pub(crate) const PERIOD: Duration = Duration::from_secs(4);
/// How long one counts: the next two may be late.
const HOLDS: Duration = Duration::from_secs(12);
/// Time the relay gets to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Gives a sign of life, and one for the relay if it answers.
///
/// # Errors
///
/// When the store failed.
pub(crate) async fn run(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    tell(scheduler, Sign::Scheduler).await?;
    match timeout(PATIENCE, scheduler.relay().backlog(&Source::Heartbeats)).await {
        Ok(Ok(_)) => tell(scheduler, Sign::Relay).await,
        // Whoever needs the relay complains about it; here silence says it.
        Ok(Err(error)) => {
            tracing::debug!("the relay does not answer: {}", Chain(&error));
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

async fn tell(scheduler: &Scheduler, sign: Sign) -> Result<(), SchedulerError> {
    let told = scheduler.store().tell(sign, scheduler.now() + HOLDS).await;
    told.map_err(SchedulerError::store("tell that we work"))
}
