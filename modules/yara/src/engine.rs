//! What an engine does for the module.

use std::time::Duration;

/// Compiles rules.
pub trait Engine: Send + Sync {
    /// Compiles rule text in the namespace `default`, without includes and without
    /// external variables.
    ///
    /// # Errors
    ///
    /// What is wrong, one line for each fault, with its line number.
    fn compile(&self, rules: &str) -> Result<Box<dyn Rules>, Vec<String>>;
}

/// Compiled rules, shared by threads.
pub trait Rules: Sync {
    /// A scanner for the thread it is called on.
    fn scanner(&self) -> Box<dyn Scanner + '_>;
}

/// Scans one piece of data after the other.
pub trait Scanner {
    /// The identifiers of the public rules that match, in the order of the rules.
    ///
    /// # Errors
    ///
    /// Why the scan did not come to its end.
    fn scan(&mut self, data: &[u8], limit: Duration) -> Result<Vec<String>, ScanError>;
}

/// Why a scan did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("scan timeout")]
    TimedOut,
    #[error("{0}")]
    Failed(String),
}
