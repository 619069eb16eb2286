//! Durations in Go's notation: `300ms`, `1h30m`, `2.496705ms`.

use std::time::Duration;

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration such as \"300s\", \"5m\" or \"1h30m\"")]
pub struct DurationError {
    text: String,
}

/// Nanoseconds of each unit Go knows.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a duration, which may be negative, as signed nanoseconds.
///
/// # Errors
///
/// [`DurationError`] on a missing unit, an unknown unit, an empty text, or a
/// value beyond 292 years.
#[expect(clippy::cast_possible_truncation, reason = "range checked before the cast")]
pub fn parse_signed(text: &str) -> Result<i64, DurationError> {
    let error = || DurationError { text: text.chars().take(64).collect() };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, tail) = rest.split_at(digits);
        if !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        total += number.parse::<f64>().map_err(|_| error())? * nanos;
        rest = after;
    }
    if total >= 9.223_372_036_854_775e18 {
        return Err(error());
    }
    let nanos = total.round() as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// Reads a duration that is not negative.
///
/// # Errors
///
/// [`DurationError`] as [`parse_signed`], and on a negative value.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let nanos = parse_signed(text)?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| DurationError { text: text.chars().take(64).collect() })
}

/// Reads a duration as people write it: as [`parse`], or whole days and weeks
/// such as `2d`.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_period(text: &str) -> Result<Duration, DurationError> {
    let whole = |unit: char, days: u64| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(days * 86_400).map(Duration::from_secs)
    };
    match whole('d', 1).or_else(|| whole('w', 7)) {
        Some(period) => Ok(period),
        None => parse(text),
    }
}

/// Writes a duration as Go does: `0s`, `84.625µs`, `1m1s`, `1h1m1.005s`.
pub fn format(duration: Duration) -> String {
    format_signed(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Writes signed nanoseconds as Go does.
pub fn format_signed(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let abs = nanos.unsigned_abs();
    let body = match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{abs}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(abs, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(abs, 1_000_000)),
        _ => {
            let (minutes, rest) = (abs / 60_000_000_000, abs % 60_000_000_000);
            let seconds = format!("{}s", decimal(rest, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, m) => format!("{m}m{seconds}"),
                (h, m) => format!("{h}h{m}m{seconds}"),
            }
        }
    };
    format!("{sign}{body}")
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// For `#[serde(with = …)]`: a duration as Go text.
pub mod serde_text {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "5", "d", "5d", "s", ".s", "1h 2m", "-", "1e3s", "9999999h"] {
            assert!(parse_signed(text).is_err(), "{text:?}");
        }
        assert!(parse("-5s").is_err());
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("-5s", -5_000_000_000),
            ("+10m", 600_000_000_000),
            ("3\u{b5}s", 3_000),
        ] {
            assert_eq!(parse_signed(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn prints_like_go() {
        for (nanos, text) in [
            (0, "0s"),
            (312, "312ns"),
            (84_625, "84.625\u{b5}s"),
            (2_496_705, "2.496705ms"),
            (1_500_000_000, "1.5s"),
            (61_000_000_000, "1m1s"),
            (3_661_005_000_000, "1h1m1.005s"),
            (3_605_000_000_000, "1h0m5s"),
            (-137_141_481_302, "-2m17.141481302s"),
        ] {
            assert_eq!(format_signed(nanos), text);
            assert_eq!(parse_signed(text), Ok(nanos));
        }
    }
}
