//! Text forms shared by modules: times, modes, names from untrusted hosts.

use std::fmt::Write as _;

use chrono::DateTime;
use mig_host::fs::{Kind, Metadata};

pub use mig_types::wire::lossy_bytewise;

/// Makes a line safe for a terminal: control characters, line and paragraph
/// separators and everything that changes the writing direction are shown as
/// escapes.
pub fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            '\0'..='\x1f' | '\x7f' => _ = write!(out, "\\x{:02x}", u32::from(c)),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// "UTC time text": `2015-08-31 16:15:05.547605529 +0000 UTC`; empty for a time
/// no calendar has.
pub fn utc_text(seconds: i64, nanos: u32) -> String {
    let Some(time) = DateTime::from_timestamp(seconds, nanos.min(999_999_999)) else {
        return String::new();
    };
    let mut out = time.format("%Y-%m-%d %H:%M:%S").to_string();
    if nanos > 0 {
        let digits = format!("{:09}", nanos.min(999_999_999));
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
    out.push_str(" +0000 UTC");
    out
}

/// A file's mode in Go's notation: `-rw-r--r--`, `urwxr-xr-x`, `dtrwxrwxrwx`.
pub fn mode_text(metadata: &Metadata) -> String {
    let kind = metadata.kind;
    let device = matches!(kind, Kind::BlockDevice | Kind::CharDevice);
    let letters = [
        ('d', kind == Kind::Directory),
        ('L', kind == Kind::Link),
        ('D', device),
        ('p', kind == Kind::Fifo),
        ('S', kind == Kind::Socket),
        ('u', metadata.mode & 0o4000 != 0),
        ('g', metadata.mode & 0o2000 != 0),
        ('c', kind == Kind::CharDevice),
        ('t', metadata.mode & 0o1000 != 0),
        ('?', kind == Kind::Other),
    ];
    let mut out: String = letters.iter().filter(|(_, set)| *set).map(|(c, _)| *c).collect();
    if out.is_empty() {
        out.push('-');
    }
    for (place, letter) in "rwxrwxrwx".chars().enumerate() {
        out.push(if metadata.mode & (0o400 >> place) != 0 { letter } else { '-' });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_control_characters_as_escapes() {
        for (raw, shown) in [
            ("a\x1b[31mb\x07", "a\\x1b[31mb\\x07"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{9b}x\u{202e}y\u{2028}", "\\u009bx\\u202ey\\u2028"),
            ("é€\u{fffd}", "é€\u{fffd}"),
        ] {
            assert_eq!(printable(raw), shown);
        }
    }

    #[test]
    fn writes_times_like_go() {
        for (seconds, nanos, text) in [
            (1_441_037_705, 547_605_529, "2015-08-31 16:15:05.547605529 +0000 UTC"),
            (1_441_037_705, 120_000_000, "2015-08-31 16:15:05.12 +0000 UTC"),
            (0, 0, "1970-01-01 00:00:00 +0000 UTC"),
            (-1, 0, "1969-12-31 23:59:59 +0000 UTC"),
            (i64::MAX, 0, ""),
        ] {
            assert_eq!(utc_text(seconds, nanos), text);
        }
    }

    #[test]
    fn writes_modes_like_go() {
        let file = |kind, mode| {
            let identity = (0, 0);
            mode_text(&Metadata { kind, mode, size_bytes: 0, modified: (0, 0), identity })
        };
        for (kind, mode, text) in [
            (Kind::File, 0o644, "-rw-r--r--"),
            (Kind::File, 0o4755, "urwxr-xr-x"),
            (Kind::File, 0o6755, "ugrwxr-xr-x"),
            (Kind::File, 0o3755, "gtrwxr-xr-x"),
            (Kind::File, 0o1644, "trw-r--r--"),
            (Kind::CharDevice, 0o600, "Dcrw-------"),
            (Kind::BlockDevice, 0o660, "Drw-rw----"),
            (Kind::Directory, 0o1777, "dtrwxrwxrwx"),
            (Kind::Fifo, 0o644, "prw-r--r--"),
            (Kind::Socket, 0o755, "Srwxr-xr-x"),
            (Kind::Link, 0o777, "Lrwxrwxrwx"),
            (Kind::Other, 0, "?---------"),
        ] {
            assert_eq!(file(kind, mode), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_printable_controls_a_terminal(text: String) {
            prop_assert!(!printable(&text).chars().any(char::is_control));
        }

        #[test]
        fn any_time_has_a_text(seconds: i64, nanos: u32) {
            let text = utc_text(seconds, nanos);
            prop_assert!(text.is_empty() || text.ends_with(" +0000 UTC"));
        }
    }
}
