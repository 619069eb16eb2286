//! Whether a program can do its work now.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

/// Longer than this, and the answer is no.
const LIMIT: Duration = Duration::from_secs(3);

/// Tells whether what the program needs is there.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// # Errors
    ///
    /// What is missing, in a few words that an operator understands and a
    /// stranger may read.
    async fn ready(&self) -> Result<(), String>;
}

/// For programs that need nothing.
#[derive(Debug, Clone, Copy)]
pub struct AlwaysReady;

#[async_trait]
impl Readiness for AlwaysReady {
    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Asks, but does not wait for ever.
///
/// # Errors
///
/// As [`Readiness::ready`], or that there was no answer in time.
pub async fn check(readiness: &dyn Readiness) -> Result<(), String> {
    match timeout(LIMIT, readiness.ready()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}
