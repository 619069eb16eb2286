//! The small languages of the checks: sizes, times and checksums.

use mig_module::ModuleError;
use mig_types::Timestamp;

/// How a value stands to its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Below,
    Exact,
    Above,
}

/// A size expression: `10`, `<10m`, `>1g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeRule {
    side: Side,
    bytes: u64,
}

impl SizeRule {
    /// # Errors
    ///
    /// On anything but an optional `<` or `>`, digits, and an optional lower-case
    /// `k`, `m`, `g` or `t`, and on sizes beyond 64 bits.
    pub(crate) fn parse(text: &str) -> Result<Self, ModuleError> {
        let invalid = |why: &str| {
            ModuleError::invalid(format!(
                "invalid size {text:?}: {why}, expected a form such as 10, <10m or >1g"
            ))
        };
        let (side, rest) = split_side(text);
        let (digits, shift) = match rest.as_bytes().last() {
            Some(b'k') => (rest.strip_suffix('k'), 10),
            Some(b'm') => (rest.strip_suffix('m'), 20),
            Some(b'g') => (rest.strip_suffix('g'), 30),
            Some(b't') => (rest.strip_suffix('t'), 40),
            _ => (Some(rest), 0),
        };
        let digits = digits.unwrap_or_default();
        let number = decimal(digits).ok_or_else(|| invalid("not a number"))?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(|| invalid("too large"))?;
        Ok(Self { side, bytes })
    }

    pub(crate) fn matches(self, size: u64) -> bool {
        match self.side {
            Side::Below => size <= self.bytes,
            Side::Exact => size == self.bytes,
            Side::Above => size >= self.bytes,
        }
    }
}

/// A modification time expression: `<90d` within, `>5h` before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRule {
    side: Side,
    age_nanos: i64,
}

impl TimeRule {
    /// # Errors
    ///
    /// On anything but `<` or `>`, digits, and `d`, `h` or `m`, and on ages beyond
    /// 292 years.
    pub(crate) fn parse(text: &str) -> Result<Self, ModuleError> {
        let invalid = |why: &str| {
            ModuleError::invalid(format!(
                "invalid mtime {text:?}: {why}, expected a form such as <90d, >5h or <30m"
            ))
        };
        let (side, rest) = split_side(text);
        if side == Side::Exact {
            return Err(invalid("must begin with < or >"));
        }
        let (digits, minutes) = match rest.as_bytes().last() {
            Some(b'd') => (rest.strip_suffix('d'), 24 * 60),
            Some(b'h') => (rest.strip_suffix('h'), 60),
            Some(b'm') => (rest.strip_suffix('m'), 1),
            _ => (None, 0),
        };
        let digits = digits.ok_or_else(|| invalid("must end with d, h or m"))?;
        let number = decimal(digits).ok_or_else(|| invalid("not a number"))?;
        let age_nanos = number
            .checked_mul(minutes * 60 * 1_000_000_000)
            .and_then(|nanos| i64::try_from(nanos).ok())
            .ok_or_else(|| invalid("too large"))?;
        Ok(Self { side, age_nanos })
    }

    /// Whether a time, as seconds and nanoseconds since the epoch, is on the
    /// rule's side of "now minus age". Times before 1111 or after 9998 never are.
    pub(crate) fn matches(self, now: Timestamp, modified: (i64, u32)) -> bool {
        const FIRST: i64 = -27_107_740_800;
        const LAST: i64 = 253_339_228_800;
        if !(FIRST..LAST).contains(&modified.0) {
            return false;
        }
        let nanos =
            |seconds: i64, nanos: u32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let now = nanos(now.unix(), now.datetime().timestamp_subsec_nanos());
        let limit = now - i128::from(self.age_nanos);
        let modified = nanos(modified.0, modified.1);
        match self.side {
            Side::Below => modified > limit,
            Side::Above => modified < limit,
            Side::Exact => false,
        }
    }
}

fn split_side(text: &str) -> (Side, &str) {
    if let Some(rest) = text.strip_prefix('<') {
        return (Side::Below, rest);
    }
    text.strip_prefix('>').map_or((Side::Exact, text), |rest| (Side::Above, rest))
}

/// Decimal digits only: `parse` would accept a sign.
fn decimal(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// A checksum a file may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) bytes: Vec<u8>,
}

