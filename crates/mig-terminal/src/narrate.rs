//! `-v`.

use mig_runtime::logging::{self, LogConfig, LogGuard};

use crate::failure::{Failure, chain};

/// Tells on standard error what is asked of the API, until the guard is
/// dropped. Tokens, keys and answers are not told.
///
/// # Errors
///
/// When the program tells already.
pub fn narrate(program: &str) -> Result<LogGuard, Failure> {
    let config =
        LogConfig { mode: "stderr".to_owned(), level: "debug".to_owned(), ..LogConfig::default() };
    logging::init(program, &config).map_err(|error| Failure::other(chain(&error)))
}
