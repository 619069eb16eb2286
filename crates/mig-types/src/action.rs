//! Actions: signed requests with a target, a validity and operations.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::ActionId;
use crate::investigator::Investigator;
use crate::time::Timestamp;
use crate::wire;

/// The only syntax version in use.
pub const SYNTAX_VERSION: u16 = 2;

/// Longest name and target a database row holds, in characters.
pub const MAX_TEXT: usize = 2048;

/// Longest list of signatures a database row holds, in bytes of JSON.
pub const MAX_SIGNATURES: usize = 4096;

/// What an investigator signs and the platform carries. `spec: action, version 2`.
///
/// `name` and `target` are kept to the byte: both are signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Action {
    pub id: ActionId,
    pub name: String,
    pub target: String,
    pub description: Description,
    pub threat: Threat,
    pub validfrom: Timestamp,
    pub expireafter: Timestamp,
    /// `None` is JSON `null`, which is signed differently from an empty list.
    pub operations: Option<Vec<Operation>>,
    #[serde(serialize_with = "wire_null_if_empty")]
    pub pgpsignatures: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub investigators: Vec<Investigator>,
    #[serde(with = "status_text", skip_serializing_if = "Option::is_none")]
    pub status: Option<ActionStatus>,
    pub starttime: Timestamp,
    pub finishtime: Timestamp,
    pub lastupdatetime: Timestamp,
    pub counters: Counters,
    #[serde(skip_serializing_if = "is_zero")]
    pub syntaxversion: u16,
}

impl Action {
    /// The operations, none when they are `null`.
    pub fn operations(&self) -> &[Operation] {
        self.operations.as_deref().unwrap_or_default()
    }

    /// Checks what every component refuses, in the order of the original.
    ///
    /// A future `validfrom` is fine here; an agent refuses it on top.
    ///
    /// # Errors
    ///
    /// The first [`ActionFault`] found.
    pub fn validate(&self, now: Timestamp) -> Result<(), ActionFault> {
        if self.name.is_empty() {
            return Err(ActionFault::NoName);
        }
        if self.target.is_empty() {
            return Err(ActionFault::NoTarget);
        }
        if self.syntaxversion != SYNTAX_VERSION {
            return Err(ActionFault::SyntaxVersion(self.syntaxversion));
        }
        if self.validfrom > self.expireafter {
            return Err(ActionFault::EndsBeforeStart);
        }
        if now > self.expireafter {
            return Err(ActionFault::Expired(self.expireafter));
        }
        if self.operations.is_none() {
            return Err(ActionFault::NoOperations);
        }
        if self.pgpsignatures.is_empty() {
            return Err(ActionFault::Unsigned);
        }
        for (field, text) in [("name", &self.name), ("target", &self.target)] {
            if text.chars().count() > MAX_TEXT {
                return Err(ActionFault::TooLong { field, limit: MAX_TEXT });
            }
            // The signed string has no escaping: with these in a field, one
            // signature would fit two different actions.
            if let Some(part) = SEPARATORS.iter().find(|part| text.contains(**part)) {
                return Err(ActionFault::Ambiguous { field, part });
            }
        }
        Ok(())
    }
}

const SEPARATORS: [&str; 4] = [";target=", ";validfrom=", ";expireafter=", ";operations="];

/// Why an action cannot be accepted, whoever looks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionFault {
    #[error("action name is empty")]
    NoName,
    #[error("action target is empty")]
    NoTarget,
    #[error("wrong syntax version {0}, expected 2")]
    SyntaxVersion(u16),
    #[error("action expireafter is before validfrom")]
    EndsBeforeStart,
    #[error("action expireafter is in the past ({0})")]
    Expired(Timestamp),
    #[error("action is not valid before {0}")]
    NotYetValid(Timestamp),
    #[error("action has no operations")]
    NoOperations,
    #[error("action is not signed")]
    Unsigned,
    #[error("action {field} is longer than {limit} characters")]
    TooLong { field: &'static str, limit: usize },
    #[error("action {field} contains {part:?}, which would make its signature ambiguous")]
    Ambiguous { field: &'static str, part: &'static str },
}

/// Who wrote an investigation and where it is described; not signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    #[serde(skip_serializing_if = "is_number_zero", serialize_with = "go_float")]
    pub revision: f64,
}

/// What an investigation is about; free vocabulary, not signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Threat {
    #[serde(rename = "ref", skip_serializing_if = "String::is_empty")]
    pub reference: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub level: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// One module call inside an action.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// Exact, case-sensitive module name.
    pub module: String,
    /// Module parameters; a base64 text of gzipped JSON when compressed.
    pub parameters: Value,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_compressed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub want_compressed: bool,
}

