//! ASCII armor: base64 in 64 columns between two marker lines.
//!
//! Written without headers and with a checksum. Read leniently: leading text,
//! headers, CRLF, a missing or wrong checksum are all fine, because the
//! contents are checked by cryptography and not by a CRC.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Longest armored text read. Keys with many certifications stay below it.
pub(crate) const MAX_ARMOR: usize = 512 * 1024;

/// Standard alphabet with padding; unused bits of the last digit may be set,
/// as Go's reader allows.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const COLUMNS: usize = 64;

/// Text that is not one armored block of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmorError {
    #[error("armored text is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("no {label} block found")]
    Missing { label: &'static str },
    #[error("more than one {label} block found")]
    Several { label: &'static str },
    #[error("{label} block has no end line")]
    Unfinished { label: &'static str },
    #[error("{label} block is not base64")]
    Base64 { label: &'static str, source: base64::DecodeError },
}

/// Wraps `data` in armor, final LF included.
pub(crate) fn encode(label: &str, data: &[u8]) -> String {
    let body = BASE64.encode(data);
    let mut out = format!("-----BEGIN {label}-----\n\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any split is on a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(COLUMNS));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out + &checksum(data) + &format!("\n-----END {label}-----\n")
}

/// The contents of the only block of kind `label` in `text`.
///
/// # Errors
///
/// [`ArmorError`] when there is none, more than one, or its body is no base64.
pub(crate) fn decode(label: &'static str, text: &str) -> Result<Vec<u8>, ArmorError> {
    if text.len() > MAX_ARMOR {
        return Err(ArmorError::TooLong { limit: MAX_ARMOR });
    }
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    match text.lines().filter(|line| line.trim() == begin).count() {
        0 => return Err(ArmorError::Missing { label }),
        1 => {}
        _ => return Err(ArmorError::Several { label }),
    }
    let mut body = String::with_capacity(text.len());
    let mut in_headers = true;
    for line in text.lines().map(str::trim).skip_while(|line| *line != begin).skip(1) {
        if line == end {
            return BASE64.decode(body).map_err(|source| ArmorError::Base64 { label, source });
        }
        // Base64 has no colon, so a header cannot be mistaken for the body.
        if in_headers && (line.is_empty() || line.contains(':')) {
            in_headers = !line.is_empty();
            continue;
        }
        in_headers = false;
        let is_checksum = line.len() == 5 && line.starts_with('=');
        if !is_checksum {
            body.push_str(line);
        }
    }
    Err(ArmorError::Unfinished { label })
}

/// The checksum line: `=` and four base64 digits.
pub(crate) fn checksum(data: &[u8]) -> String {
    let [_, crc @ ..] = crc24(data).to_be_bytes();
    format!("={}", BASE64.encode(crc))
}

/// CRC-24 of `OpenPGP` (RFC 4880, section 6.1).
fn crc24(data: &[u8]) -> u32 {
    let mut crc = 0x00b7_04ce_u32;
    for byte in data {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    crc & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "PGP SIGNATURE";

    #[test]
    fn refuses_what_is_not_one_block() {
        let block = encode(LABEL, b"x");
        for (text, error) in [
            (String::new(), ArmorError::Missing { label: LABEL }),
            (encode("PGP MESSAGE", b"x"), ArmorError::Missing { label: LABEL }),
            (format!("{block}{block}"), ArmorError::Several { label: LABEL }),
            (
                "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n".into(),
                ArmorError::Unfinished { label: LABEL },
            ),
            ("x".repeat(MAX_ARMOR + 1), ArmorError::TooLong { limit: MAX_ARMOR }),
        ] {
            assert_eq!(decode(LABEL, &text), Err(error));
        }
        let garbage = "-----BEGIN PGP SIGNATURE-----\n\nA*\n-----END PGP SIGNATURE-----";
        assert!(matches!(decode(LABEL, garbage), Err(ArmorError::Base64 { .. })));
    }

    #[test]
    fn reads_what_other_programs_write() {
        let data: Vec<u8> = (0..=255).collect();
        let block = encode(LABEL, &data);
        let unsummed: String = block
            .lines()
            .filter(|line| !line.starts_with('='))
            .flat_map(|line| [line, "\r\n"])
            .collect();
        for text in [
            block.clone(),
            block.replace('\n', "\r\n"),
            block.replacen("\n\n", "\nVersion: GnuPG v1\nComment: a:b\n\n", 1),
            block.replacen("\n\n", "\n", 1),
            format!("some text above\n{block}and below"),
            unsummed,
        ] {
            assert_eq!(decode(LABEL, &text).unwrap(), data, "{text}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc24(b""), 0x00b7_04ce);
        assert_eq!(crc24(b"123456789"), 0x0021_cf02);
    }
}
