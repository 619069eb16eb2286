//! Ends agents that share an endpoint: the queue is one, and commands would
//! reach now this and now that agent.

use std::time::Duration;

use mig_sign::canonical::action_string;
use mig_store::{Job, KillOrder, StoreError};
use mig_types::{Action, ActionStatus, Agent, AgentStatus, Operation, Timestamp};
use serde_json::json;

use crate::error::SchedulerError;
use crate::identity::Identity;
use crate::scheduler::Scheduler;

/// Both agents were heard of twice within this many heartbeats.
const WINDOW: u32 = 3;
/// A destroyed agent that still speaks is ordered again after this many.
const AGAIN: u32 = 3;
/// How long an order may be carried out.
pub const VALIDITY: Duration = Duration::from_mins(30);
/// Clocks of agents may run behind by this much.
const EARLY: Duration = Duration::from_mins(1);
/// Orders in one pass: a fleet that was cloned by accident is not to be shot
/// at all at once.
const MAX_ORDERS: usize = 16;
/// Times an identifier is drawn again when it is taken.
const DRAWS: u32 = 3;

/// Looks for endpoints with several agents and, as configured, orders the end
/// of one of them or says that somebody should look. Returns the orders given.
/// One of several schedulers does it.
///
/// # Errors
///
/// When the store failed or an order could not be signed.
pub async fn run(scheduler: &Scheduler) -> Result<usize, SchedulerError> {
    let settings = scheduler.settings();
    if !settings.detect_duplicates {
        return Ok(0);
    }
    let now = scheduler.now();
    if !scheduler.leads(Job::Duplicates, now).await? {
        return Ok(0);
    }
    let window = settings.heartbeat_frequency * WINDOW;
    let groups = scheduler.store().duplicate_agents(window, now).await;
    let groups = groups.map_err(SchedulerError::store("find duplicate agents"))?;
    let mut orders = 0;
    for agents in groups {
        if !settings.kill_duplicates {
            warn(&agents);
            continue;
        }
        if orders == MAX_ORDERS {
            tracing::warn!("more endpoints have several agents; they are next");
            break;
        }
        let Some(victim) = victim(&agents, settings.heartbeat_frequency * AGAIN, now) else {
            continue;
        };
        if order(scheduler, victim, now).await? {
            orders += 1;
        }
    }
    Ok(orders)
}

fn is_live(agent: &Agent) -> bool {
    matches!(agent.status, Some(AgentStatus::Online | AgentStatus::Idle))
}

fn warn(agents: &[Agent]) {
    let live: Vec<&Agent> = agents.iter().filter(|agent| is_live(agent)).collect();
    let [first, _, ..] = live.as_slice() else { return };
    let names: Vec<&str> = live.iter().map(|agent| agent.name.as_str()).collect();
    tracing::warn!(
        "found {} agents running on {}. Require manual inspection ({}).",
        live.len(),
        first.queueloc,
        names.join(", ")
    );
}

/// Which agent must go: one that was ordered to, and did not, or else the one
/// that started first. `None` while an order may still be carried out, or when
/// nobody would be left to carry it out.
fn victim(agents: &[Agent], again_after: Duration, now: Timestamp) -> Option<&Agent> {
    let survivors = agents.iter().filter(|agent| is_live(agent)).count();
    let destroyed = agents.iter().filter(|agent| agent.status == Some(AgentStatus::Destroyed));
    let overdue = destroyed.clone().find(|agent| agent.destructiontime <= now - again_after);
    if let Some(agent) = overdue
        && survivors > 0
    {
        return Some(agent);
    }
    if destroyed.count() > 0 || survivors < 2 {
        return None;
    }
    // The list begins with the agent that started first.
    let online = agents.iter().find(|agent| agent.status == Some(AgentStatus::Online));
    online.or_else(|| agents.iter().find(|agent| is_live(agent)))
}

