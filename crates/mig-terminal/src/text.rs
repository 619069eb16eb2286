//! Texts in columns, and times for people.

use mig_module::text::{printable, utc_text};
use mig_types::Timestamp;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A foreign text in at most `columns` columns: made printable, and cut with
/// three dots where it is longer.
///
/// ```
/// # use mig_terminal::text::cut;
/// assert_eq!(cut("file -path /etc", 9), "file -...");
/// assert_eq!(cut("file\u{1b}[2J", 30), "file\\x1b[2J");
/// ```
pub fn cut(text: &str, columns: usize) -> String {
    let text = printable(text);
    if width(&text) <= columns {
        return text;
    }
    let room = columns.saturating_sub(3);
    let mut taken = 0;
    let head = text.chars().take_while(|c| {
        taken += c.width().unwrap_or(0);
        taken <= room
    });
    let mut short: String = head.collect();
    short.push_str("...");
    short
}

/// [`cut`], and filled with blanks on the right.
pub fn left(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    text.push_str(&" ".repeat(columns.saturating_sub(width(&text))));
    text
}

/// [`cut`], and filled with blanks on the left.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(&text))))
}

/// `2015-09-09 13:53:28.989481 +0000 UTC`.
pub fn moment(time: Timestamp) -> String {
    utc_text(time.unix(), time.datetime().timestamp_subsec_nanos())
}

/// When something began; platforms store a time of long ago for "not yet".
pub fn started(time: Timestamp) -> String {
    // The project is of 2013.
    if time.unix() < 1_356_998_400 { "not started yet".to_owned() } else { moment(time) }
}

/// When something ended; platforms store a time far ahead for "not yet".
pub fn finished(time: Timestamp) -> String {
    if time.is_zero() || time.unix() > 221_845_392_000 {
        "not finished".to_owned()
    } else {
        moment(time)
    }
}

/// `2015-09-09T13:53:28Z`: whole seconds, for tables.
pub fn seconds(time: Timestamp) -> String {
    Timestamp::from_unix(time.unix(), 0).unwrap_or(time).to_string()
}

/// JSON with that indentation, the way the original writes it: `<`, `>` and
/// `&` as escapes.
///
/// # Errors
///
/// When `value` cannot be JSON.
pub fn pretty<T: Serialize + ?Sized>(value: &T, indent: &str) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(escaped(&String::from_utf8_lossy(&bytes)))
}

/// JSON on one line, written as [`pretty`] does.
///
/// # Errors
///
/// When `value` cannot be JSON.
pub fn compact<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(|text| escaped(&text))
}

/// Only texts can hold these characters; nor may other control characters than
/// the line ends of the indentation reach a terminal.
fn escaped(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_terminal() {
        for (text, columns, shown) in [
            ("", 3, "   "),
            ("abcd", 3, "..."),
            ("żółw", 4, "żółw"),
            ("漢字漢字", 7, "漢字..."),
            ("漢字漢字", 6, "漢... "),
        ] {
            assert_eq!(left(text, columns), shown, "{text}");
            assert_eq!(width(&right(text, columns)), columns, "{text}");
        }
    }

    #[test]
    fn times_without_meaning_are_said_in_words() {
        assert_eq!(started(Timestamp::ZERO), "not started yet");
        assert_eq!(started(Timestamp::NOT_STARTED), "not started yet");
        assert_eq!(finished(Timestamp::NEVER), "not finished");
        let time = Timestamp::parse("2016-08-29T15:40:31.792627Z").unwrap();
        assert_eq!(started(time), "2016-08-29 15:40:31.792627 +0000 UTC");
        assert_eq!(finished(time), started(time));
        assert_eq!(seconds(time), "2016-08-29T15:40:31Z");
    }

    #[test]
    fn json_is_what_the_original_prints_and_safe_to_show() {
        let value = serde_json::json!({ "a": "<x> & \u{9b}2J" });
        assert_eq!(compact(&value).unwrap(), r#"{"a":"\u003cx\u003e \u0026 \u009b2J"}"#);
        assert_eq!(
            pretty(&serde_json::json!({ "a": [1] }), "\t").unwrap(),
            "{\n\t\"a\": [\n\t\t1\n\t]\n}"
        );
    }
}
