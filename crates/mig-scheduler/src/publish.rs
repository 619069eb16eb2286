//! Hands commands to the relay.

use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Message, RelayError, Route};
use mig_store::Unpublished;
use mig_types::{Action, CommandId, Timestamp, wire};

use crate::error::{Chain, SchedulerError};
use crate::scheduler::Scheduler;

/// How long claimed commands are ours. A command that nobody could take waits
/// this long for its next try.
pub const LEASE: Duration = Duration::from_secs(30);
/// Commands claimed at once.
const BATCH: u32 = 500;
/// Identifiers named in one warning.
const MAX_NAMED: usize = 20;

/// Publishes every command that waits. Returns how many the relay took.
///
/// # Errors
///
/// When the store failed or the relay is away; commands in hand are tried
/// first next time. A command may be published twice: agents drop repetitions.
pub async fn run(scheduler: &Scheduler) -> Result<usize, SchedulerError> {
    mark(scheduler, Vec::new()).await?;
    let mut published = 0;
    let mut batch = claim(scheduler).await?;
    while !batch.is_empty() {
        // The database looks for the next batch while the broker confirms.
        let (outcome, next) = tokio::join!(publish(scheduler, batch), claim(scheduler));
        match outcome {
            Ok(count) => published += count,
            Err(error) => {
                scheduler.unsent.put(next.unwrap_or_default());
                return Err(error);
            }
        }
        batch = next?;
    }
    Ok(published)
}

/// Commands to publish, with the end of their lease: those left over, or else
/// new ones.
async fn claim(scheduler: &Scheduler) -> Result<Vec<(Unpublished, Timestamp)>, SchedulerError> {
    let now = scheduler.now();
    let left = scheduler.unsent.take(now);
    if !left.is_empty() {
        return Ok(left);
    }
    let claimed = scheduler.store().claim_unpublished(scheduler.owner(), LEASE, BATCH, now).await;
    let claimed = claimed.map_err(SchedulerError::store("claim commands"))?;
    let mut commands = Vec::with_capacity(claimed.len());
    for mut unpublished in claimed {
        let action = &mut unpublished.command.action;
        if let Some(agents) = scheduler.targets_of(action.id) {
            action.counters.sent = agents as u64;
        }
        commands.push((unpublished, now + LEASE));
    }
    Ok(commands)
}

/// Publishes one batch and records what the relay took.
async fn publish(
    scheduler: &Scheduler,
    batch: Vec<(Unpublished, Timestamp)>,
) -> Result<usize, SchedulerError> {
    let now = scheduler.now();
    let mut sent = Vec::with_capacity(batch.len());
    let mut messages = Vec::with_capacity(batch.len());
    for (unpublished, until) in batch {
        let id = unpublished.command.id;
        let Some(ttl) = ttl(&unpublished.command.action, now) else {
            tracing::debug!(command.id = %id, "command expired before it could be published");
            continue;
        };
        match wire::to_vec(&unpublished.command) {
            Ok(body) => {
                let route = Route::Agent(unpublished.queueloc.clone());
                messages.push(Message { route, body: Bytes::from(body), ttl });
                sent.push((unpublished, until));
            }
            Err(error) => {
                tracing::error!(command.id = %id, "command cannot be written: {}", Chain(&error));
            }
        }
    }
    let outcomes = scheduler.relay().publish(messages).await;
    let mut taken = Vec::with_capacity(sent.len());
    let mut nobody = Vec::new();
    let mut again = Vec::new();
    let mut failure = None;
    for ((unpublished, until), outcome) in sent.into_iter().zip(outcomes) {
        let id = unpublished.command.id;
        match outcome {
            Ok(()) => taken.push(id),
            Err(RelayError::Unroutable { .. }) => nobody.push(id),
            Err(error @ RelayError::TooLarge { .. }) => {
                tracing::error!(
                    action.id = %unpublished.command.action.id,
                    command.id = %id,
                    "command cannot be published: {}",
                    Chain(&error)
                );
            }
            Err(error) => {
                again.push((unpublished, until));
                failure.get_or_insert(error);
            }
        }
    }
    let metrics = &scheduler.metrics;
    metrics.published.add(taken.len() as u64);
    metrics.publish_retries.add(["no queue"], nobody.len() as u64);
    metrics.publish_retries.add(["relay"], again.len() as u64);
    scheduler.unsent.put(again);
    warn_unroutable(&nobody);
    let count = taken.len();
    mark(scheduler, taken).await?;
    match failure {
        Some(source) => Err(SchedulerError::Relay { doing: "publish commands", source }),
        None => Ok(count),
    }
}

/// Records commands as published, together with those whose record failed.
async fn mark(scheduler: &Scheduler, ids: Vec<CommandId>) -> Result<(), SchedulerError> {
    let now = scheduler.now();
    let until = now + LEASE;
    let mut unmarked = scheduler.unmarked.take(now);
    unmarked.extend(ids.into_iter().map(|id| (id, until)));
    if unmarked.is_empty() {
        return Ok(());
    }
    let ids: Vec<CommandId> = unmarked.iter().map(|(id, _)| *id).collect();
    scheduler.store().mark_published(&ids).await.map_err(|source| {
        scheduler.unmarked.put(unmarked);
        SchedulerError::Store { doing: "record published commands", source }
    })
}

/// How long the relay shall keep a command: the action's whole validity, but
/// not beyond its end. `None` when that has passed: brokers refuse such a
/// value, and the command is about to expire anyway.
fn ttl(action: &Action, now: Timestamp) -> Option<Duration> {
    let left = action.expireafter.since(now);
    let window = action.expireafter.since(action.validfrom);
    let ttl = window.min(left);
    (ttl >= Duration::from_millis(1)).then_some(ttl)
}

fn warn_unroutable(ids: &[CommandId]) {
    if ids.is_empty() {
        return;
    }
    let named: Vec<String> = ids.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = if ids.len() > MAX_NAMED { ", …" } else { "" };
    tracing::warn!(
        "{} commands have no queue to go to and are tried again until they expire: {}{more}",
        ids.len(),
        named.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_kept_no_longer_than_its_action_lives() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let action = Action {
            validfrom: at("2026-01-01T00:00:00Z"),
            expireafter: at("2026-01-01T01:00:00Z"),
            ..Action::default()
        };
        for (now, seconds) in [
            ("2026-01-01T00:00:00Z", Some(3600)),
            ("2026-01-01T00:59:00Z", Some(60)),
            // A clock that runs behind does not lengthen it.
            ("2025-12-31T23:00:00Z", Some(3600)),
            ("2026-01-01T01:00:00Z", None),
            ("2026-01-02T00:00:00Z", None),
        ] {
            assert_eq!(ttl(&action, at(now)), seconds.map(Duration::from_secs), "{now}");
        }
        let backwards = Action { validfrom: at("2026-01-02T00:00:00Z"), ..action };
        assert_eq!(ttl(&backwards, at("2026-01-01T00:00:00Z")), None);
    }
}
