//! The exact bytes that are signed for an action.
//!
//! **Shape** `name=…;target=…;validfrom=…;expireafter=%!s(int64=…);operations=…;`
//! without a final newline. The odd `%!s(int64=…)` is a formatting accident of
//! the original that became part of the protocol. Names and targets are copied
//! without any escaping, operations are printed as Go's `encoding/json` prints
//! what it has read, whatever the document looked like in transit.

use mig_types::{Action, Manifest, Operation};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

/// Deepest nesting written; the reader of documents stops before.
const MAX_DEPTH: usize = 256;

/// An action that has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    #[error("operation parameters nest deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("operation parameters hold a number that is not a finite double")]
    Number,
}

/// How backspace and form feed are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// `\u0008` and `\u000c`, Go up to 1.21. What we sign.
    Long,
    /// `\b` and `\f`, Go from 1.22 on.
    Short,
}

/// The exact signed bytes of an action.
///
/// # Errors
///
/// [`CanonicalError`] for parameters no peer could have sent.
pub fn action_string(action: &Action) -> Result<Vec<u8>, CanonicalError> {
    write_action(action, Escapes::Long).map(|(bytes, _)| bytes)
}

/// The spelling of peers built with Go 1.22 or newer, only when it differs:
/// they write backspace and form feed as `\b` and `\f`.
///
/// # Errors
///
/// As [`action_string`].
pub fn action_string_alternative(action: &Action) -> Result<Option<Vec<u8>>, CanonicalError> {
    let (bytes, differs) = write_action(action, Escapes::Short)?;
    Ok(differs.then_some(bytes))
}

