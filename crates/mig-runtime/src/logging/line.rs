//! Words and shape of a log line.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::clock::{Clock as _, SystemClock};

/// Syslog's severities; the number is the one of syslog, smaller is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Emergency = 0,
    Alert = 1,
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// Every spelling that configuration files and events use.
const WORDS: [(&str, Severity); 14] = [
    ("emerg", Severity::Emergency),
    ("emergency", Severity::Emergency),
    ("panic", Severity::Emergency),
    ("alert", Severity::Alert),
    ("crit", Severity::Critical),
    ("critical", Severity::Critical),
    ("err", Severity::Error),
    ("error", Severity::Error),
    ("warning", Severity::Warning),
    ("warn", Severity::Warning),
    ("notice", Severity::Notice),
    ("info", Severity::Info),
    ("debug", Severity::Debug),
    ("trace", Severity::Debug),
];

impl Severity {
    /// The word inside the brackets of a line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// A word that is no severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a severity such as \"info\"")]
pub struct SeverityError;

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, SeverityError> {
        let found = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        found.map(|(_, severity)| *severity).ok_or(SeverityError)
    }
}

/// The fields of one event, its spans included.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) op: Option<String>,
    pub(super) action: Option<String>,
    pub(super) command: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) text: String,
    pub(super) extra: Vec<(&'static str, String)>,
}

impl Fields {
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        match name {
            "op.id" => self.op = Some(value),
            "action.id" => self.action = Some(value),
            "command.id" => self.command = Some(value),
            "message" => self.text = value,
            "severity" => match value.parse() {
                Ok(severity) => self.severity = Some(severity),
                Err(_) => self.extra.push((name, value)),
            },
            _ => self.extra.push((name, value)),
        }
    }

    /// Takes over what the inner scope has set.
    pub(super) fn overlay(&mut self, inner: &Self) {
        for (outer, inner) in [
            (&mut self.op, &inner.op),
            (&mut self.action, &inner.action),
            (&mut self.command, &inner.command),
        ] {
            if inner.is_some() {
                outer.clone_from(inner);
            }
        }
        for (name, value) in &inner.extra {
            self.extra.retain(|(known, _)| known != name);
            self.extra.push((name, value.clone()));
        }
        self.text.clone_from(&inner.text);
        self.severity = inner.severity.or(self.severity);
    }

    /// The line, without time and line end.
    pub(super) fn line(&self, severity: Severity) -> String {
        let mut line = String::with_capacity(self.text.len() + 64);
        for column in [&self.op, &self.action, &self.command] {
            match column.as_deref() {
                // A column is one word, whatever the value was.
                Some(value) if !value.is_empty() && !value.contains(' ') => {
                    push_escaped(&mut line, value);
                }
                _ => line.push('-'),
            }
            line.push(' ');
        }
        let _ = write!(line, "[{}] ", severity.word());
        push_escaped(&mut line, &self.text);
        for (name, value) in &self.extra {
            let _ = write!(line, " {name}=");
            let plain = !value.is_empty() && !value.contains([' ', '"', '=']);
            if plain {
                push_escaped(&mut line, value);
            } else {
                line.push('"');
                push_escaped(&mut line, &value.replace('"', "\\\""));
                line.push('"');
            }
        }
        line
    }
}

fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        // Separators and marks of direction change how a line is shown.
        let steers = matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        );
        if c.is_control() || steers {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// `YYYY/MM/DD HH:MM:SS ` in the machine's own time zone.
pub(super) fn local_time() -> String {
    let now = SystemClock.now().datetime().with_timezone(&chrono::Local);
    now.format("%Y/%m/%d %H:%M:%S ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.set(name, (*value).to_owned());
        }
        fields
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let hostile = fields(&[
            ("message", "a\nb\r\u{1b}[2J\u{7f}\u{202e}"),
            ("action.id", "1 [info] x"),
            ("name", "x\n- - - [info] forged"),
        ]);
        assert_eq!(
            hostile.line(Severity::Warning),
            "- - - [warning] a\\nb\\r\\u{1b}[2J\\u{7f}\\u{202e} name=\"x\\n- - - [info] forged\""
        );
    }

    #[test]
    fn lines_have_the_documented_shape() {
        let line =
            fields(&[("op.id", "4883372310531"), ("message", "initiating spool inspection")]);
        assert_eq!(
            line.line(Severity::Debug),
            "4883372310531 - - [debug] initiating spool inspection"
        );
        let line = fields(&[
            ("op.id", "1"),
            ("action.id", "2"),
            ("command.id", "3"),
            ("message", "done"),
            ("duration_ms", "12"),
            ("empty", ""),
            ("quoted", "say \"hi\""),
        ]);
        assert_eq!(
            line.line(Severity::Info),
            "1 2 3 [info] done duration_ms=12 empty=\"\" quoted=\"say \\\"hi\\\"\""
        );
    }

    #[test]
    fn inner_scopes_win() {
        let mut outer = fields(&[("op.id", "1"), ("action.id", "2"), ("x", "outer")]);
        outer.overlay(&fields(&[("action.id", "9"), ("x", "inner"), ("message", "m")]));
        assert_eq!(outer.line(Severity::Info), "1 9 - [info] m x=inner");
    }

    #[test]
    fn severities_are_read_by_all_their_names() {
        for text in ["", "loud", "info ", "7"] {
            assert_eq!(text.parse::<Severity>(), Err(SeverityError), "{text:?}");
        }
        for (word, severity) in WORDS {
            assert_eq!(word.to_uppercase().parse(), Ok(severity));
            assert_eq!(severity.word().parse(), Ok(severity));
        }
        assert!(Severity::Emergency < Severity::Debug);
    }

    #[test]
    fn the_time_has_the_documented_shape() {
        let time = local_time();
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "9999/99/99 99:99:99 ");
    }
}