/// Where an action stands. `pending → scheduled → preparing → inflight →
/// completed`, or `invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStatus {
    Pending,
    Scheduled,
    Preparing,
    Inflight,
    Completed,
    Invalid,
}

impl ActionStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Preparing => "preparing",
            Self::Inflight => "inflight",
            Self::Completed => "completed",
            Self::Invalid => "invalid",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        use ActionStatus::{Completed, Inflight, Invalid, Pending, Preparing, Scheduled};
        [Pending, Scheduled, Preparing, Inflight, Completed, Invalid]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether nothing will happen to the action any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Invalid)
    }
}

impl std::fmt::Display for ActionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many commands of an action are in which status; computed, never stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub sent: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub done: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub inflight: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub success: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub cancelled: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub expired: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub failed: u64,
    #[serde(skip_serializing_if = "is_zero64", deserialize_with = "wire::unsigned")]
    pub timeout: u64,
}

impl Counters {
    /// Adds `count` commands of one status.
    pub fn add(&mut self, status: crate::command::CommandStatus, count: u64) {
        use crate::command::CommandStatus as S;
        self.sent += count;
        if status == S::Sent {
            self.inflight += count;
            return;
        }
        self.done += count;
        match status {
            S::Sent => {}
            S::Success => self.success += count,
            S::Cancelled => self.cancelled += count,
            S::Expired => self.expired += count,
            S::Failed => self.failed += count,
            S::Timeout => self.timeout += count,
        }
    }
}

/// An unknown status reads as unset: a newer peer must not break a reader.
mod status_text {
    use super::ActionStatus;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(
        status: &Option<ActionStatus>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        status.map_or("", ActionStatus::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ActionStatus>, D::Error> {
        Ok(ActionStatus::parse(&String::deserialize(deserializer)?))
    }
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn wire_null_if_empty<S: serde::Serializer>(
    list: &Vec<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u16) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero64(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_number_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Whole doubles are written without fraction, as Go does.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn go_float<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match wire::integer_of(*value) {
        Some(whole) => serializer.serialize_u64(whole),
        None => serializer.serialize_f64(*value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Action {
        Action {
            name: "n".into(),
            target: "t".into(),
            validfrom: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            expireafter: Timestamp::parse("2026-01-01T01:00:00Z").unwrap(),
            operations: Some(vec![]),
            pgpsignatures: vec!["sig".into()],
            syntaxversion: 2,
            ..Action::default()
        }
    }

    #[test]
    fn refuses_in_the_order_of_the_original() {
        let now = Timestamp::parse("2026-01-01T00:30:00Z").unwrap();
        assert_eq!(valid().validate(now), Ok(()));
        let fault = |change: &dyn Fn(&mut Action)| {
            let mut action = valid();
            change(&mut action);
            action.validate(now).unwrap_err()
        };
        assert_eq!(fault(&|a| a.name.clear()), ActionFault::NoName);
        assert_eq!(fault(&|a| a.target.clear()), ActionFault::NoTarget);
        assert_eq!(fault(&|a| a.syntaxversion = 1), ActionFault::SyntaxVersion(1));
        assert_eq!(fault(&|a| a.expireafter = Timestamp::ZERO), ActionFault::EndsBeforeStart);
        let past = Timestamp::parse("2026-01-01T00:10:00Z").unwrap();
        assert_eq!(fault(&|a| a.expireafter = past), ActionFault::Expired(past));
        assert_eq!(fault(&|a| a.operations = None), ActionFault::NoOperations);
        assert_eq!(fault(&|a| a.pgpsignatures.clear()), ActionFault::Unsigned);
        for part in SEPARATORS {
            assert_eq!(
                fault(&|a| a.name = format!("x{part}y")),
                ActionFault::Ambiguous { field: "name", part }
            );
        }
        assert!(matches!(fault(&|a| a.name = "x".repeat(2049)), ActionFault::TooLong { .. }));
    }

    #[test]
    fn an_unset_action_prints_like_the_original() {
        let text = wire::to_string(&Action::default()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"id":0,"name":"","target":"","description":{},"threat":{},"#,
                r#""validfrom":"0001-01-01T00:00:00Z","expireafter":"0001-01-01T00:00:00Z","#,
                r#""operations":null,"pgpsignatures":null,"starttime":"0001-01-01T00:00:00Z","#,
                r#""finishtime":"0001-01-01T00:00:00Z","lastupdatetime":"0001-01-01T00:00:00Z","#,
                r#""counters":{}}"#
            )
        );
    }
}