async fn order(
    scheduler: &Scheduler,
    victim: &Agent,
    now: Timestamp,
) -> Result<bool, SchedulerError> {
    let identity = scheduler.identity().await?;
    for _ in 0..DRAWS {
        let action = action(identity, victim, scheduler, now)?;
        let signature = action.pgpsignatures.first().cloned().unwrap_or_default();
        let kill = KillOrder {
            action,
            signer: (identity.id, signature),
            victim: victim.id,
            again_after: scheduler.settings().heartbeat_frequency * AGAIN,
        };
        match scheduler.store().order_kill(&kill, now).await {
            Ok(true) => {
                announce(scheduler, &kill.action, victim).await;
                return Ok(true);
            }
            Ok(false) => return Ok(false),
            // Somebody drew the same identifier; the next one is free.
            Err(StoreError::Conflict { .. }) => {}
            Err(source) => {
                return Err(SchedulerError::Store { doing: "order the end of an agent", source });
            }
        }
    }
    let source = StoreError::Conflict { what: "action".to_owned() };
    Err(SchedulerError::Store { doing: "order the end of an agent", source })
}

async fn announce(scheduler: &Scheduler, action: &Action, victim: &Agent) {
    tracing::warn!(
        action.id = %action.id,
        "several agents run on '{}': agent '{}' with pid {} is ordered to end",
        victim.queueloc,
        victim.name,
        victim.pid
    );
    scheduler.metrics.kill_orders.add(1);
    if let Some(spool) = scheduler.spool()
        && let Err(error) = spool.show(action).await
    {
        tracing::warn!("kill order is not in the spool: {}", crate::error::Chain(&error));
    }
    scheduler.wake.dispatch.notify_one();
}

/// The signed order. Its target names the endpoint, because the victim is no
/// target any more: the agent that stays ends the other one.
fn action(
    identity: &Identity,
    victim: &Agent,
    scheduler: &Scheduler,
    now: Timestamp,
) -> Result<Action, SchedulerError> {
    let mut action = Action {
        id: scheduler.ids().action(now),
        name: format!("Kill agent {}", victim.name),
        target: format!("queueloc='{}'", victim.queueloc.replace('\'', "''")),
        validfrom: now - EARLY,
        expireafter: now + VALIDITY,
        operations: Some(vec![Operation {
            module: "agentdestroy".to_owned(),
            parameters: json!({ "pid": victim.pid, "version": victim.version }),
            ..Operation::default()
        }]),
        syntaxversion: 2,
        status: Some(ActionStatus::Pending),
        starttime: Timestamp::NOT_STARTED,
        lastupdatetime: Timestamp::NOT_STARTED,
        finishtime: Timestamp::NEVER,
        ..Action::default()
    };
    let sign = || -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(identity.key.sign(&action_string(&action)?, now)?)
    };
    let signature = sign().map_err(|source| SchedulerError::Identity { source })?;
    action.pgpsignatures = vec![signature];
    Ok(action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::AgentId;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T12:00:00Z").unwrap()
    }

    fn agent(id: u64, status: AgentStatus, destroyed_minutes_ago: u64) -> Agent {
        Agent {
            id: AgentId::new(id).unwrap(),
            status: Some(status),
            destructiontime: now() - Duration::from_mins(destroyed_minutes_ago),
            ..Agent::default()
        }
    }

    #[test]
    fn the_oldest_goes_unless_an_order_is_under_way() {
        use AgentStatus::{Destroyed, Idle, Online};

        for (agents, expected) in [
            (vec![], None),
            (vec![agent(1, Online, 0)], None),
            (vec![agent(1, Online, 0), agent(2, Online, 0)], Some(1)),
            (vec![agent(1, Idle, 0), agent(2, Online, 0)], Some(2)),
            (vec![agent(1, Idle, 0), agent(2, Idle, 0)], Some(1)),
            // Ordered five minutes ago, then a quarter of an hour ago.
            (vec![agent(1, Destroyed, 5), agent(2, Online, 0)], None),
            (vec![agent(1, Destroyed, 15), agent(2, Online, 0)], Some(1)),
            (vec![agent(1, Destroyed, 5), agent(2, Online, 0), agent(3, Online, 0)], None),
            // Nobody is left to do it.
            (vec![agent(1, Destroyed, 15), agent(2, Destroyed, 15)], None),
        ] {
            let chosen = victim(&agents, Duration::from_mins(15), now());
            assert_eq!(chosen.map(|agent| agent.id.get()), expected, "{agents:?}");
        }
    }
}
