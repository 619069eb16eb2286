//! The address of an agent on the relay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the relay puts before a queueloc to name the agent's queue.
pub const QUEUE_PREFIX: &str = "mig.agt.";

/// AMQP names hold 255 bytes; the prefix takes eight of them.
pub const MAX_LEN: usize = 255 - QUEUE_PREFIX.len();

/// An agent's address on the relay, such as `linux.web1.example.net.58b3mn…`.
///
/// Opaque and case-sensitive. Never empty, at most 247 bytes, no control
/// characters, and never `heartbeats` or `results`: those two name the
/// scheduler's queues.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueLoc(String);

/// Why a text cannot be a queueloc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueLocError {
    #[error("a queueloc cannot be empty")]
    Empty,
    #[error("a queueloc has at most {MAX_LEN} bytes")]
    TooLong,
    #[error("a queueloc has no control characters")]
    Control,
    #[error("`heartbeats` and `results` are queues of the scheduler")]
    Reserved,
}

impl QueueLoc {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The queue and routing key of this agent.
    pub fn queue(&self) -> String {
        format!("{QUEUE_PREFIX}{}", self.0)
    }
}

impl FromStr for QueueLoc {
    type Err = QueueLocError;

    fn from_str(text: &str) -> Result<Self, QueueLocError> {
        if text.is_empty() {
            return Err(QueueLocError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(QueueLocError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(QueueLocError::Control);
        }
        if matches!(text, "heartbeats" | "results") {
            return Err(QueueLocError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for QueueLoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for QueueLoc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for QueueLoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_relay_could_address() {
        for (text, error) in [
            ("", QueueLocError::Empty),
            ("heartbeats", QueueLocError::Reserved),
            ("results", QueueLocError::Reserved),
            ("a\nb", QueueLocError::Control),
        ] {
            assert_eq!(text.parse::<QueueLoc>(), Err(error));
        }
        assert_eq!("x".repeat(248).parse::<QueueLoc>(), Err(QueueLocError::TooLong));
        let longest = "x".repeat(247).parse::<QueueLoc>().unwrap();
        assert_eq!(longest.queue().len(), 255);
    }
}