impl Checksum {
    /// Reads a checksum of one of the families `md5`, `sha1`, `sha2`, `sha3`; its
    /// length tells the function.
    ///
    /// # Errors
    ///
    /// When it is not hexadecimal or no function of the family has its length.
    pub(crate) fn parse(family: &str, text: &str) -> Result<Self, ModuleError> {
        let algorithm = match (family, text.len()) {
            ("md5", 32) => Some(Algorithm::Md5),
            ("sha1", 40) => Some(Algorithm::Sha1),
            ("sha2", 64) => Some(Algorithm::Sha256),
            ("sha2", 96) => Some(Algorithm::Sha384),
            ("sha2", 128) => Some(Algorithm::Sha512),
            ("sha3", 56) => Some(Algorithm::Sha3_224),
            ("sha3", 64) => Some(Algorithm::Sha3_256),
            ("sha3", 96) => Some(Algorithm::Sha3_384),
            ("sha3", 128) => Some(Algorithm::Sha3_512),
            _ => None,
        };
        let bytes = hex::decode(text).ok();
        algorithm.zip(bytes).map(|(algorithm, bytes)| Self { algorithm, bytes }).ok_or_else(|| {
            ModuleError::invalid(format!(
                "invalid {family} checksum {text:?}: wrong length or digits"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_a_size() {
        for text in [
            "",
            "k",
            "<",
            "1K",
            "-5",
            "+5",
            "1 k",
            "<>5",
            "99999999999999999999",
            "10kb",
            "17179869184g",
            "0x5",
        ] {
            assert!(SizeRule::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bounds_include_their_number() {
        for (text, sizes) in [
            ("<1k", &[0, 1, 1023, 1024][..]),
            (">1k", &[1024, 1025]),
            ("1k", &[1024]),
            ("0", &[0]),
            (">0", &[0, 1, 1023, 1024, 1025]),
        ] {
            let rule = SizeRule::parse(text).unwrap();
            let all = [0, 1, 1023, 1024, 1025];
            let found: Vec<u64> = all.into_iter().filter(|size| rule.matches(*size)).collect();
            assert_eq!(found, sizes, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_age() {
        for text in ["2h", "<1s", ">", "<d", "<106752d", ">2562048h", "< 1d", "<-1d", ""] {
            assert!(TimeRule::parse(text).is_err(), "{text:?}");
        }
        assert!(TimeRule::parse("<106751d").is_ok() && TimeRule::parse(">2562047h").is_ok());
    }

    #[test]
    fn ages_are_strict_and_the_future_is_recent() {
        let now = Timestamp::from_unix(1_000_000, 500).unwrap();
        let recent = TimeRule::parse("<1h").unwrap();
        let old = TimeRule::parse(">1h").unwrap();
        let edge = 1_000_000 - 3600;
        assert!(!recent.matches(now, (edge, 500)) && !old.matches(now, (edge, 500)));
        assert!(recent.matches(now, (edge, 501)) && old.matches(now, (edge, 499)));
        assert!(recent.matches(now, (2_000_000, 0)) && old.matches(now, (0, 0)));
        for far in [i64::MIN, -62_135_596_800, 253_402_300_799, i64::MAX] {
            assert!(!recent.matches(now, (far, 0)) && !old.matches(now, (far, 0)));
        }
    }

    #[test]
    fn the_length_tells_the_function() {
        for (family, length, algorithm) in [
            ("sha2", 64, Some(Algorithm::Sha256)),
            ("sha2", 4, None),
            ("sha2", 56, None),
            ("sha3", 56, Some(Algorithm::Sha3_224)),
            ("md5", 33, None),
        ] {
            let text = "aB".repeat(40).repeat(2)[..length.min(160)].to_owned();
            let found = Checksum::parse(family, &text).ok().map(|sum| sum.algorithm);
            assert_eq!(found, algorithm, "{family} {length}");
        }
        assert!(Checksum::parse("md5", &"g".repeat(32)).is_err());
        assert!(Checksum::parse("md5", &"é".repeat(16)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}|[<>]?[0-9]{0,25}[kmgtdh]?") {
            let _ = (SizeRule::parse(&text), TimeRule::parse(&text));
            for family in ["md5", "sha1", "sha2", "sha3"] {
                let _ = Checksum::parse(family, &text);
            }
        }

        #[test]
        fn a_size_equals_itself(bytes: u64) {
            prop_assert!(SizeRule::parse(&bytes.to_string()).unwrap().matches(bytes));
        }
    }
}
