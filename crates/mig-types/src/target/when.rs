//! Times and intervals of targets.

use chrono::{DateTime, Months, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use crate::time::Timestamp;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// About two thousand years, beyond any use and within every type.
const MAX_DAYS: i64 = 730_000;

/// A constant time: a base and what is added to it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instant {
    pub base: InstantBase,
    pub shifts: Vec<Interval>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstantBase {
    Now,
    At(Timestamp),
}

impl Instant {
    /// The time in whole microseconds, held between the years 1 and 9998.
    pub fn resolve(&self, now: Timestamp) -> Timestamp {
        let base = match self.base {
            InstantBase::Now => now,
            InstantBase::At(time) => time,
        };
        let mut at = base.truncate_micros().clamp(Timestamp::ZERO, Timestamp::NEVER);
        for shift in &self.shifts {
            at = shift.add_to(at);
        }
        at
    }
}

/// A span of time: calendar months first, then exact time. A day is 24 hours,
/// as it is in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    pub months: i32,
    pub micros: i64,
}

impl Interval {
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { months: -self.months, micros: -self.micros }
    }

    fn add_to(self, time: Timestamp) -> Timestamp {
        let months = Months::new(self.months.unsigned_abs());
        let limit = if self.months < 0 { Timestamp::ZERO } else { Timestamp::NEVER };
        let moved = if self.months < 0 {
            time.datetime().checked_sub_months(months)
        } else {
            time.datetime().checked_add_months(months)
        };
        let Some(moved) = moved else { return limit };
        let limit = if self.micros < 0 { Timestamp::ZERO } else { Timestamp::NEVER };
        moved
            .checked_add_signed(TimeDelta::microseconds(self.micros))
            .map_or(limit, Timestamp::from_datetime)
            .clamp(Timestamp::ZERO, Timestamp::NEVER)
    }

    /// Reads `1 day`, `1 hour 30 minutes`, `-2 weeks`, `01:30:00`, `3 days ago`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let mut words = split_units(&lower).peekable();
        let mut total = Self::default();
        if words.peek().is_none_or(|word| *word == "ago") {
            return None;
        }
        while let Some(word) = words.next() {
            if word == "ago" {
                return words.next().is_none().then(|| total.negated());
            }
            let part = if word.contains(':') {
                Self { months: 0, micros: clock(word)? }
            } else {
                Self::of(word, words.next()?)?
            };
            total = total.plus(part)?;
        }
        Some(total)
    }

    /// A quantity and its unit: `1.5` `hours`.
    pub(super) fn of(quantity: &str, unit: &str) -> Option<Self> {
        let unit = unit.to_ascii_lowercase();
        let months = match unit.as_str() {
            "month" | "months" | "mon" | "mons" => Some(1),
            "year" | "years" | "y" | "yr" | "yrs" => Some(12),
            _ => None,
        };
        if let Some(factor) = months {
            let count = quantity.parse::<i32>().ok().filter(|n| n.abs() <= 2000)?;
            return Some(Self { months: count * factor, micros: 0 });
        }
        let factor = match unit.as_str() {
            "week" | "weeks" | "w" => 7 * DAY,
            "day" | "days" | "d" => DAY,
            "hour" | "hours" | "h" | "hr" | "hrs" => 3600 * SECOND,
            "minute" | "minutes" | "m" | "min" | "mins" => 60 * SECOND,
            "second" | "seconds" | "s" | "sec" | "secs" => SECOND,
            _ => return None,
        };
        Some(Self { months: 0, micros: scaled(quantity, factor)? })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let micros = self.micros.checked_add(other.micros)?;
        let months = self.months.checked_add(other.months)?;
        let fits = micros.abs() <= MAX_DAYS * DAY && months.abs() <= 24_000;
        fits.then_some(Self { months, micros })
    }
}

/// Words, with `5min` taken as two.
fn split_units(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace().flat_map(|word| {
        let unit = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let (quantity, unit) = word.split_at(unit);
        [quantity, unit].into_iter().filter(|part| !part.is_empty())
    })
}

