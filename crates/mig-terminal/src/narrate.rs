//! `-v` and `-vv`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use mig_runtime::logging::{self, LogConfig, LogGuard};

use crate::failure::Failure;

/// How much is told, by all of the program.
static VERBOSITY: AtomicU8 = AtomicU8::new(0);
/// Keeps the telling going to the end of the program.
static TELLING: OnceLock<LogGuard> = OnceLock::new();

/// Tells on standard error what is asked of the API (1), and what goes there and
/// comes back (2), from now on; 0 changes nothing. Tokens and keys are not told.
///
/// # Errors
///
/// When the program logs already.
pub fn narrate(program: &str, verbosity: u8) -> Result<(), Failure> {
    if verbosity == 0 {
        return Ok(());
    }
    if VERBOSITY.fetch_max(verbosity, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    let config =
        LogConfig { mode: "stderr".to_owned(), level: "debug".to_owned(), ..LogConfig::default() };
    let guard = logging::init(program, &config)
        .map_err(|error| Failure::of(crate::failure::code::OTHER, &error))?;
    let _ = TELLING.set(guard);
    Ok(())
}

/// How much was asked for.
pub(crate) fn verbosity() -> u8 {
    VERBOSITY.load(Ordering::Relaxed)
}
