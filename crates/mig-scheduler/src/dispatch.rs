//! Turns actions into commands, one for each agent their target chooses.

use std::str::FromStr as _;
use std::time::Duration;

use mig_sign::verify::{VerifyError, verify_action};
use mig_store::{Chosen, NewCommand, StoreError};
use mig_types::action::ActionFault;
use mig_types::target::TargetError;
use mig_types::{Action, Target, Timestamp};

use crate::error::{Chain, SchedulerError};
use crate::keys::Keys;
use crate::scheduler::Scheduler;

/// How long a claimed action is ours. A scheduler that dies in between is
/// replaced after that.
pub const LEASE: Duration = Duration::from_secs(30);
/// Actions claimed at once.
const BATCH: u32 = 16;
/// Commands created in one transaction: those of the first are on their way
/// while the next are created.
pub const CHUNK: usize = 500;
/// Times an identifier is drawn again when it is taken.
const DRAWS: u32 = 3;

/// Why an action cannot run; kept with the action.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("action is not acceptable")]
    Fault(#[source] ActionFault),
    #[error("signatures do not hold")]
    Signature(#[source] VerifyError),
    #[error("target does not parse")]
    Target(#[source] TargetError),
    #[error("target cannot be evaluated: {0}")]
    Evaluation(String),
    #[error("no online or idle agent matches the target")]
    NoAgent,
}

impl Refusal {
    /// One word, for counting.
    const fn word(&self) -> &'static str {
        match self {
            Self::Fault(_) => "structure",
            Self::Signature(_) => "signature",
            Self::Target(_) => "target",
            Self::Evaluation(_) => "evaluation",
            Self::NoAgent => "no agent",
        }
    }
}

/// Dispatches every action that waits. Returns how many left the queue.
///
/// # Errors
///
/// When store or keyring failed; the actions in hand are tried first next time.
pub async fn run(scheduler: &Scheduler) -> Result<usize, SchedulerError> {
    let mut done = 0;
    loop {
        let now = scheduler.now();
        let mut actions = scheduler.claimed.take(now);
        match scheduler.store().claim_actions(scheduler.owner(), LEASE, BATCH, now).await {
            Ok(claimed) => actions.extend(claimed.into_iter().map(|action| (action, now + LEASE))),
            Err(source) => {
                scheduler.claimed.put(actions);
                return Err(SchedulerError::Store { doing: "claim actions", source });
            }
        }
        if actions.is_empty() {
            return Ok(done);
        }
        let keys = match scheduler.keys.current(scheduler.store()).await {
            Ok(keys) => keys,
            Err(error) => {
                scheduler.claimed.put(actions);
                return Err(error);
            }
        };
        // One action that fails must not hold up those behind it.
        let mut failure = None;
        for (action, until) in actions {
            match dispatch(scheduler, &keys, &action, now).await {
                Ok(()) => done += 1,
                Err(error) => {
                    scheduler.claimed.put([(action, until)]);
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
}

async fn dispatch(
    scheduler: &Scheduler,
    keys: &Keys,
    action: &Action,
    now: Timestamp,
) -> Result<(), SchedulerError> {
    let agents = match resolve(scheduler, keys, action, now).await? {
        Ok(agents) => agents,
        Err(refusal) => return invalidate(scheduler, action, &refusal, now).await,
    };
    scheduler.is_for(action.id, agents.len());
    let mut chunks = agents.chunks(CHUNK).peekable();
    while let Some(chunk) = chunks.next() {
        if !create(scheduler, action, chunk, chunks.peek().is_none(), now).await? {
            tracing::debug!(action.id = %action.id, "another scheduler dispatches the action");
            return Ok(());
        }
        scheduler.wake.publish.notify_one();
    }
    tracing::info!(
        action.id = %action.id,
        "action '{}' is in flight to {} agents",
        action.name,
        agents.len()
    );
    scheduler.metrics.actions.add(["dispatched"], 1);
    log_commands(scheduler, action, &agents);
    Ok(())
}

/// Creates one command for each agent; after the last ones the action is in
/// flight. `false` when the action is no longer ours.
async fn create(
    scheduler: &Scheduler,
    action: &Action,
    agents: &[Chosen],
    last: bool,
    now: Timestamp,
) -> Result<bool, SchedulerError> {
    let (store, owner) = (scheduler.store(), scheduler.owner());
    for _ in 0..DRAWS {
        let commands: Vec<NewCommand> = agents
            .iter()
            .map(|agent| NewCommand { id: scheduler.ids().command(now), agent: agent.id })
            .collect();
        let created = if last {
            store.dispatch(action.id, owner, &commands, scheduler.now()).await
        } else {
            store.prepare_commands(action.id, owner, &commands, LEASE, scheduler.now()).await
        };
        match created {
            // Somebody drew the same identifiers; the next ones are free.
            Err(StoreError::Conflict { .. }) => {}
            created => return created.map_err(SchedulerError::store("create commands")),
        }
    }
    let source = StoreError::Conflict { what: "command".to_owned() };
    Err(SchedulerError::Store { doing: "create commands", source })
}

/// Checks everything again: the store is not trusted to hold what was signed.
async fn resolve(
    scheduler: &Scheduler,
    keys: &Keys,
    action: &Action,
    now: Timestamp,
) -> Result<Result<Vec<Chosen>, Refusal>, SchedulerError> {
    let target = match check(keys, action, now) {
        Ok(target) => target,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match scheduler.store().agents_by_target(&target, now).await {
        Ok(agents) if agents.is_empty() => Ok(Err(Refusal::NoAgent)),
        Ok(agents) => Ok(Ok(agents)),
        Err(StoreError::Target { message } | StoreError::Refused { what: message }) => {
            Ok(Err(Refusal::Evaluation(message)))
        }
        Err(source) => Err(SchedulerError::Store { doing: "find the agents of a target", source }),
    }
}

fn check(keys: &Keys, action: &Action, now: Timestamp) -> Result<Target, Refusal> {
    action.validate(now).map_err(Refusal::Fault)?;
    verify_action(&keys.ring, action, now).map_err(Refusal::Signature)?;
    Target::from_str(&action.target).map_err(Refusal::Target)
}

async fn invalidate(
    scheduler: &Scheduler,
    action: &Action,
    refusal: &Refusal,
    now: Timestamp,
) -> Result<(), SchedulerError> {
    let reason = Chain(refusal).to_string();
    scheduler
        .store()
        .invalidate(action.id, &reason, now)
        .await
        .map_err(SchedulerError::store("invalidate an action"))?;
    scheduler.metrics.actions.add(["invalid"], 1);
    scheduler.metrics.refused.add([refusal.word()], 1);
    tracing::warn!(action.id = %action.id, "action '{}' is invalid: {reason}", action.name);
    Ok(())
}

fn log_commands(scheduler: &Scheduler, action: &Action, agents: &[Chosen]) {
    if !scheduler.settings().log_actions {
        return;
    }
    for agent in agents {
        tracing::info!(
            action.id = %action.id,
            "command to agent '{}' of loader '{}': action '{}'",
            agent.name,
            agent.loadername,
            action.name
        );
    }
}
