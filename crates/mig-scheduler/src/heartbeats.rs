//! Keeps agents alive in the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_relay::{Delivery, Source};
use mig_runtime::whitelist::Rules;
use mig_store::HeartbeatOutcome;
use mig_types::heartbeat::{MAX_BYTES, MAX_NAME, MAX_VERSION};
use mig_types::queueloc::QueueLocError;
use mig_types::wire::WireError;
use mig_types::{Agent, QueueLoc, Timestamp, wire};
use serde_json::{Map, Value};

use crate::error::{Chain, SchedulerError};
use crate::events::{self, Event};
use crate::listener::{Intake, isolate};
use crate::scheduler::Scheduler;

/// How heartbeats are taken from the relay.
pub(crate) static INTAKE: Intake = Intake {
    source: Source::Heartbeats,
    name: "agents heartbeats listener",
    prefetch: 2000,
    batch: 1000,
    linger: Duration::from_millis(250),
    busy_linger: Duration::from_millis(100),
};

const ESCAPED_NUL: &[u8] = br"\u0000";

/// Why a message is no heartbeat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatFault {
    #[error("{0} bytes are too many for a heartbeat")]
    TooLarge(usize),
    #[error("heartbeat is no JSON object")]
    NoObject,
    #[error("heartbeat does not parse")]
    Json(#[source] WireError),
    #[error("heartbeat has no usable queueloc")]
    QueueLoc(#[source] QueueLocError),
    #[error("heartbeat of '{0}' has an empty name, one above {MAX_NAME} bytes or with controls")]
    Name(QueueLoc),
    #[error("heartbeat of '{0}' has a version above {MAX_VERSION} bytes or with controls")]
    Version(QueueLoc),
    /// Sent too long ago; not the agent's fault when the relay was away.
    #[error("heartbeat of '{0}' was sent at {1}, too long ago")]
    Stale(QueueLoc, Timestamp),
}

impl HeartbeatFault {
    /// One word, for counting.
    const fn word(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too large",
            Self::NoObject | Self::Json(_) => "unreadable",
            Self::QueueLoc(_) => "queueloc",
            Self::Name(_) => "name",
            Self::Version(_) => "version",
            Self::Stale(..) => "stale",
        }
    }
}

/// Reads a heartbeat as an agent sent it. Mode, lengths and age are checked,
/// the whitelist is not. U+0000 in free-form parts becomes `NULL`.
///
/// **Shape** an agent's record as JSON, read as Go reads. **Source** the agent.
///
/// # Errors
///
/// [`HeartbeatFault`] on what must not be stored. Never panics.
pub fn decode(body: &[u8], timeout: Duration, now: Timestamp) -> Result<Agent, HeartbeatFault> {
    if body.len() > MAX_BYTES {
        return Err(HeartbeatFault::TooLarge(body.len()));
    }
    let value = wire::value_from_slice(body).map_err(HeartbeatFault::Json)?;
    // A structure could also be read from a list of its members.
    if !value.is_object() {
        return Err(HeartbeatFault::NoObject);
    }
    // JSON can spell it in one way only.
    let nul = body.windows(ESCAPED_NUL.len()).any(|window| window == ESCAPED_NUL);
    let value = if nul { without_nul(value) } else { value };
    let agent: Agent = wire::from_value(value).map_err(HeartbeatFault::Json)?;
    let queueloc: QueueLoc = agent.queueloc.parse().map_err(HeartbeatFault::QueueLoc)?;
    let controls = |text: &str| text.chars().any(char::is_control);
    if agent.name.is_empty() || agent.name.len() > MAX_NAME || controls(&agent.name) {
        return Err(HeartbeatFault::Name(queueloc));
    }
    if agent.version.len() > MAX_VERSION || controls(&agent.version) {
        return Err(HeartbeatFault::Version(queueloc));
    }
    if agent.heartbeatts < now - timeout {
        return Err(HeartbeatFault::Stale(queueloc, agent.heartbeatts));
    }
    Ok(agent)
}

/// Databases cannot hold U+0000 in text. Depth is bounded by the parser.
fn without_nul(value: Value) -> Value {
    fn text(text: String) -> String {
        if text.contains('\0') { text.replace('\0', "NULL") } else { text }
    }
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(list) => Value::Array(list.into_iter().map(without_nul).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (text(key), without_nul(value)))
                .collect::<Map<String, Value>>(),
        ),
        plain => plain,
    }
}

