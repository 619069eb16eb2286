//! Why a pass could not finish.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use mig_relay::RelayError;
use mig_store::StoreError;

/// A pass that must be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The store did not do it. `doing` completes "cannot …".
    #[error("cannot {doing}")]
    Store { doing: &'static str, source: StoreError },
    /// The relay did not do it. `doing` completes "cannot …".
    #[error("cannot {doing}")]
    Relay { doing: &'static str, source: RelayError },
    /// The spool could not be read or written.
    #[error("cannot use {}", path.display())]
    Spool { path: PathBuf, source: std::io::Error },
    /// The scheduler's own key could not be made or read.
    #[error("the key of investigator {} is not usable", mig_types::investigator::SCHEDULER_NAME)]
    Identity { source: Box<dyn Error + Send + Sync> },
    /// Somebody created an investigator with the scheduler's name.
    #[error(
        "investigator {} exists without a private key; the name is reserved",
        mig_types::investigator::SCHEDULER_NAME
    )]
    ReservedName,
    /// A worker thread died.
    #[error("a background task failed")]
    Task { source: tokio::task::JoinError },
}

impl SchedulerError {
    /// For `map_err` after a call of the store.
    pub(crate) fn store(doing: &'static str) -> impl Fn(StoreError) -> Self {
        move |source| Self::Store { doing, source }
    }

    /// For `map_err` after a call of the relay.
    pub(crate) fn relay(doing: &'static str) -> impl Fn(RelayError) -> Self {
        move |source| Self::Relay { doing, source }
    }
}

/// An error with everything that caused it, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = SchedulerError::Store {
            doing: "claim actions",
            source: StoreError::Unavailable { source: "connection refused".into() },
        };
        assert_eq!(
            Chain(&error).to_string(),
            "cannot claim actions: database is not reachable: connection refused"
        );
    }
}
