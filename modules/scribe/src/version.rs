//! Versions of packages: `epoch:version-release`.
//!
//! Neither dpkg's nor rpm's rules to the letter: policies were written against
//! these, in which `1.0~rc1` is newer than `1.0`.

use std::cmp::Ordering;

/// A version that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VersionError {
    #[error("invalid evr operation {0}")]
    Operation(String),
    #[error("invalid version {0:?}")]
    Malformed(String),
}

/// How a version has to stand to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Older,
    Newer,
    Equal,
}

impl Operation {
    pub(crate) fn parse(text: &str) -> Result<Self, VersionError> {
        match text {
            "<" => Ok(Self::Older),
            ">" => Ok(Self::Newer),
            "=" => Ok(Self::Equal),
            other => Err(VersionError::Operation(other.to_owned())),
        }
    }

    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Older => order.is_lt(),
            Self::Newer => order.is_gt(),
            Self::Equal => order.is_eq(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version<'a> {
    epoch: &'a str,
    upstream: &'a str,
    release: &'a str,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Result<Self, VersionError> {
        let malformed = || VersionError::Malformed(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (epoch, rest) = match text.split_at_checked(digits) {
            Some((epoch, rest)) if rest.starts_with(':') => (epoch, rest.strip_prefix(':')),
            _ => ("0", Some(text)),
        };
        let rest = rest.unwrap_or_default();
        let only_epoch = rest.is_empty() && !text.is_empty();
        if epoch.is_empty() || only_epoch || rest.ends_with('-') {
            return Err(malformed());
        }
        let (upstream, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Ok(Self { epoch, upstream, release })
    }
}

/// How `actual` stands to `check`.
///
/// # Errors
///
/// When one of them is only an epoch, has an empty one, or ends in `-`.
pub(crate) fn compare(actual: &str, check: &str) -> Result<Ordering, VersionError> {
    let (actual, check) = (Version::parse(actual)?, Version::parse(check)?);
    Ok(numbers(actual.epoch, check.epoch)
        .then_with(|| segments(actual.upstream, check.upstream))
        .then_with(|| segments(actual.release, check.release)))
}

fn segments(actual: &str, check: &str) -> Ordering {
    if actual == check {
        return Ordering::Equal;
    }
    let mut ours = tokens(actual);
    for other in tokens(check) {
        let Some(own) = ours.next() else { return Ordering::Less };
        let order = match (is_number(own), is_number(other)) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) => small_numbers(own, other),
            (false, false) => own.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
    if ours.next().is_some() { Ordering::Greater } else { Ordering::Equal }
}

/// Runs of digits and runs of letters; everything else only separates.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.flat_map(|run| {
        run.as_bytes()
            .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
            .filter_map(|token| std::str::from_utf8(token).ok())
    })
}

fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit())
}

/// As numbers; those beyond 63 bits as text.
fn small_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    let value = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() };
    match (value(a), value(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

fn numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["1:", ":1", ":", "1.0-", "-", "1:2-", "1:-"] {
            assert!(compare(text, "1").is_err() && compare("1", text).is_err(), "{text}");
        }
        for text in ["", "<=", "==", "badop"] {
            assert!(Operation::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn orders_versions_as_policies_expect_it() {
        use Ordering::{Equal, Greater, Less};
        for (actual, order, check) in [
            ("1.0.1d-2+deb7u14", Less, "1.0.1e-2+deb7u14"),
            ("1:7.3.547-7", Less, "2:7.3.547-7"),
            ("2.6.32-504.el6", Less, "0:2.6.32-504.8.1.el6"),
            ("0:0.2.4-1~deb7u1", Less, "0:0.2.4.23-1~deb7u1"),
            ("1.5.10", Greater, "1.5.9"),
            ("1.5.9z", Less, "1.5.10"),
            ("1.0.1", Less, "1.0.1e"),
            ("f", Greater, "a"),
            ("12412", Greater, "50"),
            ("123", Equal, "123"),
            ("0:24.7.0esr-1~deb7u1", Equal, "0:24.7.0esr-1~deb7u1"),
            ("1.0~rc1", Greater, "1.0"),
            ("1.0.1e-2", Greater, "1.0.1e"),
            ("2.02-beta1", Less, "2.02-beta2"),
            ("1.00", Equal, "1.0"),
            ("1.000", Less, "1.1"),
            ("1.0010", Equal, "1.10"),
            ("1.a", Less, "1.1"),
            ("1.1", Greater, "1.a"),
            ("", Equal, ""),
            ("", Less, "1"),
            ("1_0", Equal, "1.0"),
            ("abc:1", Equal, "abc.1"),
            ("00:1", Equal, "1"),
            ("99999999999999999999:1", Greater, "9:1"),
            ("1.99999999999999999999", Greater, "1.10000000000000000000"),
            ("-1", Less, "0-1"),
            ("1.é", Equal, "1."),
        ] {
            assert_eq!(compare(actual, check), Ok(order), "{actual} {check}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_compared_or_refused(a in "[0-9a-z.:~_-]{0,12}|\\PC{0,12}", b in "[0-9a-z.:~-]{0,12}") {
            let _ = compare(&a, &b);
            if let Ok(order) = compare(&a, &a) {
                prop_assert_eq!(order, Ordering::Equal);
            }
        }

        #[test]
        fn numbers_are_ordered_as_numbers(a: u32, b: u32, zeros in 0usize..4) {
            let padded = format!("1.{}{a}", "0".repeat(zeros));
            prop_assert_eq!(compare(&padded, &format!("1.{b}")), Ok(a.cmp(&b)));
        }
    }
}
