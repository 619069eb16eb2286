//! Agents: the program on an endpoint as the platform knows it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::id::AgentId;
use crate::time::Timestamp;

/// Operator-defined labels. Values are texts; older agents may send any JSON.
pub type Tags = Map<String, Value>;

/// An agent's record: heartbeat body, part of a command, and API output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    #[serde(skip_serializing_if = "AgentId::is_unset_ref")]
    pub id: AgentId,
    /// The host name.
    pub name: String,
    /// Kept as text: it is empty in partial records. See [`crate::QueueLoc`].
    pub queueloc: String,
    pub mode: AgentMode,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub loadername: String,
    pub starttime: Timestamp,
    pub destructiontime: Timestamp,
    pub heartbeatts: Timestamp,
    pub refreshts: Timestamp,
    #[serde(with = "status_text", skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub authorized: bool,
    pub environment: Environment,
    #[serde(skip_serializing_if = "Map::is_empty", deserialize_with = "tags")]
    pub tags: Tags,
}

impl AgentId {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    fn is_unset_ref(&self) -> bool {
        self.is_unset()
    }
}

/// What an agent found out about its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub init: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ident: String,
    /// Go's name of the operating system: `linux`, `darwin`, `windows`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// Go's name of the architecture: `amd64`, `386`, `arm64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    pub isproxied: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy: String,
    /// Interface addresses in CIDR notation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub publicip: String,
    pub aws: Aws,
    /// Names of the modules the agent carries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
}

/// Identity of a cloud instance; empty elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Aws {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instanceid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub localipv4: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub amiid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instancetype: String,
}

/// How an agent runs. Heartbeats with any other mode are discarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AgentMode {
    #[default]
    #[serde(rename = "")]
    Unset,
    #[serde(rename = "daemon")]
    Daemon,
    #[serde(rename = "checkin")]
    Checkin,
}

impl AgentMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Daemon => "daemon",
            Self::Checkin => "checkin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unset, Self::Daemon, Self::Checkin].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Whether an agent is there. Only `online` and `idle` agents are targeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    Online,
    Idle,
    Offline,
    Destroyed,
    /// Known from databases of 2016; nothing sets it any more.
    Upgraded,
}

impl AgentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Offline => "offline",
            Self::Destroyed => "destroyed",
            Self::Upgraded => "upgraded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Online, Self::Idle, Self::Offline, Self::Destroyed, Self::Upgraded]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

impl std::fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

mod status_text {
    use super::AgentStatus;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(
        status: &Option<AgentStatus>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        status.map_or("", AgentStatus::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<AgentStatus>, D::Error> {
        Ok(AgentStatus::parse(&String::deserialize(deserializer)?))
    }
}

/// Reads tags of every generation: an object, `null`, or a list of
/// `{"name":…,"value":…}`.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tags, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Object(tags) => Ok(tags),
        Value::Null => Ok(Tags::new()),
        Value::Array(pairs) => Ok(crate::heartbeat::tags_from_pairs(pairs)),
        other => Err(serde::de::Error::custom(format_args!("tags cannot be {other}"))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn an_empty_agent_prints_like_the_original() {
        assert_eq!(
            wire::to_string(&Agent::default()).unwrap(),
            concat!(
                r#"{"name":"","queueloc":"","mode":"","starttime":"0001-01-01T00:00:00Z","#,
                r#""destructiontime":"0001-01-01T00:00:00Z","heartbeatts":"0001-01-01T00:00:00Z","#,
                r#""refreshts":"0001-01-01T00:00:00Z","environment":{"isproxied":false,"aws":{}}}"#
            )
        );
    }

    #[test]
    fn reads_both_dialects_of_tags_and_refuses_unknown_modes() {
        let old: Agent = wire::from_slice(br#"{"tags":{"operator":"it","n":[1]}}"#).unwrap();
        assert_eq!(old.tags.get("n"), Some(&serde_json::json!([1])));
        let new: Agent =
            wire::from_slice(br#"{"tags":[{"name":"operator","value":"it"}],"queueLoc":"l.x"}"#)
                .unwrap();
        assert_eq!(new.tags.get("operator"), Some(&Value::from("it")));
        assert_eq!(new.queueloc, "l.x");
        assert!(wire::from_slice::<Agent>(br#"{"mode":"robot"}"#).is_err());
    }
}
