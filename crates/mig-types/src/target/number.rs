//! Numbers of targets: exact decimals, so that every evaluator agrees.

use std::fmt;

const SCALE: i128 = 1_000_000;

/// An integer of at most 18 digits, or a decimal of at most nine digits before
/// and six after the point: both are exact in a database's number and a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    millionths: i128,
}

impl Number {
    /// Reads `[+-]digits[.digits]` within the limits of the type.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            None => (unsigned, None),
            Some((whole, fraction)) => (whole, Some(fraction)),
        };
        let digits = |part: &str, most: usize| {
            !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())
        };
        let fits = match fraction {
            None => digits(whole, 18),
            Some(fraction) => digits(whole, 9) && digits(fraction, 6),
        };
        if !fits {
            return None;
        }
        let padded = format!("{:0<6}", fraction.unwrap_or_default());
        let millionths = whole.parse::<i128>().ok()? * SCALE + padded.parse::<i128>().ok()?;
        Some(Self { millionths: if text.starts_with('-') { -millionths } else { millionths } })
    }

    /// Reads a number without a point.
    pub fn parse_integer(text: &str) -> Option<Self> {
        if text.contains('.') { None } else { Self::parse(text) }
    }

    /// Reads a number with at most nine digits before the point.
    pub fn parse_decimal(text: &str) -> Option<Self> {
        let whole = text.split('.').next()?.trim_start_matches(['+', '-']);
        if whole.len() > 9 { None } else { Self::parse(text) }
    }

    /// The value, when it is whole.
    pub fn integer(self) -> Option<i64> {
        let whole = self.millionths % SCALE == 0;
        whole.then(|| i64::try_from(self.millionths / SCALE).ok()).flatten()
    }

    #[must_use]
    pub const fn negated(self) -> Self {
        Self { millionths: -self.millionths }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self { millionths: i128::from(value) * SCALE }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.millionths < 0 { "-" } else { "" };
        let size = self.millionths.unsigned_abs();
        let (whole, fraction) = (size / SCALE.unsigned_abs(), size % SCALE.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_double_or_a_database_could_change() {
        for text in
            ["", "+", ".", "1.", ".5", "1e5", "1234567890123456789", "1.1234567", "1234567890.5"]
        {
            assert_eq!(Number::parse(text), None, "{text}");
        }
        assert_eq!(Number::parse_integer("1.0"), None);
    }

    #[test]
    fn orders_and_prints() {
        for (text, printed) in
            [("007", "7"), ("-1.50", "-1.5"), ("+0.000001", "0.000001"), ("1.000", "1")]
        {
            assert_eq!(Number::parse(text).unwrap().to_string(), printed);
        }
        assert!(Number::parse("-1.5") < Number::parse("-1"));
        assert_eq!(Number::parse("2.0"), Some(Number::from(2)));
        assert_eq!(Number::parse("2.5").unwrap().integer(), None);
    }
}
