//! Stores results.

use std::collections::BTreeSet;
use std::time::Duration;

use mig_relay::{Delivery, Source};
use mig_store::{FinishOutcome, Finished, StoreError};
use mig_types::queueloc::QueueLocError;
use mig_types::wire::WireError;
use mig_types::{ActionId, CommandId, CommandStatus, ModuleResult, QueueLoc, wire};
use serde::Deserialize;

use crate::error::{Chain, SchedulerError};
use crate::events::{self, Event};
use crate::expire;
use crate::listener::{Intake, isolate};
use crate::scheduler::Scheduler;

/// Shortest body that can be a result.
const MIN_BYTES: usize = 10;
/// Longest body that is read.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;

/// How results are taken from the relay.
pub(crate) static INTAKE: Intake = Intake {
    source: Source::Results,
    name: "agents results listener",
    prefetch: 1000,
    batch: 500,
    linger: Duration::from_millis(5),
    busy_linger: Duration::from_millis(100),
};

/// Why a message is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultFault {
    #[error("{0} bytes are too few for a result")]
    TooShort(usize),
    #[error("{0} bytes are too many for a result")]
    TooLarge(usize),
    #[error("a result starts with '{{' and ends with '}}'")]
    NoObject,
    #[error("result does not parse")]
    Json(#[source] WireError),
    #[error("result has no command id")]
    NoId,
    #[error("result of command {0} names no agent")]
    NoAgent(CommandId),
    #[error("result of command {0} has no usable queueloc")]
    QueueLoc(CommandId, #[source] QueueLocError),
    #[error("result of command {0} has status {1:?}, not success, failed or timeout")]
    Status(CommandId, String),
}

/// The parts of a returned command that count. The rest is only an echo.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Returned {
    id: CommandId,
    agent: ReturnedAgent,
    status: String,
    results: Vec<ModuleResult>,
}

const MEMBERS: [&str; 4] = ["id", "agent", "status", "results"];

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReturnedAgent {
    name: String,
    queueloc: String,
}

/// Reads a command as an agent returned it.
///
/// **Shape** a JSON object, read as Go reads; numbers in any form. **Source**
/// the agent, which is not trusted beyond its own queueloc.
///
/// # Errors
///
/// [`ResultFault`] on anything that cannot be stored. Never panics.
pub fn decode(body: &[u8]) -> Result<Finished, ResultFault> {
    if body.len() < MIN_BYTES {
        return Err(ResultFault::TooShort(body.len()));
    }
    if body.len() > MAX_BYTES {
        return Err(ResultFault::TooLarge(body.len()));
    }
    if body.first() != Some(&b'{') || body.last() != Some(&b'}') {
        return Err(ResultFault::NoObject);
    }
    let members = wire::members_from_slice(body, &MEMBERS).map_err(ResultFault::Json)?;
    let returned: Returned = wire::from_value(members).map_err(ResultFault::Json)?;
    let id = returned.id;
    if id.is_unset() {
        return Err(ResultFault::NoId);
    }
    if returned.agent.name.is_empty() {
        return Err(ResultFault::NoAgent(id));
    }
    let queueloc: QueueLoc =
        returned.agent.queueloc.parse().map_err(|error| ResultFault::QueueLoc(id, error))?;
    let status = CommandStatus::parse(&returned.status)
        .filter(|status| status.is_agents())
        .ok_or_else(|| ResultFault::Status(id, returned.status.chars().take(32).collect()))?;
    Ok(Finished { id, queueloc, status, results: returned.results })
}

