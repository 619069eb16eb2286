//! Target text to tree.

use super::ast::Condition;

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TargetError {
    /// 1-based.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    pub message: String,
}

pub(super) fn parse(_text: &str) -> Result<Condition, TargetError> {
    Ok(Condition)
}
