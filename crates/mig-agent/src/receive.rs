//! Commands from the relay: checked, written down, and only then acknowledged.

use std::sync::Arc;
use std::time::Duration;

use mig_relay::{Consumer, Delivery, Source};
use mig_runtime::Shutdown;
use mig_types::{Command, wire};
use tokio::sync::mpsc::UnboundedSender;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::journal::{Admission, Journal, JournalError, Outcome};
use crate::report;
use crate::run::Job;

/// Messages in hand and not yet acknowledged.
const PREFETCH: u16 = 8;
/// Larger messages are not looked into.
pub const MAX_COMMAND_BYTES: usize = 4 << 20;
/// Expired actions are remembered so long even when the memory is full.
const REMEMBER_AT_LEAST: Duration = Duration::from_hours(1);
/// Longest wait before the relay is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Takes commands until shutdown. Accepted ones go to `jobs`, whose number the
/// journal bounds.
///
/// # Errors
///
/// When the journal fails: what is not written down must not be acknowledged.
pub async fn receive(
    context: Arc<Context>,
    jobs: UnboundedSender<Job>,
    shutdown: Shutdown,
) -> Result<(), JournalError> {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    while !shutdown.is_requested() {
        let source = Source::Agent(context.queueloc().clone());
        let consumer = tokio::select! {
            () = shutdown.requested() => break,
            consumer = context.relay.consume(source, PREFETCH) => consumer,
        };
        let error = match consumer {
            Ok(mut consumer) => {
                context.listening.send_replace(true);
                match consume(&context, consumer.as_mut(), &jobs, &shutdown, &mut backoff).await? {
                    None => break,
                    Some(error) => error,
                }
            }
            Err(error) => error,
        };
        let delay = backoff.delay();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "Collection from relay is failing"
        );
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(delay) => {}
        }
    }
    tracing::debug!("closing parseCommands goroutine");
    Ok(())
}

/// Reads one consumer; `None` on shutdown, else why it cannot go on.
async fn consume(
    context: &Context,
    consumer: &mut dyn Consumer,
    jobs: &UnboundedSender<Job>,
    shutdown: &Shutdown,
    backoff: &mut Backoff,
) -> Result<Option<mig_relay::RelayError>, JournalError> {
    loop {
        let batch = tokio::select! {
            () = shutdown.requested() => return Ok(None),
            batch = consumer.next_batch(usize::from(PREFETCH), Duration::ZERO) => batch,
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Ok(Some(error)),
        };
        backoff.reset();
        for Delivery { tag, body, .. } in batch {
            context.arrived.send_modify(|count| *count += 1);
            tokio::select! {
                () = shutdown.requested() => return Ok(None),
                () = room(context) => {}
            }
            take(context, &body, jobs).await?;
            // Unacknowledged, it comes again and is recognised.
            if let Err(error) = consumer.ack(&[tag]).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot acknowledge a command"
                );
            }
        }
    }
}

/// Waits until the journal takes another command.
async fn room(context: &Context) {
    loop {
        // Created before the look, so that no notice is lost in between.
        let freed = context.room.notified();
        if context.journal.has_room() {
            return;
        }
        freed.await;
    }
}

