//! Looks after silent agents, statistics and old spool files.

use std::time::Instant;

use mig_store::{Job, Liveness};
use mig_types::duration;

use crate::duplicates;
use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// Heartbeats an agent may miss before it is idle.
const MISSED: u32 = 5;

/// Cleans the spool, marks silent agents, appends statistics. A step that
/// fails does not keep the others from running.
///
/// # Errors
///
/// When the store failed.
pub async fn run(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let begun = Instant::now();
    tracing::info!("initiating periodic run");
    let settings = scheduler.settings();
    let now = scheduler.now();
    if let Some(spool) = scheduler.spool()
        && let Err(error) = spool.clean(settings.delete_after, now).await
    {
        tracing::warn!("old spool files stay: {}", Chain(&error));
    }
    let liveness = Liveness {
        idle_after: settings.heartbeat_frequency * MISSED,
        offline_after: settings.agent_timeout,
    };
    let swept = match scheduler.store().sweep_agents(liveness, now).await {
        Ok((offline, idle)) => {
            if offline + idle > 0 {
                tracing::info!("{offline} agents went offline, {idle} idle");
            }
            Ok(())
        }
        Err(source) => Err(SchedulerError::Store { doing: "mark silent agents", source }),
    };
    let counted = statistics(scheduler).await;
    let detected = duplicates::run(scheduler).await;
    swept?;
    counted?;
    detected?;
    tracing::info!("periodic run done in {}", duration::format(begun.elapsed()));
    Ok(())
}

/// Counts agents. One of several schedulers does it, and goes on doing it while
/// it lives.
async fn statistics(scheduler: &Scheduler) -> Result<(), SchedulerError> {
    let now = scheduler.now();
    if !scheduler.leads(Job::Statistics, now).await? {
        return Ok(());
    }
    let begun = Instant::now();
    let stats = scheduler.store().store_stats(now).await;
    let stats = stats.map_err(SchedulerError::store("store statistics"))?;
    let pruned = scheduler.store().prune_stats(scheduler.settings().keep_statistics, now).await;
    pruned.map_err(SchedulerError::store("delete old statistics"))?;
    tracing::debug!("statistics took {} to run", duration::format(begun.elapsed()));
    let gauges = &scheduler.metrics.agents;
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 agents")]
    for (status, count) in [("online", stats.online_agents), ("idle", stats.idle_agents)] {
        gauges.set([status], count as f64);
    }
    tracing::debug!(
        "{} agents online on {} endpoints, {} idle on {}",
        stats.online_agents,
        stats.online_endpoints,
        stats.idle_agents,
        stats.idle_endpoints
    );
    Ok(())
}