/// A batch, sorted into what will be stored and what will not.
#[derive(Default)]
struct Sorted<'a> {
    beats: Vec<Agent>,
    bodies: Vec<&'a Bytes>,
    refused: Vec<(String, &'a Bytes)>,
    faults: Vec<HeartbeatFault>,
}

/// Stores a batch of heartbeats in one statement. When it returns `Ok` the
/// deliveries may be acknowledged; returns what workers are to hear.
///
/// # Errors
///
/// When the store is away: nothing was logged or published, try the same batch
/// again.
pub async fn take(scheduler: &Scheduler, batch: &[Delivery]) -> Result<Vec<Event>, SchedulerError> {
    let now = scheduler.now();
    let rules = match rules(scheduler, now).await? {
        Ok(rules) => rules,
        Err(error) => {
            tracing::error!(
                "whitelist cannot be read, {} heartbeats dropped: {error}",
                batch.len()
            );
            scheduler.metrics.heartbeats.add(["no whitelist"], batch.len() as u64);
            return Ok(Vec::new());
        }
    };
    let sorted = sort(batch, &rules, scheduler.settings().agent_timeout, now);
    let outcomes = store(scheduler, &sorted.beats).await?;
    measure(scheduler, &sorted, &outcomes);
    let mut news = Vec::new();
    for fault in &sorted.faults {
        if let HeartbeatFault::Stale(..) = fault {
            tracing::info!(severity = "notice", "heartbeat dropped: {fault}");
        } else {
            tracing::error!("heartbeat dropped: {}", Chain(fault));
        }
    }
    for (queueloc, body) in sorted.refused {
        // Operators and a packaged script read this line: its form is fixed.
        tracing::warn!("getHeartbeats(): Agent '{queueloc}' is not authorized");
        news.push((events::AGENT_AUTHENTICATION_FAILURE, body.clone()));
    }
    for ((beat, body), outcome) in sorted.beats.iter().zip(sorted.bodies).zip(outcomes) {
        match outcome {
            Ok(HeartbeatOutcome::New(id)) => {
                tracing::info!("agent '{}' at '{}' is new, id {id}", beat.name, beat.queueloc);
                news.push((events::AGENT_NEW, body.clone()));
            }
            Ok(HeartbeatOutcome::Refreshed(id)) => {
                tracing::debug!("agent at '{}' was refreshed, id {id}", beat.queueloc);
            }
            Ok(HeartbeatOutcome::Updated(id)) => {
                if scheduler.settings().debug_heartbeats {
                    tracing::debug!("heartbeat of agent {id} at '{}'", beat.queueloc);
                }
            }
            Err(error) => tracing::error!(
                "heartbeat of '{}' refused by the database: {}",
                beat.queueloc,
                Chain(&error)
            ),
        }
    }
    Ok(news)
}

/// Counts a batch that was stored.
fn measure(
    scheduler: &Scheduler,
    sorted: &Sorted<'_>,
    outcomes: &[Result<HeartbeatOutcome, mig_store::StoreError>],
) {
    let metrics = &scheduler.metrics;
    let oldest = sorted.beats.iter().map(|beat| beat.heartbeatts).min();
    if let Some(oldest) = oldest {
        metrics.insertion_lag.set(scheduler.now().since(oldest).as_secs_f64());
    }
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    metrics.heartbeats.add(["stored"], stored as u64);
    metrics.heartbeats.add(["database"], (outcomes.len() - stored) as u64);
    metrics.heartbeats.add(["whitelist"], sorted.refused.len() as u64);
    for fault in &sorted.faults {
        metrics.heartbeats.add([fault.word()], 1);
    }
}

fn sort<'a>(batch: &'a [Delivery], rules: &Rules, timeout: Duration, now: Timestamp) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for delivery in batch {
        match decode(&delivery.body, timeout, now) {
            Ok(beat) if rules.authorises(&beat.queueloc) => {
                sorted.beats.push(beat);
                sorted.bodies.push(&delivery.body);
            }
            Ok(beat) => sorted.refused.push((beat.queueloc, &delivery.body)),
            Err(fault) => sorted.faults.push(fault),
        }
    }
    sorted
}

