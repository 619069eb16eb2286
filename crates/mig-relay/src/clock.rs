//! The relay's own clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "a relay stamps and expires messages by its own clock, as a broker does; no caller's clock takes part"
)]
pub(crate) fn now_ms() -> i64 {
    // A clock before 1970 expires nothing, which loses nothing.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
