//! Heartbeats over HTTP, the dialect of the 2019 agents.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Agent, AgentMode, Environment, Tags};
use crate::time::Timestamp;

/// Largest heartbeat accepted on any channel, in bytes.
pub const MAX_BYTES: usize = 102_400;
/// Longest host name accepted in a heartbeat, in bytes.
pub const MAX_NAME: usize = 1024;
/// Longest version accepted in a heartbeat, in bytes.
pub const MAX_VERSION: usize = 128;

/// Body of `POST …/heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHeartbeat {
    pub name: String,
    pub mode: String,
    pub version: String,
    pub pid: i64,
    #[serde(rename = "queueLoc")]
    pub queueloc: String,
    /// In truth the time of sending.
    #[serde(rename = "startTime")]
    pub starttime: Timestamp,
    #[serde(rename = "refreshTime")]
    pub refreshtime: Timestamp,
    pub environment: HttpEnvironment,
    pub tags: Value,
}

/// The environment inside [`HttpHeartbeat`]: other spellings, no cloud data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpEnvironment {
    pub init: String,
    pub ident: String,
    pub os: String,
    pub arch: String,
    #[serde(rename = "isProxied")]
    pub isproxied: bool,
    pub proxy: String,
    pub addresses: Vec<String>,
    #[serde(rename = "publicIP")]
    pub publicip: String,
    pub modules: Vec<String>,
}

impl HttpHeartbeat {
    /// The record both channels are stored as; `None` when the mode is unknown.
    pub fn into_agent(self) -> Option<Agent> {
        let environment = self.environment;
        Some(Agent {
            name: self.name,
            queueloc: self.queueloc,
            mode: AgentMode::parse(&self.mode)?,
            version: self.version,
            pid: self.pid,
            starttime: self.starttime,
            heartbeatts: self.starttime,
            refreshts: self.refreshtime,
            environment: Environment {
                init: environment.init,
                ident: environment.ident,
                os: environment.os,
                arch: environment.arch,
                isproxied: environment.isproxied,
                proxy: environment.proxy,
                addresses: environment.addresses,
                publicip: environment.publicip,
                modules: environment.modules,
                ..Environment::default()
            },
            tags: match self.tags {
                Value::Object(tags) => tags,
                Value::Array(pairs) => tags_from_pairs(pairs),
                _ => Tags::new(),
            },
            ..Agent::default()
        })
    }
}

/// `[{"name":…,"value":…}]` as an object; entries without a name are dropped.
pub(crate) fn tags_from_pairs(pairs: Vec<Value>) -> Tags {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Pair {
        name: String,
        value: Value,
    }
    pairs
        .into_iter()
        .filter_map(|pair| crate::wire::from_value::<Pair>(pair).ok())
        .filter(|pair| !pair.name.is_empty())
        .map(|pair| (pair.name, pair.value))
        .collect()
}
