//! Signatures in one line, as they travel in JSON strings and HTTP headers.
//!
//! **Shape** the base64 body of an armored signature without line ends, then
//! `=` and the four digits of the CRC-24: `wsBcBAAB…BA==tGp6`.

use crate::armor::{self, ArmorError, BASE64};
use base64::Engine as _;

/// Longest one-line signature read; an RSA-8192 signature has 1,500 characters.
pub const MAX_LENGTH: usize = 16 * 1024;

const LABEL: &str = "PGP SIGNATURE";

/// Text that is not a signature in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OneLineError {
    #[error("signature is longer than {MAX_LENGTH} characters")]
    TooLong,
    #[error("signature does not end in a checksum of '=' and four base64 digits")]
    Checksum,
    #[error("signature is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("cannot read armored signature")]
    Armor(#[source] ArmorError),
}

/// Reduces an armored signature to one line, with a correct checksum.
///
/// # Errors
///
/// When `armored` does not hold exactly one signature block.
pub fn from_armored(armored: &str) -> Result<String, OneLineError> {
    let line = from_binary(&armor::decode(LABEL, armored).map_err(OneLineError::Armor)?);
    if line.len() > MAX_LENGTH { Err(OneLineError::TooLong) } else { Ok(line) }
}

/// Writes signature packets as one line.
pub fn from_binary(packets: &[u8]) -> String {
    BASE64.encode(packets) + &armor::checksum(packets)
}

/// The signature packets of a one-line signature.
///
/// The checksum must be there, but a wrong one is ignored: the peers do not
/// compare it, and the signature protects more than a CRC could.
///
/// # Errors
///
/// [`OneLineError`] on white space, other characters outside base64, a missing
/// checksum or more than [`MAX_LENGTH`] characters.
///
/// ```
/// # use mig_sign::oneline;
/// let line = oneline::from_binary(b"packets");
/// assert_eq!(line, "cGFja2V0cw===dWPq");
/// assert_eq!(oneline::to_binary(&line).unwrap(), b"packets");
/// assert!(oneline::to_binary("cGFja2V0cw").is_err());
/// ```
pub fn to_binary(one_line: &str) -> Result<Vec<u8>, OneLineError> {
    if one_line.len() > MAX_LENGTH {
        return Err(OneLineError::TooLong);
    }
    // The last '=': the body may end in padding of its own.
    let (body, checksum) = one_line.rsplit_once('=').ok_or(OneLineError::Checksum)?;
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if checksum.len() != 4 || !checksum.bytes().all(digit) {
        return Err(OneLineError::Checksum);
    }
    BASE64.decode(body).map_err(OneLineError::Base64)
}

/// Restores the armored form, with a correct checksum and a final LF.
///
/// # Errors
///
/// As [`to_binary`].
pub fn to_armored(one_line: &str) -> Result<String, OneLineError> {
    Ok(armor::encode(LABEL, &to_binary(one_line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_one_line() {
        for text in
            ["", "=", "AAAA", "AAAA=", "AAAA=abc", "AAAA=abcde", "AAAA=ab c", "AAAA=ab\u{e9}"]
        {
            assert_eq!(to_binary(text), Err(OneLineError::Checksum), "{text:?}");
        }
        for text in ["AA AA=abcd", "AAAA\n=abcd", "A=abcd", "AAA=abcd", "A*AA=abcd"] {
            assert!(matches!(to_binary(text), Err(OneLineError::Base64(_))), "{text:?}");
        }
        assert_eq!(to_binary(&"A".repeat(MAX_LENGTH + 1)), Err(OneLineError::TooLong));
        assert!(matches!(from_armored("x"), Err(OneLineError::Armor(_))));
    }

    #[test]
    fn a_wrong_checksum_is_ignored_and_corrected() {
        let line = from_binary(b"abc");
        let (body, _) = line.rsplit_once('=').unwrap();
        let wrong = format!("{body}=AAAA");
        assert_eq!(to_binary(&wrong).unwrap(), b"abc");
        assert_eq!(from_armored(&to_armored(&wrong).unwrap()).unwrap(), line);
    }
}