/// Stores a batch of results in one transaction. When it returns `Ok` the
/// deliveries may be acknowledged: each is stored, was stored before, or is
/// garbage and was logged. Doing it twice changes nothing. Returns what workers
/// are to hear.
///
/// # Errors
///
/// When the store is away: nothing was logged or published, try the same batch
/// again.
pub async fn take(scheduler: &Scheduler, batch: &[Delivery]) -> Result<Vec<Event>, SchedulerError> {
    let mut finished = Vec::with_capacity(batch.len());
    let mut bodies = Vec::with_capacity(batch.len());
    let mut faults = Vec::new();
    for delivery in batch {
        match decode(&delivery.body) {
            Ok(result) => {
                finished.push(result);
                bodies.push(&delivery.body);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let outcomes = store(scheduler, &finished).await?;
    scheduler.metrics.results.add(["unreadable"], faults.len() as u64);
    for fault in &faults {
        tracing::error!("result dropped: {}", Chain(fault));
    }
    let mut touched = BTreeSet::new();
    let mut news = Vec::with_capacity(bodies.len());
    for ((result, body), outcome) in finished.iter().zip(bodies).zip(outcomes) {
        match outcome {
            Ok(FinishOutcome::Stored(action)) => {
                touched.insert(action);
                scheduler.metrics.results.add([result.status.as_str()], 1);
                news.push((events::COMMAND_RESULTS, body.clone()));
            }
            Ok(FinishOutcome::AlreadyFinal(action, status)) => {
                scheduler.metrics.results.add(["repeated"], 1);
                tracing::debug!(
                    action.id = %action,
                    command.id = %result.id,
                    "result ignored: the command is already {status}"
                );
                // The one that stored it may have died before its event.
                news.push((events::COMMAND_RESULTS, body.clone()));
            }
            Ok(FinishOutcome::Unknown) => {
                scheduler.metrics.results.add(["unknown"], 1);
                tracing::warn!(
                    command.id = %result.id,
                    "result dropped: no such command for agent '{}'",
                    result.queueloc
                );
            }
            Err(error) => {
                scheduler.metrics.results.add(["database"], 1);
                set_aside(scheduler, result, body, &error).await;
            }
        }
    }
    report(scheduler, touched).await;
    Ok(news)
}

/// One outcome for each result; a result that the database itself refuses does
/// not take the others with it.
async fn store(
    scheduler: &Scheduler,
    finished: &[Finished],
) -> Result<Vec<Result<FinishOutcome, StoreError>>, SchedulerError> {
    if finished.is_empty() {
        return Ok(Vec::new());
    }
    isolate(finished, |part| scheduler.store().finish_commands(part, scheduler.now()))
        .await
        .map_err(SchedulerError::store("store results"))
}

/// Completes what these results completed. The timer would do it too.
async fn report(scheduler: &Scheduler, touched: BTreeSet<ActionId>) {
    if touched.is_empty() {
        return;
    }
    scheduler.touch(touched);
    if let Err(error) = expire::complete(scheduler).await {
        tracing::warn!("completed actions are found later: {}", Chain(&error));
    }
}

/// Keeps a result that the database refuses where an operator finds it.
async fn set_aside(
    scheduler: &Scheduler,
    result: &Finished,
    body: &bytes::Bytes,
    error: &StoreError,
) {
    let reason = Chain(error).to_string();
    let Some(spool) = scheduler.spool() else {
        tracing::error!(command.id = %result.id, "result refused by the database: {reason}");
        return;
    };
    let name = format!("{}.fail", result.id);
    match spool.set_aside(name.clone(), body.clone()).await {
        Ok(()) => tracing::error!(
            command.id = %result.id,
            "result refused by the database and kept as command/returned/{name}: {reason}"
        ),
        Err(spooling) => tracing::error!(
            command.id = %result.id,
            "result refused by the database: {reason}; it could not be kept: {}",
            Chain(&spooling)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: &str) -> String {
        let agent = r#""agent":{"name":"web1","queueloc":"linux.web1"}"#;
        format!(r#"{{"id":4.88337231053e+12,{agent},"status":"success"{change}}}"#)
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let good = body("");
        assert!(decode(good.as_bytes()).is_ok());
        for bad in [
            String::new(),
            "{}".to_owned(),
            format!("{good}\n"),
            format!("[{good}]"),
            good.replace("success", "sent"),
            good.replace("success", "cancelled"),
            good.replace("success", "expired"),
            good.replace("success", "done"),
            good.replace("web1\",", "\","),
            good.replace("linux.web1", "results"),
            good.replace("linux.web1", ""),
            good.replace("4.88337231053e+12", "0"),
            good.replace("4.88337231053e+12", "-1"),
            good.replace("4.88337231053e+12", "1e300"),
            body(r#","results":[{"success":"yes"}]"#),
            "{".repeat(100_000) + "}",
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad:.100}");
        }
    }

    #[test]
    fn reads_exponents_null_lists_and_unknown_members() {
        for (results, count) in [
            ("", 0),
            (r#","results":null"#, 0),
            (r#","results":[]"#, 0),
            (r#","results":[null]"#, 1),
            (r#","Results":[{"Success":true,"errors":null,"elements":null,"new":1}]"#, 1),
        ] {
            let finished = decode(body(results).as_bytes()).unwrap();
            assert_eq!(finished.id.get(), 4_883_372_310_530);
            assert_eq!(finished.status, CommandStatus::Success);
            assert_eq!(finished.queueloc.as_str(), "linux.web1");
            assert_eq!(finished.results.len(), count, "{results}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            bytes.insert(0, b'{');
            bytes.push(b'}');
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_results_never_panic(at in 0usize..110, byte: u8, cut in 0usize..110) {
            let mut bytes = body(r#","results":[{"success":true}]"#).into_bytes();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = decode(&bytes);
            bytes.truncate(cut);
            let _ = decode(&bytes);
        }
    }
}
