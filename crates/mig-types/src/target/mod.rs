//! The target language: which agents an action is for.
//!
//! One parser, one tree. The store renders the tree to bound SQL; the agent
//! evaluates it about itself in three-valued logic. Every construct means the
//! same in `PostgreSQL`, in `SQLite` and in [`Target::evaluate`]; what could not
//! is refused when the target is read.

use std::fmt;
use std::str::FromStr;

mod ast;
mod columns;
mod eval;
mod json_path;
mod number;
mod operand;
mod parse;
mod pattern;
mod regex_subset;
mod sub_select;
mod when;

pub use ast::{
    CompareOp, Condition, JsonBase, JsonPath, Operand, OperandType, Step, SubSelect, Value,
};
pub use columns::{Column, ColumnType, Table};
pub use eval::{Facts, Truth};
pub use number::Number;
pub use operand::{FALSE_WORDS, TRUE_WORDS};
pub use parse::TargetError;
pub use pattern::{LikePattern, RegexPattern};
pub use when::{Instant, InstantBase, Interval};

/// Longest target in characters: what the database column holds.
pub const MAX_CHARS: usize = 2048;

/// A target: its exact text, which is signed, and the tree it means.
///
/// ```
/// # use mig_types::Target;
/// let target: Target = "queueloc LIKE 'linux.%' AND tags->>'operator' = 'IT'".parse().unwrap();
/// let error = "mode = 'daemon' AND pg_sleep(1)".parse::<Target>().unwrap_err();
/// assert_eq!((error.line, error.column), (1, 21));
/// # let _ = target;
/// ```
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

    /// What the text means.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Ok(Self { text: text.to_owned(), condition: parse::parse(text, Table::Agents)? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which loaders a manifest is for, or what a loader's report must say: the
/// target language over the columns of a loader's entry.
///
/// ```
/// # use mig_types::LoaderTarget;
/// let target: LoaderTarget = "env#>>'{os}' = 'linux' AND loadername LIKE 'web%'".parse().unwrap();
/// assert!("loaderkey IS NOT NULL".parse::<LoaderTarget>().is_err());
/// # let _ = target;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderTarget {
    text: String,
    condition: Condition,
}

impl LoaderTarget {
    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text means.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl FromStr for LoaderTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Ok(Self { text: text.to_owned(), condition: parse::parse(text, Table::Loaders)? })
    }
}
