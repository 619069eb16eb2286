//! Fingerprints of OpenPGP primary keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The fingerprint of a version 4 primary key: 40 upper-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

/// Text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key fingerprint of 40 hexadecimal digits")]
pub struct FingerprintError(String);

impl Fingerprint {
    pub fn from_bytes(bytes: &[u8; 20]) -> Self {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        Self(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Accepts any case, blanks between groups and a leading `0x`, as people
    /// paste them.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let bare: String = text.split_whitespace().collect();
        let bare = bare.strip_prefix("0x").or(bare.strip_prefix("0X")).unwrap_or(&bare);
        if bare.len() == 40 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(bare.to_ascii_uppercase()))
        } else {
            Err(FingerprintError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_what_people_paste() {
        let wanted = "2466BA175C45F967CD20A06B09C0241F854718C7";
        for text in [
            "2466BA175C45F967CD20A06B09C0241F854718C7",
            "0x2466ba175c45f967cd20a06b09c0241f854718c7",
            "2466 BA17 5C45 F967 CD20  A06B 09C0 241F 8547 18C7",
        ] {
            assert_eq!(text.parse::<Fingerprint>().unwrap().as_str(), wanted);
        }
        for text in ["", "854718C7", "ZZ66BA175C45F967CD20A06B09C0241F854718C7"] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text:?}");
        }
    }
}
