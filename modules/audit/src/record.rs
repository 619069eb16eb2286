//! The text of one record: `audit(<time>:<serial>): key=value key="value" …`.

/// Most fields of one record.
const MAX_FIELDS: usize = 2_000;

/// A record, its fields as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Seconds since 1970 with three digits behind the point.
    pub(crate) timestamp: String,
    pub(crate) serial: u64,
    pub(crate) fields: Vec<(String, String)>,
}

/// Reads the text of a record.
///
/// **Source** the kernel, which passes on what programs say. Never panics.
/// `None` when it does not begin as a record does.
pub(crate) fn parse(text: &str) -> Option<Parsed> {
    let (timestamp, serial, body) = split(text)?;
    let mut parsed = Parsed { timestamp: timestamp.to_owned(), serial, fields: Vec::new() };
    let body = denial(body, &mut parsed.fields);
    pairs(body, &mut parsed.fields);
    Some(parsed)
}

/// Time, serial and the fields.
fn split(text: &str) -> Option<(&str, u64, &str)> {
    let (head, body) = text.strip_prefix("audit(")?.split_once(')')?;
    let (timestamp, serial) = head.split_once(':')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !timestamp.split('.').all(digits) || !digits(serial) {
        return None;
    }
    Some((timestamp, serial.parse().ok()?, body.strip_prefix(':').unwrap_or(body).trim_start()))
}

/// The fields of a record as they came, without what all records of an event have
/// in common.
pub(crate) fn body(text: &str) -> &str {
    split(text).map_or(text, |(_, _, body)| body)
}

/// `avc: denied { getattr read } for …`: what was asked for, and the answer. The
/// rest of the text.
fn denial<'t>(body: &'t str, fields: &mut Vec<(String, String)>) -> &'t str {
    let parts = || {
        let (result, rest) = body.strip_prefix("avc:")?.split_once('{')?;
        let (permissions, rest) = rest.split_once('}')?;
        Some((result, permissions, rest.trim_start()))
    };
    let Some((result, permissions, rest)) = parts() else { return body };
    let permissions: Vec<&str> = permissions.split_whitespace().collect();
    fields.push(("seresult".to_owned(), result.trim().to_owned()));
    fields.push(("seperms".to_owned(), permissions.join(",")));
    rest.strip_prefix("for").unwrap_or(rest)
}

fn pairs(body: &str, fields: &mut Vec<(String, String)>) {
    // The last separator is that of what was added to a record by a daemon.
    for piece in body.split([' ', '\n', '\x1d']).filter(|piece| !piece.is_empty()) {
        // The pairs of a program's own message are pairs like the others.
        let piece = piece.strip_prefix("msg='").unwrap_or(piece);
        match piece.split_once('=') {
            Some((key, value)) if is_key(key) => {
                if fields.len() == MAX_FIELDS {
                    break;
                }
                fields.push((key.to_owned(), value.to_owned()));
            }
            // A value with blanks goes on.
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(piece);
                }
            }
        }
    }
    for (_, value) in fields {
        if value != "(none)" && value != "(null)" {
            value.truncate(value.trim_end_matches(['\'', ',', ')']).len());
        }
    }
}

fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(text: &str, key: &str) -> Option<String> {
        let fields = parse(&format!("audit(1464093935.845:993): {text}")).unwrap().fields;
        fields.into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    #[test]
    fn refuses_what_is_no_record() {
        for text in [
            "",
            "audit",
            "audit(",
            "audit(1)",
            "audit(1:)",
            "audit(a:1): x=y",
            "audit(1.:1): x=y",
            "audit(1.1:99999999999999999999): x=y",
            "x audit(1:1): a=b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn reads_the_message_of_a_program() {
        let text = "pid=4148 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:setcred acct=\"root\" \
                    exe=\"/usr/bin/sudo\" hostname=? addr=? terminal=/dev/pts/18 res=success'";
        for (key, value) in [
            ("pid", "4148"),
            ("op", "PAM:setcred"),
            ("acct", "\"root\""),
            ("terminal", "/dev/pts/18"),
            ("res", "success"),
            ("hostname", "?"),
        ] {
            assert_eq!(field(text, key).as_deref(), Some(value), "{key}");
        }
        let parsed = parse("audit(1464093935.845:993): a=b").unwrap();
        assert_eq!((&*parsed.timestamp, parsed.serial), ("1464093935.845", 993));
        assert_eq!(body("audit(1.2:3): a=b c"), "a=b c");
        assert_eq!(body("no record"), "no record");
    }

    #[test]
    fn values_go_on_and_end_clean() {
        for (text, key, value) in [
            ("a=b c d e=f", "a", "b c d"),
            ("a=b, e=f)", "a", "b"),
            ("a=(none) b=(null) c=x)", "a", "(none)"),
            ("a=b=c", "a", "b=c"),
            ("avc:  denied  { getattr read } for  pid=7 comm=\"x\"", "seresult", "denied"),
            ("avc:  denied  { getattr read } for  pid=7 comm=\"x\"", "seperms", "getattr,read"),
            ("avc:  denied  { getattr read } for  pid=7 comm=\"x\"", "pid", "7"),
            ("avc: denied pid=7", "pid", "7"),
        ] {
            assert_eq!(field(text, key).as_deref(), Some(value), "{text}");
        }
        let endless = "a=b ".repeat(MAX_FIELDS + 10);
        assert_eq!(parse(&format!("audit(1:1): {endless}")).unwrap().fields.len(), MAX_FIELDS);
    }

    proptest! {
        #[test]
        fn no_text_panics(
            text in "\\PC{0,60}|audit\\([0-9.]{0,4}:[0-9]{0,3}\\)[: ]{0,3}[a-z=\"'{} ,()0-9]{0,60}"
        ) {
            let _ = (parse(&text), body(&text));
        }
    }
}
