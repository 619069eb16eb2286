//! The tree a target means.

/// A boolean condition about one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition;

/// A value inside a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand;

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Value;
