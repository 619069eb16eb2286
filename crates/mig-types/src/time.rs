//! Points in time as they travel on the wire.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Timelike as _, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, UTC, with nanoseconds.
///
/// **Wire** RFC 3339 with up to nine fraction digits and trailing zeros
/// trimmed, always with `Z`; any offset is accepted. The zero value is
/// `0001-01-01T00:00:00Z` and stands for "unset".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// "Unset" on the wire: the first instant of year 1.
    pub const ZERO: Self = Self(fixed(1, 1, 1, 0, 0, 0, 0));
    /// `starttime` and `lastupdatetime` of an action nobody has started.
    pub const NOT_STARTED: Self = Self(fixed(9, 1, 11, 11, 11, 11, 11));
    /// `finishtime` of what has not finished, `destructiontime` of a live agent.
    pub const NEVER: Self = Self(fixed(9998, 1, 11, 11, 11, 11, 0));

    pub const fn from_datetime(value: DateTime<Utc>) -> Self {
        Self(value)
    }

    /// Seconds and nanoseconds since the Unix epoch, if in range.
    pub fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        DateTime::from_timestamp(seconds, nanos).map(Self)
    }

    /// Parses RFC 3339 with any offset.
    ///
    /// # Errors
    ///
    /// The parser's complaint about anything else.
    pub fn parse(text: &str) -> Result<Self, chrono::ParseError> {
        Ok(Self(DateTime::parse_from_rfc3339(text)?.with_timezone(&Utc)))
    }

    /// Reads the date of an HTTP header: `Tue, 01 Jul 2003 10:52:37 GMT`.
    pub fn parse_http(text: &str) -> Option<Self> {
        Some(Self(DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc)))
    }

    pub const fn datetime(self) -> DateTime<Utc> {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub fn unix(self) -> i64 {
        self.0.timestamp()
    }

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Drops what a microsecond column cannot hold. Rounding instead would
    /// move a signed second forward and break the signature.
    #[must_use]
    pub fn truncate_micros(self) -> Self {
        let nanos = self.0.nanosecond() / 1000 * 1000;
        Self(self.0.with_nanosecond(nanos).unwrap_or(self.0))
    }

    /// Time passed since `earlier`, zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        (self.0 - earlier.0).to_std().unwrap_or_default()
    }

    /// `self - earlier` in nanoseconds, saturating, negative when it lies ahead.
    pub fn signed_nanos_since(self, earlier: Self) -> i64 {
        let delta = self.0 - earlier.0;
        delta.num_nanoseconds().unwrap_or(if delta < chrono::TimeDelta::zero() {
            i64::MIN
        } else {
            i64::MAX
        })
    }
}

#[expect(clippy::expect_used, reason = "called with literals only, evaluated at compile time")]
const fn fixed(y: i32, mo: u32, d: u32, h: u32, mi: u32, s: u32, nano: u32) -> DateTime<Utc> {
    let date = NaiveDate::from_ymd_opt(y, mo, d).expect("a literal date");
    date.and_hms_nano_opt(h, mi, s, nano).expect("a literal time").and_utc()
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::NEVER`].
    fn add(self, rhs: Duration) -> Self {
        chrono::TimeDelta::from_std(rhs)
            .ok()
            .and_then(|delta| self.0.checked_add_signed(delta))
            .map_or(Self::NEVER, Self)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::ZERO`].
    fn sub(self, rhs: Duration) -> Self {
        chrono::TimeDelta::from_std(rhs)
            .ok()
            .and_then(|delta| self.0.checked_sub_signed(delta))
            .map_or(Self::ZERO, Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.nanosecond() % 1_000_000_000;
        if nanos == 0 {
            return f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
        let text = self.0.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let digits = text.trim_end_matches('Z').trim_end_matches('0');
        write!(f, "{digits}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| {
            serde::de::Error::custom(format_args!("{text:?} is not an RFC 3339 time: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_go() {
        for (text, printed) in [
            ("2016-09-01T12:00:00Z", "2016-09-01T12:00:00Z"),
            ("2016-09-01T12:00:00.120Z", "2016-09-01T12:00:00.12Z"),
            ("2016-09-01T14:05:00.999999999+02:00", "2016-09-01T12:05:00.999999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9998-01-11T11:11:11Z", "9998-01-11T11:11:11Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), printed);
        }
        assert_eq!(Timestamp::NOT_STARTED.to_string(), "0009-01-11T11:11:11.000000011Z");
    }

    #[test]
    fn dates_of_headers_are_read() {
        let time = Timestamp::parse_http("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37Z");
        for text in ["", "yesterday", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            assert!(Timestamp::parse_http(text).is_none(), "{text}");
        }
    }

    #[test]
    fn truncates_and_never_rounds() {
        let time = Timestamp::parse("2016-09-01T12:00:00.9999996Z").unwrap();
        assert_eq!(time.truncate_micros().to_string(), "2016-09-01T12:00:00.999999Z");
    }

    #[test]
    fn floors_seconds_before_the_epoch() {
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59.5Z").unwrap().unix(), -1);
        assert_eq!(Timestamp::ZERO.unix(), -62_135_596_800);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::NEVER + Duration::MAX, Timestamp::NEVER);
        assert_eq!(Timestamp::ZERO - Duration::MAX, Timestamp::ZERO);
    }
}
