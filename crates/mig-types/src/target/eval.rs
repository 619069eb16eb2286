//! A target evaluated on one agent, without a database.

use super::Target;
use crate::agent::Agent;
use crate::time::Timestamp;

/// SQL's three truth values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    /// Depends on what only the database knows.
    Unknown,
}

/// What is known about the agent a target is evaluated on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `name`, `queueloc`, `mode`, `version`, `pid`, `environment` and `tags`
    /// are known; the rest of the row is not.
    pub agent: &'a Agent,
    pub now: Timestamp,
}

impl Target {
    /// Whether the target holds for the agent, as far as the agent can know.
    pub fn evaluate(&self, facts: Facts<'_>) -> Truth {
        let _ = facts;
        Truth::Unknown
    }
}
