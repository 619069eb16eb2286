//! Commands: one action on one agent, with status and results.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::Action;
use crate::agent::Agent;
use crate::id::CommandId;
use crate::time::Timestamp;

/// One action on one agent. No member is ever omitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    pub id: CommandId,
    pub action: Action,
    /// The row the scheduler chose. An agent echoes it and overwrites only
    /// `queueloc` with its own.
    pub agent: Agent,
    pub status: CommandStatus,
    /// One result per operation, in their order.
    pub results: Option<Vec<ModuleResult>>,
    pub starttime: Timestamp,
    pub finishtime: Timestamp,
}

/// Where a command stands; all but `sent` are final.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum CommandStatus {
    #[default]
    Sent,
    Success,
    Cancelled,
    Expired,
    Failed,
    Timeout,
}

impl CommandStatus {
    pub const ALL: [Self; 6] =
        [Self::Sent, Self::Success, Self::Cancelled, Self::Expired, Self::Failed, Self::Timeout];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether an agent may report it. Its word is not trusted further.
    pub const fn is_agents(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Timeout)
    }

    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Sent)
    }
}

impl std::fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a module answers for one operation. No member is ever omitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModuleResult {
    pub foundanything: bool,
    pub success: bool,
    /// Module-specific; `null` when there is nothing to say.
    pub elements: Value,
    /// Module-specific; `null` when there is nothing to say.
    pub statistics: Value,
    /// `None` is written as `null`, which is how the peers say "no error".
    pub errors: Option<Vec<String>>,
}

impl ModuleResult {
    /// A result that consists of one fatal error.
    pub fn failed(error: impl Into<String>) -> Self {
        Self { errors: Some(vec![error.into()]), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn an_empty_result_has_all_five_members() {
        assert_eq!(
            wire::to_string(&ModuleResult::default()).unwrap(),
            r#"{"foundanything":false,"success":false,"elements":null,"statistics":null,"errors":null}"#
        );
    }

    #[test]
    fn refuses_a_status_nobody_defined() {
        assert!(wire::from_slice::<Command>(br#"{"status":"done"}"#).is_err());
        let command: Command =
            wire::from_slice(br#"{"id":4.88337231053e+12,"Status":"timeout","results":null}"#)
                .unwrap();
        assert_eq!(command.status, CommandStatus::Timeout);
        assert_eq!(command.id.get(), 4_883_372_310_530);
    }
}
