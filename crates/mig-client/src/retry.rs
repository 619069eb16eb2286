//! Asking again what may be asked twice: GETs, and nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mig_types::{Timestamp, duration};
use reqwest::{Response, StatusCode};

use crate::api::ClientError;

/// A server that wants to be left alone for longer has given its answer.
const MOST_PATIENCE: Duration = Duration::from_mins(5);

/// How often a GET is repeated that met a passing failure, and who is told.
///
/// A POST is never repeated: the first one may have been taken.
#[derive(Clone)]
pub struct Retry {
    pub times: u32,
    /// The wait before the first repetition, about; each next one is twice as
    /// long.
    pub first: Duration,
    pub longest: Duration,
    /// Hears of each repetition, in a sentence.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            times: 0,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            tell: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("times", &self.times).finish_non_exhaustive()
    }
}

impl Retry {
    /// Waits before the next attempt; `false` when there is none. `done` counts
    /// the repetitions of this request.
    pub(crate) async fn again(&self, done: &mut u32, why: &Passing) -> bool {
        if *done >= self.times {
            return false;
        }
        let wait = match why.wanted {
            Some(wanted) if wanted > MOST_PATIENCE => return false,
            Some(wanted) => wanted,
            None => self.wait(*done, mig_runtime::random::u64()),
        };
        *done += 1;
        let (text, shown) = (&why.text, duration::format(wait));
        (self.tell)(&format!("{text}; asking again in {shown} ({done} of {})", self.times));
        tokio::time::sleep(wait).await;
        true
    }

    /// Twice as long each time; up to a half less, so that many clients that
    /// failed together do not come back together.
    fn wait(&self, done: u32, random: u64) -> Duration {
        let whole = self.first.saturating_mul(2_u32.saturating_pow(done)).min(self.longest);
        let half = whole / 2;
        let millis = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        whole.saturating_sub(Duration::from_millis(random % millis.saturating_add(1)))
    }
}

/// A failure that may have passed by the next time.
#[derive(Debug)]
pub(crate) struct Passing {
    text: String,
    /// What the server asked for.
    wanted: Option<Duration>,
}

impl Passing {
    /// An answer that says "not now". Other failures of a server are answers:
    /// the next one would be the same.
    pub(crate) fn of_response(response: &Response, now: Timestamp) -> Option<Self> {
        let status = response.status();
        let passes = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wanted = header.and_then(|text| retry_after(text, now));
        let text = format!("the API answered {}", status.as_u16());
        passes.contains(&status).then_some(Self { text, wanted })
    }

    /// A connection that was not made, or was lost.
    pub(crate) fn of_error(error: &ClientError) -> Option<Self> {
        let passes = matches!(error, ClientError::Transport { .. });
        passes.then(|| Self { text: error.to_string(), wanted: None })
    }
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = Timestamp::parse_http(text)?;
    Some(if date > now { date.since(now) } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        let retry = Retry { times: 9, ..Retry::default() };
        for (done, whole) in [(0, 500), (1, 1000), (2, 2000), (6, 30_000), (u32::MAX, 30_000)] {
            assert_eq!(retry.wait(done, 0), Duration::from_millis(whole), "{done}");
            for random in [1, 77_777, u64::MAX] {
                let wait = retry.wait(done, random);
                assert!(wait >= Duration::from_millis(whole / 2), "{done}: {wait:?}");
                assert!(wait <= Duration::from_millis(whole), "{done}: {wait:?}");
            }
        }
        assert_ne!(retry.wait(3, 1), retry.wait(3, 1000));
    }

    #[test]
    fn a_server_asks_for_seconds_or_a_date() {
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Mon, 01 Jun 2026 12:01:00 GMT", Some(60)),
            ("Mon, 01 Jun 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
