//! Removes the queues of endpoints that vanished.

use std::time::{Duration, Instant};

use mig_relay::RelayError;
use mig_store::Job;
use mig_types::duration;

use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// Added to the window, so that no endpoint falls between two runs.
const MARGIN: Duration = Duration::from_hours(2);

/// A scheduler that died in the middle is replaced after this long.
const LEASE: Duration = Duration::from_mins(10);

/// Deletes queues that nobody reads and that hold no command. A laptop that is
/// off for a day keeps what waits for it.
///
/// # Errors
///
/// When the store failed or the relay is away.
pub async fn run(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let begun = Instant::now();
    let settings = scheduler.settings();
    let now = scheduler.now();
    let held = scheduler.store().lease(Job::QueueCleanup, scheduler.owner(), LEASE, now).await;
    if !held.map_err(SchedulerError::store("lease the clean-up of queues"))? {
        tracing::debug!("QueuesCleanup(): another scheduler is at it");
        return Ok(());
    }
    let window = settings.agent_timeout + settings.queues_cleanup_frequency + MARGIN;
    let vanished = scheduler.store().vanished_endpoints(window, now).await;
    let vanished = vanished.map_err(SchedulerError::store("find vanished endpoints"))?;
    tracing::info!(
        "QueuesCleanup(): found {} offline endpoints between {} and now",
        vanished.len(),
        now - window
    );
    for queueloc in &vanished {
        match scheduler.relay().delete_if_unused(queueloc).await {
            Ok(true) => tracing::debug!("QueuesCleanup(): queue of '{queueloc}' is gone"),
            Ok(false) => {}
            Err(source @ (RelayError::Unavailable { .. } | RelayError::Refused { .. })) => {
                return Err(SchedulerError::Relay { doing: "delete a queue", source });
            }
            Err(error) => {
                tracing::warn!("QueuesCleanup(): queue of '{queueloc}' stays: {}", Chain(&error));
            }
        }
    }
    tracing::info!("QueuesCleanup(): done in {}", duration::format(begun.elapsed()));
    Ok(())
}
