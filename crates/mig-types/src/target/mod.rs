//! The target language: which agents an action is for.
//!
//! One parser, one tree. The store renders the tree to bound SQL; the agent
//! evaluates it about itself in three-valued logic.

use std::fmt;
use std::str::FromStr;

mod ast;
mod eval;
mod parse;

pub use ast::{Condition, Operand, Value};
pub use eval::{Facts, Truth};
pub use parse::TargetError;

/// A target: its exact text, which is signed, and the tree it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    text: String,
    condition: Condition,
}

impl Target {
    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Ok(Self { text: text.to_owned(), condition: parse::parse(text)? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
