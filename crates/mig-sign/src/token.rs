//! Tokens of the API: a signed time in an HTTP header.
//!
//! **Shape** `1;2016-09-01T12:00:00Z;6884999430144;<one-line signature>`. What
//! is signed is the part before the last `;` and a final LF.

use std::time::Duration;

use mig_types::{Fingerprint, Timestamp};

use crate::keyring::Keyring;
use crate::verify::{self, VerifyError};

/// The only version in use.
const VERSION: &str = "1";

/// Longest header read.
const MAX_LENGTH: usize = crate::oneline::MAX_LENGTH + 256;

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("invalid token format")]
    Format,
    #[error("invalid token version")]
    Version,
    #[error("token time is not of the form 2006-01-02T15:04:05Z")]
    Time,
    #[error("token is expired or its time is too far from ours")]
    Expired,
    #[error("key {fingerprint} has expired")]
    KeyExpired { fingerprint: Fingerprint },
    #[error("token signature is refused")]
    Signature(#[source] VerifyError),
}

/// The text to sign for a token, final LF included.
///
/// ```
/// # use mig_sign::token;
/// # use mig_types::Timestamp;
/// let now = Timestamp::parse("2016-09-01T12:00:00.5Z").unwrap();
/// assert_eq!(token::text(now, 7), "1;2016-09-01T12:00:00Z;7\n");
/// assert_eq!(token::assemble("1;2016-09-01T12:00:00Z;7\n", "sig"), "1;2016-09-01T12:00:00Z;7;sig");
/// ```
pub fn text(now: Timestamp, nonce: u64) -> String {
    let seconds = Timestamp::from_unix(now.unix(), 0).unwrap_or(now);
    format!("{VERSION};{seconds};{nonce}\n")
}

/// The header value: `text` without its LF, and its one-line signature.
pub fn assemble(text: &str, signature: &str) -> String {
    format!("{};{signature}", text.trim_end_matches('\n'))
}

/// Verifies a token and returns the fingerprint of the caller's primary key.
///
/// Single use is not enforced: two honest clients of one person may send equal
/// tokens.
///
/// # Errors
///
/// [`TokenError`], in the order form, version, time, signature. A key that has
/// expired is refused even if the signature is dated before that.
pub fn verify(
    keyring: &Keyring,
    header: &str,
    now: Timestamp,
    tolerance: Duration,
) -> Result<Fingerprint, TokenError> {
    if header.len() > MAX_LENGTH {
        return Err(TokenError::Format);
    }
    let parts: Vec<&str> = header.split(';').collect();
    let [version, time, nonce, signature] = parts.as_slice() else {
        return Err(TokenError::Format);
    };
    if *version != VERSION {
        return Err(TokenError::Version);
    }
    let time_of_token = parse_time(time).ok_or(TokenError::Time)?;
    if u128::from(now.signed_nanos_since(time_of_token).unsigned_abs()) > tolerance.as_nanos() {
        return Err(TokenError::Expired);
    }
    let text = format!("{version};{time};{nonce}\n");
    let signer = verify::verify_detached(keyring, text.as_bytes(), signature, now)
        .map_err(TokenError::Signature)?;
    if verify::is_expired(keyring, &signer.fingerprint, now) {
        return Err(TokenError::KeyExpired { fingerprint: signer.fingerprint });
    }
    Ok(signer.fingerprint)
}

/// RFC 3339, but with a literal `T` and `Z` as Go's layout demands.
fn parse_time(text: &str) -> Option<Timestamp> {
    let shaped = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    shaped.then(|| Timestamp::parse(text).ok()).flatten()
}