/// The exact signed bytes of a manifest: one JSON document in a fixed order,
/// without loader name, signatures and blanks, escaped as Go escapes.
///
/// ```
/// # use mig_sign::canonical::manifest_document;
/// # use mig_types::{Manifest, ManifestEntry};
/// let mut manifest = Manifest { loader_name: "web1".into(), ..Manifest::default() };
/// let signed = |manifest: &Manifest| String::from_utf8(manifest_document(manifest)).unwrap();
/// assert_eq!(signed(&manifest), r#"{"loader_name":"","entries":null,"signatures":[]}"#);
/// manifest.entries = Some(vec![ManifestEntry { name: "a<b".into(), sha256: "00".into() }]);
/// assert_eq!(
///     signed(&manifest),
///     r#"{"loader_name":"","entries":[{"name":"a\u003cb","sha256":"00"}],"signatures":[]}"#
/// );
/// ```
pub fn manifest_document(manifest: &Manifest) -> Vec<u8> {
    let mut writer =
        Writer { out: Vec::with_capacity(256), escapes: Escapes::Long, differs: false };
    writer.raw(r#"{"loader_name":"","entries":"#);
    match &manifest.entries {
        None => writer.raw("null"),
        Some(entries) => {
            writer.raw("[");
            for (index, entry) in entries.iter().enumerate() {
                writer.raw(if index == 0 { r#"{"name":"# } else { r#",{"name":"# });
                writer.string(&entry.name);
                writer.raw(r#","sha256":"#);
                writer.string(&entry.sha256);
                writer.raw("}");
            }
            writer.raw("]");
        }
    }
    writer.raw(r#","signatures":[]}"#);
    writer.out
}

/// SHA-256 of [`action_string`]: the identity under which an agent remembers
/// what it has executed.
///
/// # Errors
///
/// As [`action_string`].
pub fn action_digest(action: &Action) -> Result<[u8; 32], CanonicalError> {
    Ok(Sha256::digest(action_string(action)?).into())
}

/// The bytes, and whether the two escapes would give different ones.
fn write_action(action: &Action, escapes: Escapes) -> Result<(Vec<u8>, bool), CanonicalError> {
    let mut writer = Writer { out: Vec::with_capacity(512), escapes, differs: false };
    writer.raw("name=");
    writer.raw(&action.name);
    writer.raw(";target=");
    writer.raw(&action.target);
    writer.raw(&format!(
        ";validfrom={};expireafter=%!s(int64={});operations=",
        action.validfrom.unix(),
        action.expireafter.unix()
    ));
    match &action.operations {
        None => writer.raw("null"),
        Some(operations) => {
            writer.list(b'[', b']', operations, Writer::operation)?;
        }
    }
    writer.raw(";");
    Ok((writer.out, writer.differs))
}

struct Writer {
    out: Vec<u8>,
    escapes: Escapes,
    differs: bool,
}

impl Writer {
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn list<T>(
        &mut self,
        open: u8,
        close: u8,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T) -> Result<(), CanonicalError>,
    ) -> Result<(), CanonicalError> {
        self.out.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), CanonicalError> {
        self.raw("{\"module\":");
        self.string(&operation.module);
        self.raw(",\"parameters\":");
        self.value(&operation.parameters, 0)?;
        if operation.is_compressed {
            self.raw(",\"is_compressed\":true");
        }
        if operation.want_compressed {
            self.raw(",\"want_compressed\":true");
        }
        self.raw("}");
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), CanonicalError> {
        if depth > MAX_DEPTH {
            return Err(CanonicalError::TooDeep);
        }
        match value {
            Value::Null => self.raw("null"),
            Value::Bool(true) => self.raw("true"),
            Value::Bool(false) => self.raw("false"),
            Value::Number(number) => self.raw(&format_number(number)?),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.list(b'[', b']', items, |writer, item| writer.value(item, depth + 1))?;
            }
            Value::Object(map) => self.object(map, depth)?,
        }
        Ok(())
    }

    fn object(&mut self, map: &Map<String, Value>, depth: usize) -> Result<(), CanonicalError> {
        // Sorted here and not by the map, whose order is a feature of serde_json
        // that any crate of the build may switch. `str` compares by bytes.
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
        self.list(b'{', b'}', entries, |writer, (key, value)| {
            writer.string(key);
            writer.out.push(b':');
            writer.value(value, depth + 1)
        })
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        for character in text.chars() {
            self.character(character);
        }
        self.out.push(b'"');
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.raw("\\\""),
            '\\' => self.raw("\\\\"),
            '\n' => self.raw("\\n"),
            '\r' => self.raw("\\r"),
            '\t' => self.raw("\\t"),
            '\u{8}' | '\u{c}' => {
                self.differs = true;
                match (self.escapes, character) {
                    (Escapes::Short, '\u{8}') => self.raw("\\b"),
                    (Escapes::Short, _) => self.raw("\\f"),
                    (Escapes::Long, _) => self.unicode(character),
                }
            }
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => self.unicode(character),
            _ => self.raw(character.encode_utf8(&mut [0; 4])),
        }
    }

    fn unicode(&mut self, character: char) {
        self.raw(&format!("\\u{:04x}", u32::from(character)));
    }
}

/// Prints a number as Go prints a double: the shortest digits that read back,
/// plain from 1e-6 up to 1e21, with an exponent outside.
fn format_number(number: &Number) -> Result<String, CanonicalError> {
    let value = number.as_f64().filter(|value| value.is_finite()).ok_or(CanonicalError::Number)?;
    // Rust prints the shortest digits too, but no exponent in `{}` and a bare
    // one in `{:e}`: `1e21`, `1.5e-9`.
    if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
        return Ok(format!("{value}"));
    }
    let text = format!("{value:e}");
    Ok(match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::wire;

    fn canonical(document: &str) -> String {
        let action: Action = wire::from_slice(document.as_bytes()).unwrap();
        String::from_utf8(action_string(&action).unwrap()).unwrap()
    }

    fn parameters(json: &str) -> String {
        let text = canonical(&format!(
            r#"{{"name":"n","target":"t","operations":[{{"module":"m","parameters":{json}}}]}}"#
        ));
        let (_, tail) = text.split_once(r#""parameters":"#).unwrap();
        tail.strip_suffix("}];").unwrap().to_owned()
    }

    #[test]
    fn refuses_what_has_no_canonical_form() {
        let mut deep = Value::Null;
        for _ in 0..=MAX_DEPTH + 1 {
            deep = Value::Array(vec![deep]);
        }
        let operation = Operation { parameters: deep, ..Operation::default() };
        let action = Action { operations: Some(vec![operation]), ..Action::default() };
        assert_eq!(action_string(&action), Err(CanonicalError::TooDeep));
    }

    #[test]
    fn numbers_print_like_go() {
        for (input, printed) in [
            ("1.0", "1"),
            ("1e6", "1000000"),
            ("2.50", "2.5"),
            ("1e20", "100000000000000000000"),
            ("1E+2", "100"),
            ("1e21", "1e+21"),
            ("1E-05", "0.00001"),
            ("100000000000000000000000", "1e+23"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("0.00000012", "1.2e-7"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709552000"),
            ("123456789012345680000", "123456789012345680000"),
            ("999999999999999900000", "999999999999999900000"),
            ("5e-324", "5e-324"),
            ("4.35", "4.35"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("1e100", "1e+100"),
            ("1.5e-9", "1.5e-9"),
            ("1e-10", "1e-10"),
            ("0", "0"),
            ("0.0", "0"),
            ("-0", "-0"),
            ("-0.0", "-0"),
            ("-1.5e300", "-1.5e+300"),
            ("-9007199254740993", "-9007199254740992"),
        ] {
            assert_eq!(parameters(input), printed, "{input}");
        }
    }

    #[test]
    fn strings_print_like_go() {
        for (input, printed) in [
            (r#""a\/b""#, r#""a/b""#),
            (r#""\"\\""#, r#""\"\\""#),
            (r#""\n\r\t""#, r#""\n\r\t""#),
            (r#""\b\f\u0001\u001f""#, r#""\u0008\u000c\u0001\u001f""#),
            (r#""<&>""#, r#""\u003c\u0026\u003e""#),
            (r#""\u2028\u2029\u202a""#, "\"\\u2028\\u2029\u{202a}\""),
            (r#""\u007f\u00e9\ud83d\ude00""#, "\"\u{7f}\u{e9}\u{1f600}\""),
            (r#""\ud800""#, "\"\u{fffd}\""),
        ] {
            assert_eq!(parameters(input), printed, "{input}");
        }
    }

    #[test]
    fn keys_are_sorted_by_bytes_and_the_last_duplicate_wins() {
        // U+FF5E sorts after U+1F600 in UTF-16, before it in UTF-8.
        assert_eq!(
            parameters(r#"{"\ud83d\ude00":1,"\uff5e":2,"b":3,"a":4,"B":5,"":6,"b":7}"#),
            "{\"\":6,\"B\":5,\"a\":4,\"b\":7,\"\u{ff5e}\":2,\"\u{1f600}\":1}"
        );
    }

    #[test]
    fn the_newer_spelling_exists_only_where_it_differs() {
        let action = |text: &str| Action {
            operations: Some(vec![Operation { parameters: text.into(), ..Operation::default() }]),
            ..Action::default()
        };
        assert_eq!(action_string_alternative(&action("plain \u{1}")), Ok(None));
        let newer = action_string_alternative(&action("\u{8}\u{c}")).unwrap().unwrap();
        let older = action_string(&action("\u{8}\u{c}")).unwrap();
        assert!(String::from_utf8(newer).unwrap().contains(r#""parameters":"\b\f""#));
        assert!(String::from_utf8(older).unwrap().contains(r#""parameters":"\u0008\u000c""#));
        // Names are not escaped, so they never make a difference.
        let named = Action { name: "\u{8}".into(), ..Action::default() };
        assert_eq!(action_string_alternative(&named), Ok(None));
    }

    #[test]
    fn null_and_empty_operations_differ() {
        let text = canonical(r#"{"name":"n","target":"t","validfrom":"1969-12-31T23:59:59.5Z"}"#);
        assert_eq!(
            text,
            "name=n;target=t;validfrom=-1;expireafter=%!s(int64=-62135596800);operations=null;"
        );
        assert!(canonical(r#"{"operations":[]}"#).ends_with(";operations=[];"));
    }
}
