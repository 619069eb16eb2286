//! Looks at what no pass would notice by itself, for monitoring.

use std::time::Duration;

use mig_relay::Source;

use crate::error::SchedulerError;
use crate::scheduler::Scheduler;

/// Time between two looks.
pub(crate) const PERIOD: Duration = Duration::from_secs(15);

/// Counts what waits in the central queues and what is in flight.
///
/// # Errors
///
/// When the store failed or the relay is away.
#[expect(clippy::cast_precision_loss, reason = "no queue holds 2^53 messages")]
pub(crate) async fn run(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let in_flight = scheduler.store().count_in_flight().await;
    let in_flight = in_flight.map_err(SchedulerError::store("count commands in flight"))?;
    scheduler.metrics.in_flight.set(in_flight as f64);
    for (name, source) in [("heartbeats", Source::Heartbeats), ("results", Source::Results)] {
        match scheduler.relay().backlog(&source).await {
            Ok(Some(messages)) => scheduler.metrics.queues.set([name], messages as f64),
            Ok(None) => scheduler.metrics.queues.remove([name]),
            Err(error) => {
                // An old figure would be read as a new one.
                scheduler.metrics.queues.remove([name]);
                return Err(SchedulerError::Relay { doing: "look at a queue", source: error });
            }
        }
    }
    Ok(())
}
