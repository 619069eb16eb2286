//! Runs accepted commands, a few at a time, and puts the answers in the outbox.

use std::sync::Arc;
use std::time::Duration;

use mig_runtime::Shutdown;
use mig_types::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::config::half_the_cores;
use crate::context::Context;
use crate::journal::{Digest, JournalError, Outcome};
use crate::report;

/// How long running modules may go on when the agent is stopped.
const GRACE: Duration = Duration::from_secs(5);
/// A command that may have been running so many times when the agent ended is
/// given up: it may be what ends it.
const MAX_ATTEMPTS: u64 = 5;

/// A command to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub seq: u64,
    pub digest: Digest,
    /// When it comes from before this start: in how many lives of the agent it may
    /// have been begun.
    pub recovered: Option<u64>,
}

/// Runs jobs until shutdown. What is running then has a moment to end; the
/// rest stays in the journal for the next start.
///
/// # Errors
///
/// When the journal fails.
pub async fn run(
    context: Arc<Context>,
    mut jobs: UnboundedReceiver<Job>,
    shutdown: Shutdown,
) -> Result<(), JournalError> {
    let slots = Arc::new(Semaphore::new(half_the_cores()));
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            Some(ended) = running.join_next() => settle(ended)?,
            Some((slot, job)) = next(&slots, &mut jobs) => {
                let context = Arc::clone(&context);
                running.spawn(async move {
                    let outcome = perform(&context, job).await;
                    drop(slot);
                    outcome
                });
            }
            else => break,
        }
    }
    let drain = async {
        while let Some(ended) = running.join_next().await {
            settle(ended)?;
        }
        Ok(())
    };
    if let Ok(drained) = tokio::time::timeout(GRACE, drain).await {
        return drained;
    }
    tracing::warn!("modules still running are killed; their commands are run at the next start");
    running.shutdown().await;
    context.executor.cages.settle().await;
    tracing::debug!("closing runModule goroutine");
    Ok(())
}

/// The next job, once there is a slot for it.
async fn next(
    slots: &Arc<Semaphore>,
    jobs: &mut UnboundedReceiver<Job>,
) -> Option<(OwnedSemaphorePermit, Job)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    Some((slot, jobs.recv().await?))
}

fn settle(ended: Result<Result<(), JournalError>, JoinError>) -> Result<(), JournalError> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => {
            if error.is_panic() {
                tracing::error!("running a command panicked; it is tried again at the next start");
            }
            Ok(())
        }
    }
}

async fn perform(context: &Context, job: Job) -> Result<(), JournalError> {
    let Some(command) = context.journal(move |journal| journal.load(job.seq)).await? else {
        return Ok(());
    };
    let refusal = job.recovered.and_then(|attempts| check_again(context, &command, attempts));
    let (outcome, remember) = match refusal {
        Some(reason) => {
            tracing::warn!(
                action.id = %command.action.id, command.id = %command.id,
                "command from before the restart is not run: {}", reason.escape_debug()
            );
            (report::refusal(command.action.operations().len(), &reason), false)
        }
        None => (execute(context, &command).await, true),
    };
    let reporter = context.reporter.clone();
    let now = context.clock.now();
    context
        .journal(move |journal| {
            journal.finish(&job.digest, &outcome, remember, |command| {
                reporter.answer(command, &outcome, now)
            })
        })
        .await?;
    context.posted.notify_one();
    context.room.notify_one();
    Ok(())
}

/// Why a command of an earlier start may not be run now: it may have expired,
/// or its signer lost the right to it.
fn check_again(context: &Context, command: &Command, attempts: u64) -> Option<String> {
    if attempts > MAX_ATTEMPTS {
        return Some(format!("agent was stopped {MAX_ATTEMPTS} times while running the action"));
    }
    // Whoever reads can read again; what changes the host is not done twice.
    let twice = command.action.operations().iter().find(|operation| {
        let registry = crate::modules::registry();
        registry.get(&operation.module).is_some_and(|module| module.needs().unconfined)
    });
    if attempts > 0
        && let Some(operation) = twice
    {
        return Some(format!(
            "agent was stopped before the action was answered, and module '{}' is not run twice",
            operation.module
        ));
    }
    let own = context.record.borrow().clone();
    let verdict = context.policy.verify(command, &own, context.clock.now());
    verdict.err().map(|refusal| refusal.text())
}

async fn execute(context: &Context, command: &Command) -> Outcome {
    let started = tokio::time::Instant::now();
    let endings = context.executor.run(&command.action, context.clock.as_ref()).await;
    let outcome = report::outcome(endings);
    tracing::info!(
        action.id = %command.action.id,
        command.id = %command.id,
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "command done, status '{}'", outcome.status
    );
    outcome
}