/// Reading and compiling a large whitelist takes a while.
async fn rules(
    scheduler: &Scheduler,
    now: Timestamp,
) -> Result<std::io::Result<Arc<Rules>>, SchedulerError> {
    let whitelist = Arc::clone(&scheduler.whitelist);
    tokio::task::spawn_blocking(move || whitelist.current(now))
        .await
        .map_err(|source| SchedulerError::Task { source })
}

async fn store(
    scheduler: &Scheduler,
    beats: &[Agent],
) -> Result<Vec<Result<HeartbeatOutcome, mig_store::StoreError>>, SchedulerError> {
    if beats.is_empty() {
        return Ok(Vec::new());
    }
    let call = |part| scheduler.store().upsert_heartbeats(part, scheduler.ids(), scheduler.now());
    isolate(beats, call).await.map_err(SchedulerError::store("store heartbeats"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(20);

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn beat(change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut value = serde_json::json!({
            "name": "web1", "queueloc": "linux.web1", "mode": "daemon", "version": "1",
            "pid": 7, "heartbeatts": "2025-12-31T23:59:00Z", "environment": {"os": "linux"},
            "tags": {"operator": "x"},
        });
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn refuses_what_must_not_be_stored() {
        use HeartbeatFault as F;

        let refused =
            |change: &dyn Fn(&mut Value)| decode(&beat(change), TIMEOUT, now()).unwrap_err();
        assert!(matches!(decode(b"", TIMEOUT, now()), Err(F::Json(_))));
        for body in [&b"[]"[..], br#"[1, "web1", "linux.web1"]"#, b"null", b"1"] {
            assert!(matches!(decode(body, TIMEOUT, now()), Err(F::NoObject)), "{body:?}");
        }
        assert!(matches!(refused(&|v| v["mode"] = "loader".into()), F::Json(_)));
        assert!(matches!(refused(&|v| v["queueloc"] = "results".into()), F::QueueLoc(_)));
        assert!(matches!(refused(&|v| v["queueloc"] = Value::Null), F::QueueLoc(_)));
        assert!(matches!(refused(&|v| v["name"] = "".into()), F::Name(_)));
        assert!(matches!(refused(&|v| v["name"] = "a\nb".into()), F::Name(_)));
        assert!(matches!(refused(&|v| v["name"] = "x".repeat(1025).into()), F::Name(_)));
        assert!(matches!(refused(&|v| v["version"] = "x".repeat(129).into()), F::Version(_)));
        let old = "2025-12-31T23:39:59Z";
        assert!(matches!(refused(&|v| v["heartbeatts"] = old.into()), F::Stale(..)));
        assert!(matches!(refused(&|v| v["heartbeatts"] = Value::Null), F::Stale(..)));
        assert!(matches!(
            refused(&|v| v["x"] = "x".repeat(MAX_BYTES).into()),
            F::TooLarge(bytes) if bytes > MAX_BYTES
        ));
    }

    #[test]
    fn reads_every_generation() {
        for change in [
            &(|_: &mut Value| {}) as &dyn Fn(&mut Value),
            &|v| v["mode"] = "checkin".into(),
            &|v| v["mode"] = "".into(),
            &|v| v["tags"] = Value::Null,
            &|v| v["tags"] = serde_json::json!([{"name": "operator", "value": "x"}]),
            &|v| v["environment"] = Value::Null,
            &|v| v["name"] = "x".repeat(1024).into(),
            &|v| v["heartbeatts"] = "2025-12-31T18:59:00-05:00".into(),
        ] {
            let agent = decode(&beat(change), TIMEOUT, now()).unwrap();
            assert_eq!(agent.pid, 7);
        }
    }

    #[test]
    fn nul_characters_become_a_word() {
        let body = beat(|v| v["tags"] = serde_json::json!({"a\0": ["\0", {"\0": 1}]}));
        let agent = decode(&body, TIMEOUT, now()).unwrap();
        let tags = serde_json::to_string(&agent.tags).unwrap();
        assert_eq!(tags, r#"{"aNULL":["NULL",{"NULL":1}]}"#);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, TIMEOUT, now());
        }

        #[test]
        fn damaged_heartbeats_never_panic(at in 0usize..200, byte: u8, cut in 0usize..200) {
            let mut bytes = beat(|_| {});
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = decode(&bytes, TIMEOUT, now());
            bytes.truncate(cut);
            let _ = decode(&bytes, TIMEOUT, now());
        }
    }
}
