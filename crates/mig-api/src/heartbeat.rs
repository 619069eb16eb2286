//! Heartbeats over HTTP: what the agents of 2019 send.

use std::time::Duration;

use mig_types::heartbeat::{HttpHeartbeat, MAX_BYTES, MAX_NAME, MAX_VERSION};
use mig_types::queueloc::QueueLocError;
use mig_types::wire::WireError;
use mig_types::{Agent, QueueLoc, Timestamp, wire};

/// An older heartbeat is refused.
const FRESH: Duration = Duration::from_mins(5);

/// Why a body is no heartbeat. The words are those of the original, which
/// agents log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatFault {
    #[error("Failed to decode request body: more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("Failed to decode request body: {}", reason(.0))]
    Json(#[source] WireError),
    #[error("Failed to decode request body: not a JSON object")]
    NoObject,
    #[error("Missing fields in request body: missing field(s): {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    #[error("Missing fields in request body: heartbeat expired")]
    Expired,
    #[error("Missing fields in request body: agent reported an invalid mode")]
    Mode,
    #[error(
        "Missing fields in request body: agent name is longer than {MAX_NAME} bytes or has controls"
    )]
    Name,
    #[error(
        "Missing fields in request body: agent version is longer than {MAX_VERSION} bytes or has controls"
    )]
    Version,
    #[error("Missing fields in request body: {0}")]
    QueueLoc(#[source] QueueLocError),
}

fn reason(error: &WireError) -> String {
    std::error::Error::source(error).unwrap_or(error).to_string()
}

/// Reads and checks a body as an agent sent it. The whitelist is not asked.
///
/// # Errors
///
/// [`HeartbeatFault`] on what must not be stored. Never panics.
pub fn decode(body: &[u8], now: Timestamp) -> Result<Agent, HeartbeatFault> {
    if body.len() > MAX_BYTES {
        return Err(HeartbeatFault::TooLarge);
    }
    let value = wire::value_from_slice(body).map_err(HeartbeatFault::Json)?;
    // A structure could also be read from a list of its members.
    if !value.is_object() {
        return Err(HeartbeatFault::NoObject);
    }
    let beat: HttpHeartbeat = wire::from_value(value).map_err(HeartbeatFault::Json)?;
    let missing = missing(&beat);
    if !missing.is_empty() {
        return Err(HeartbeatFault::Missing(missing));
    }
    if beat.starttime < now - FRESH {
        return Err(HeartbeatFault::Expired);
    }
    let agent = beat.into_agent().ok_or(HeartbeatFault::Mode)?;
    let controls = |text: &str| text.chars().any(char::is_control);
    if agent.name.len() > MAX_NAME || controls(&agent.name) {
        return Err(HeartbeatFault::Name);
    }
    if agent.version.len() > MAX_VERSION || controls(&agent.version) {
        return Err(HeartbeatFault::Version);
    }
    agent.queueloc.parse::<QueueLoc>().map_err(HeartbeatFault::QueueLoc)?;
    Ok(agent)
}

/// Fields without which there is nothing to store. The public address may be
/// empty: an agent that does not look for it would be refused for ever.
fn missing(beat: &HttpHeartbeat) -> Vec<&'static str> {
    let environment = &beat.environment;
    [
        ("name", beat.name.is_empty()),
        ("mode", beat.mode.is_empty()),
        ("version", beat.version.is_empty()),
        ("pid", beat.pid <= 0),
        ("queueLoc", beat.queueloc.is_empty()),
        ("environment.init", environment.init.is_empty()),
        ("environment.ident", environment.ident.is_empty()),
        ("environment.os", environment.os.is_empty()),
        ("environment.arch", environment.arch.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::AgentMode;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn body(change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut value = json!({
            "name": "web1", "mode": "daemon", "version": "1", "pid": 7, "queueLoc": "linux.web1",
            "startTime": "2025-12-31T23:59:00Z", "refreshTime": "2025-12-31T20:00:00Z",
            "environment": {
                "init": "systemd", "ident": "Debian", "os": "linux", "arch": "amd64",
                "isProxied": true, "proxy": "p:1", "addresses": ["192.0.2.1/24"],
                "publicIP": "198.51.100.1", "modules": ["file"],
            },
            "tags": [{"name": "operator", "value": "IT"}],
        });
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    fn fault(change: impl Fn(&mut Value)) -> String {
        decode(&body(change), now()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_must_not_be_stored_and_says_why() {
        for (text, wanted) in [
            ("{", "Failed to decode request body: "),
            ("[]", "Failed to decode request body: not a JSON object"),
            ("", "Failed to decode request body: "),
        ] {
            let message = decode(text.as_bytes(), now()).unwrap_err().to_string();
            assert!(message.starts_with(wanted), "{message}");
        }
        assert_eq!(
            decode(b"{}", now()).unwrap_err().to_string(),
            "Missing fields in request body: missing field(s): name, mode, version, pid, queueLoc, \
             environment.init, environment.ident, environment.os, environment.arch"
        );
        assert!(fault(|v| v["pid"] = 0.into()).ends_with("missing field(s): pid"));
        assert!(fault(|v| v["mode"] = "loader".into()).ends_with("invalid mode"));
        assert!(fault(|v| v["startTime"] = "2025-12-31T23:54:59Z".into()).ends_with("expired"));
        assert!(fault(|v| v["startTime"] = Value::Null).ends_with("expired"));
        assert!(fault(|v| v["name"] = "x".repeat(1025).into()).contains("agent name"));
        assert!(fault(|v| v["name"] = "a\nb".into()).contains("agent name"));
        assert!(fault(|v| v["version"] = "x".repeat(129).into()).contains("agent version"));
        assert!(fault(|v| v["queueLoc"] = "results".into()).contains("queues of the scheduler"));
        assert!(fault(|v| v["x"] = "x".repeat(MAX_BYTES).into()).contains("bytes"));
    }

    #[test]
    fn reads_what_an_agent_sends() {
        let agent = decode(&body(|_| {}), now()).unwrap();
        assert_eq!((agent.queueloc.as_str(), agent.pid), ("linux.web1", 7));
        assert_eq!(agent.mode, AgentMode::Daemon);
        assert_eq!(agent.environment.publicip, "198.51.100.1");
        assert!(agent.environment.isproxied);
        assert_eq!(agent.tags["operator"], "IT");
        assert_eq!(agent.refreshts, Timestamp::parse("2025-12-31T20:00:00Z").unwrap());
        for change in [
            &(|v: &mut Value| v["environment"]["publicIP"] = "".into()) as &dyn Fn(&mut Value),
            &|v| v["tags"] = Value::Null,
            &|v| v["mode"] = "checkin".into(),
        ] {
            decode(&body(change), now()).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, now());
        }

        #[test]
        fn damaged_heartbeats_never_panic(at in 0usize..600, byte: u8, cut in 0usize..600) {
            let mut bytes = body(|_| {});
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = decode(&bytes, now());
            bytes.truncate(cut);
            let _ = decode(&bytes, now());
        }
    }
}
