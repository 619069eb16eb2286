//! What is wrong with a configuration, and where.

use std::fmt;

/// A place in a file: line and column from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A fault of a configuration file.
///
/// Prints as `file:line:column: section.key: message`, without the parts that
/// are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    position: Option<Position>,
    key: Option<String>,
    message: String,
}

impl ConfigError {
    /// A value that its type allows and the program does not; `key` is
    /// `section.key`.
    pub fn invalid(key: &str, reason: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(reason) }
    }

    /// `section.key`, when the fault concerns one.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where the fault is, when it is in one place.
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { file: String::new(), position: None, key: None, message: message.into() }
    }

    pub(super) fn at(position: Position, message: impl Into<String>) -> Self {
        Self { position: Some(position), ..Self::new(message) }
    }

    pub(super) fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Adds what an outer layer knows and the inner one did not.
    pub(super) fn or_position(mut self, position: Option<Position>) -> Self {
        self.position = self.position.or(position);
        self
    }

    pub(super) fn or_key(mut self, key: impl FnOnce() -> String) -> Self {
        self.key = self.key.or_else(|| Some(key()));
        self
    }

    pub(super) fn map_key(mut self, map: impl FnOnce(String) -> String) -> Self {
        self.key = self.key.map(map);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            f.write_str(":")?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.file.is_empty() || self.position.is_some() {
            f.write_str(" ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl serde::de::Error for ConfigError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self { key: Some(field.to_owned()), ..Self::new("is missing") }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { key: Some(field.to_owned()), ..Self::new("is given under two names") }
    }
}
