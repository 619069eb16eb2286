//! When an action is valid.

use std::time::Duration;

use mig_terminal::failure::Failure;
use mig_types::{Timestamp, duration};

/// Clocks differ: an action begins in the past and lives a little longer.
const ALLOWANCE: Duration = Duration::from_mins(1);

/// `now <duration>`, `<start> <stop>` or `<start> +<duration>`.
pub(super) fn parse(words: &[&str], now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
    let wrong = |reason: String| {
        Failure::usage(reason).hint("such as settimes now 30m, or two dates 2026-06-30T12:00:00Z")
    };
    let [start, stop] = words[..] else {
        return Err(wrong("must be 'settimes <start> <stop>' or 'settimes now <duration>'".into()));
    };
    let period = |text: &str| duration::parse_period(text.strip_prefix('+').unwrap_or(text));
    if start == "now" {
        let lasts = period(stop).map_err(|error| wrong(error.to_string()))?;
        let from = Timestamp::from_unix(now.unix(), 0).unwrap_or(now) - ALLOWANCE;
        return Ok((from, from + lasts + ALLOWANCE));
    }
    let date = |text: &str| {
        Timestamp::parse(text).map_err(|_| wrong(format!("{text:?} is not an RFC 3339 date")))
    };
    let from = date(start)?;
    let until = if stop.starts_with('+') {
        from + period(stop).map_err(|error| wrong(error.to_string()))?
    } else {
        date(stop)?
    };
    if until <= from {
        return Err(wrong("it would end before it begins".into()));
    }
    Ok((from, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_time() {
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        for line in [
            "",
            "now",
            "now soon",
            "2026-06-01 2026-06-02",
            "2026-06-02T00:00:00Z +x",
            "2026-06-02T00:00:00Z 2026-06-01T00:00:00Z",
            "a b c",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(parse(&words, now).is_err(), "{line}");
        }
    }

    #[test]
    fn from_now_begins_a_minute_ago_and_dates_are_taken_as_they_are() {
        let now = Timestamp::parse("2026-06-01T12:00:00.7Z").unwrap();
        for (line, from, until) in [
            ("now +10m", "2026-06-01T11:59:00Z", "2026-06-01T12:10:00Z"),
            ("now 10m", "2026-06-01T11:59:00Z", "2026-06-01T12:10:00Z"),
            (
                "2014-06-30T12:00:00.0Z 2014-07-01T00:00:00+02:00",
                "2014-06-30T12:00:00Z",
                "2014-06-30T22:00:00Z",
            ),
            ("2014-06-30T12:00:00Z +2d", "2014-06-30T12:00:00Z", "2014-07-02T12:00:00Z"),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (begins, ends) = parse(&words, now).unwrap();
            assert_eq!(
                (begins.to_string().as_str(), ends.to_string().as_str()),
                (from, until),
                "{line}"
            );
        }
    }
}