/// Decides about one message. When it returns, whatever has to outlive a crash
/// is on disk.
///
/// # Errors
///
/// When the journal fails.
pub async fn take(
    context: &Context,
    body: &[u8],
    jobs: &UnboundedSender<Job>,
) -> Result<(), JournalError> {
    let command = match decode(body) {
        Ok(command) => command,
        Err(reason) => {
            tracing::error!("a message from the relay is not a command: {reason}");
            let now = context.clock.now();
            return match context.reporter.answer_malformed(body, &reason, now) {
                Some(answer) => post(context, answer).await,
                None => Ok(()),
            };
        }
    };
    if command.id.is_unset() {
        tracing::error!("a command without id cannot be answered");
        return Ok(());
    }
    let now = context.clock.now();
    let own = context.record.borrow().clone();
    let accepted = match context.policy.verify(&command, &own, now) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            context.history.note(&command.action, now, &[], false);
            if refusal.is_unknown_signer() {
                tracing::warn!(
                    action.id = %command.action.id, command.id = %command.id,
                    "Action rejected -- sent by unknown investigator."
                );
            }
            return refuse(context, command, &refusal.text()).await;
        }
    };
    context.history.note(&command.action, now, &accepted.signers, true);
    let (action_id, command_id) = (command.action.id, command.id);
    let (digest, entry) = (accepted.digest, command.clone());
    let horizon = now - REMEMBER_AT_LEAST;
    let admit = move |journal: &Journal| match journal.admit(&digest, &entry)? {
        Admission::Full => {
            journal.forget(horizon)?;
            journal.admit(&digest, &entry)
        }
        admission => Ok(admission),
    };
    match context.journal(admit).await? {
        Admission::Fresh { seq } => {
            tracing::info!(
                action.id = %action_id, command.id = %command_id,
                "command accepted, action '{}'", command.action.name.escape_debug()
            );
            // The receiver ends after this task; then the journal keeps the job.
            let _ = jobs.send(Job { seq, digest, recovered: None });
            Ok(())
        }
        Admission::Running => {
            tracing::info!(
                action.id = %action_id, command.id = %command_id,
                "command repeats an action that is being run"
            );
            Ok(())
        }
        Admission::Repeat(outcome) => {
            tracing::info!(
                action.id = %action_id, command.id = %command_id,
                "command repeats an action that was run, answered from the journal"
            );
            answer(context, command, &outcome).await
        }
        Admission::Forgotten => {
            let reason = "action was run before and its results are not kept any more";
            refuse(context, command, reason).await
        }
        Admission::Full => {
            let reason = "agent remembers too many actions, try again when some have expired";
            refuse(context, command, reason).await
        }
    }
}

fn decode(body: &[u8]) -> Result<Command, String> {
    if body.len() > MAX_COMMAND_BYTES {
        return Err(format!(
            "command has {} bytes, at most {MAX_COMMAND_BYTES} are accepted",
            body.len()
        ));
    }
    wire::from_slice(body).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("command cannot be read: {}", source.unwrap_or_default())
    })
}

async fn refuse(context: &Context, command: Command, reason: &str) -> Result<(), JournalError> {
    tracing::warn!(
        action.id = %command.action.id, command.id = %command.id,
        "command refused: {}", reason.escape_debug()
    );
    let outcome = report::refusal(command.action.operations().len(), reason);
    answer(context, command, &outcome).await
}

async fn answer(
    context: &Context,
    command: Command,
    outcome: &Outcome,
) -> Result<(), JournalError> {
    let id = command.id;
    match context.reporter.answer(command, outcome, context.clock.now()) {
        Ok(answer) => post(context, answer).await,
        Err(error) => {
            tracing::error!(command.id = %id, "cannot write an answer: {error}");
            Ok(())
        }
    }
}

async fn post(context: &Context, answer: crate::journal::Outgoing) -> Result<(), JournalError> {
    context.journal(move |journal| journal.post(&answer)).await?;
    context.posted.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&body);
        }

        #[test]
        fn nor_does_a_command_with_anything_in_it(
            id in ".{0,12}", name in ".{0,40}", target in ".{0,80}", rest in ".{0,80}",
        ) {
            let body = format!(
                r#"{{"id":{id},"action":{{"name":{name:?},"target":{target:?},{rest}}}}}"#
            );
            let _ = decode(body.as_bytes());
        }
    }

    #[test]
    fn what_is_too_large_is_not_looked_into() {
        let body = vec![b'['; MAX_COMMAND_BYTES + 1];
        assert!(decode(&body).unwrap_err().contains("at most 4194304"));
    }
}
