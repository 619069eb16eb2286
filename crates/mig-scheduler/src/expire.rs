//! Ends what took too long and what is complete.

use std::time::Duration;

use mig_types::{Action, Timestamp, duration};

use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// How long results under way are waited for after an action's end.
pub const GRACE: Duration = Duration::from_secs(5);

/// Expires commands and actions whose time has passed, completes actions
/// without a command in flight, and logs how the others get on.
///
/// # Errors
///
/// When the store failed.
pub async fn run(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let now = scheduler.now();
    let swept = scheduler.store().sweep_expired_actions(now).await;
    for id in swept.map_err(SchedulerError::store("sweep expired actions"))? {
        scheduler.metrics.refused.add(["expired"], 1);
        tracing::warn!(action.id = %id, "action is invalid: it expired before it could run");
    }
    let expired = scheduler.store().expire_commands(GRACE, now).await;
    for (id, count) in expired.map_err(SchedulerError::store("expire commands"))? {
        tracing::info!(action.id = %id, "expiring {count} commands of action {id}");
        scheduler.metrics.results.add(["expired"], count);
        scheduler.touch([id]);
    }
    complete(scheduler).await?;
    log_progress(scheduler).await
}

/// Completes every action without a command in flight.
pub(crate) async fn complete(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let now = scheduler.now();
    let completed = scheduler.store().complete_actions(now).await;
    for action in completed.map_err(SchedulerError::store("complete actions"))? {
        scheduler.untouch(action.id);
        scheduler.metrics.actions.add(["completed"], 1);
        if let Some(spool) = scheduler.spool()
            && let Err(error) = spool.land(&action).await
        {
            tracing::warn!(action.id = %action.id, "spool: {}", Chain(&error));
        }
        log_action(&action, now);
        tracing::info!(action.id = %action.id, "action '{}' is completed", action.name);
    }
    Ok(())
}

/// One line for each action that changed since the last time. Counting for
/// every batch of results would cost more than storing them.
async fn log_progress(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    for id in scheduler.take_touched() {
        let action = scheduler.store().action(id).await;
        if let Some(action) = action.map_err(SchedulerError::store("read an action"))? {
            log_action(&action, scheduler.now());
        }
    }
    Ok(())
}

fn log_action(action: &Action, now: Timestamp) {
    let counters = &action.counters;
    tracing::info!(
        action.id = %action.id,
        "updated action '{}': progress={}/{}, success={}, cancelled={}, expired={}, failed={}, \
         timeout={}, duration={}",
        action.name,
        counters.done,
        counters.sent,
        counters.success,
        counters.cancelled,
        counters.expired,
        counters.failed,
        counters.timeout,
        duration::format(now.since(action.starttime))
    );
}