/// A decimal times a factor, exactly.
fn scaled(quantity: &str, factor: i64) -> Option<i64> {
    let unsigned = quantity.strip_prefix(['+', '-']).unwrap_or(quantity);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| {
        !part.is_empty() && part.len() <= 12 && part.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let padded = format!("{fraction:0<6}").parse::<i64>().ok()?;
    let product = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    let rest = i128::from(padded) * i128::from(factor) / 1_000_000;
    let micros = product.checked_add(i64::try_from(rest).ok()?)?;
    (micros <= MAX_DAYS * DAY).then_some(if quantity.starts_with('-') { -micros } else { micros })
}

/// `HH:MM` or `HH:MM:SS[.f]`, possibly with a sign.
fn clock(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.splitn(3, ':');
    let hours = scaled(parts.next().filter(|p| !p.contains('.'))?, 3600 * SECOND)?;
    let minutes = scaled(parts.next().filter(|p| p.len() == 2)?, 60 * SECOND)
        .filter(|m| *m < 3600 * SECOND)?;
    let seconds = parts.next().map_or(Some(0), |p| scaled(p, SECOND))?;
    if seconds >= 60 * SECOND {
        return None;
    }
    let total = hours + minutes + seconds;
    Some(if text.starts_with('-') { -total } else { total })
}

/// Reads a time as a target writes it; UTC unless an offset stands there.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let time = parse_offset(text).or_else(|| parse_utc(text))?;
    let time = Timestamp::from_datetime(time).truncate_micros();
    (Timestamp::ZERO..=Timestamp::NEVER).contains(&time).then_some(time)
}

fn parse_offset(text: &str) -> Option<DateTime<Utc>> {
    [
        "%Y-%m-%d %H:%M%#z",
        "%Y-%m-%dT%H:%M:%S%.f%#z",
        "%Y-%m-%d %H:%M:%S%.f%#z",
        "%Y-%m-%d %H:%M:%S%.f %#z",
    ]
    .iter()
    .find_map(|form| DateTime::parse_from_str(text, form).ok())
    .map(|time| time.with_timezone(&Utc))
}

fn parse_utc(text: &str) -> Option<DateTime<Utc>> {
    let time = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let midnight = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    Some(time.or_else(midnight)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(base: &str, shift: Interval) -> String {
        let base = InstantBase::At(parse_time(base).unwrap());
        Instant { base, shifts: vec![shift] }.resolve(Timestamp::ZERO).to_string()
    }

    #[test]
    fn refuses_what_is_no_interval() {
        for text in [
            "",
            " ",
            "1",
            "day",
            "1 fortnight",
            "1 day 2",
            "ago",
            "ago 1 day",
            "1:2",
            "1.5 months",
            "99999999999999999999 days",
            "999999999999 days",
            "--1 day",
            "1 day ago ago",
            "ą",
        ] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }

    #[test]
    fn reads_intervals() {
        for (text, months, micros) in [
            ("1 minute", 0, 60 * SECOND),
            ("30 days", 0, 30 * DAY),
            ("1 hour 30 minutes", 0, 5400 * SECOND),
            ("01:30:00", 0, 5400 * SECOND),
            ("1 day -00:30", 0, DAY - 1800 * SECOND),
            ("1.5 hours", 0, 5400 * SECOND),
            ("5min", 0, 300 * SECOND),
            ("1 year 2 mons", 14, 0),
            ("2 WEEKS ago", 0, -14 * DAY),
            ("-1 day", 0, -DAY),
            ("0.000001 s", 0, 1),
        ] {
            assert_eq!(Interval::parse(text), Some(Interval { months, micros }), "{text}");
        }
    }

    #[test]
    fn reads_times_as_utc() {
        for (text, time) in [
            ("2016-09-01", "2016-09-01T00:00:00Z"),
            ("2016-09-01 12:30", "2016-09-01T12:30:00Z"),
            ("2016-09-01 12:30:01.5", "2016-09-01T12:30:01.5Z"),
            ("2016-09-01T12:30:01Z", "2016-09-01T12:30:01Z"),
            ("2016-09-01 12:30:01+02", "2016-09-01T10:30:01Z"),
            ("2016-09-01 12:30:01 +02:00", "2016-09-01T10:30:01Z"),
        ] {
            assert_eq!(parse_time(text).unwrap().to_string(), time, "{text}");
        }
        for text in ["", "now", "2016", "2016-13-01", "+2016-01-01", "10000-01-01", "0000-01-01"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn shifts_by_the_calendar_and_saturates() {
        let month = Interval { months: -1, micros: 0 };
        assert_eq!(shifted("2016-03-31", month), "2016-02-29T00:00:00Z");
        let ages = Interval { months: -24_000, micros: 0 };
        assert_eq!(shifted("0001-05-01", ages), Timestamp::ZERO.to_string());
        assert_eq!(shifted("9000-05-01", ages.negated()), Timestamp::NEVER.to_string());
    }
}
