//! Go's regular expressions, matched by the `regex` crate.
//!
//! Investigators write the dialect of Go's `regexp`. [`translate`] turns it into
//! the dialect of `regex`, or refuses what Go refuses; [`GoRegex`] also matches
//! invalid UTF-8 as Go does, every bad byte as one U+FFFD.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder, bytes};

mod class;
mod translate;

pub use translate::translate;
use translate::translate_capturing;

use crate::text::lossy_bytewise;

/// Bound of a compiled expression; generous, because Go accepts a thousand
/// repetitions of a class with thousands of members.
const SIZE_LIMIT: usize = 48 << 20;
/// Bound of what is remembered while matching.
const DFA_LIMIT: usize = 8 << 20;
/// Deepest nesting of groups, as in Go.
const NEST_LIMIT: u32 = 1000;

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegexError {
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Syntax { pattern: String, reason: String },
    /// The engine refuses what the expression stands for; shows both forms.
    #[error("cannot use regular expression {pattern:?}, translated to {translated:?}: {reason}")]
    Unrepresentable { pattern: String, translated: String, reason: String },
}

/// A compiled expression with Go's meaning. Matching is an unanchored search in
/// linear time.
#[derive(Debug, Clone)]
pub struct GoRegex {
    translated: String,
    regex: Regex,
}

impl GoRegex {
    /// Translates and compiles an expression.
    ///
    /// # Errors
    ///
    /// [`RegexError`] for what Go refuses and for what grows too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::build(pattern, translate(pattern)?, SIZE_LIMIT)
    }

    /// [`GoRegex::new`] with its groups, see [`GoRegex::groups`]. Compiled it takes
    /// at most about `bytes`: it may be one of many.
    ///
    /// # Errors
    ///
    /// Those of [`GoRegex::new`]; [`RegexError::Unrepresentable`] when it is larger.
    pub fn with_groups(pattern: &str, bytes: usize) -> Result<Self, RegexError> {
        Self::build(pattern, translate_capturing(pattern)?, bytes.min(SIZE_LIMIT))
    }

    /// [`GoRegex::new`], with case ignored.
    pub fn new_ignoring_case(pattern: &str) -> Result<Self, RegexError> {
        Self::build(pattern, format!("(?i){}", translate(pattern)?), SIZE_LIMIT)
    }

    fn build(pattern: &str, translated: String, bytes: usize) -> Result<Self, RegexError> {
        let mut builder = RegexBuilder::new(&translated);
        builder.size_limit(bytes).dfa_size_limit(DFA_LIMIT).nest_limit(NEST_LIMIT);
        let regex = builder.build();
        let regex = regex.map_err(|error| RegexError::Unrepresentable {
            pattern: pattern.to_owned(),
            translated: translated.clone(),
            reason: last_line(&error),
        })?;
        Ok(Self { translated, regex })
    }

    /// Whether the expression matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(&characters(text))
    }

    /// What the groups of the first match hold, without the match as a whole. A
    /// group that took no part is empty. `None` without a match. Only an expression
    /// made by [`GoRegex::with_groups`] has any.
    pub fn groups(&self, text: &[u8]) -> Option<Vec<String>> {
        let text = characters(text);
        if self.regex.captures_len() == 1 {
            return self.regex.is_match(&text).then(Vec::new);
        }
        let captures = self.regex.captures(&text)?;
        let group = |found: Option<regex::Match<'_>>| {
            found.map(|found| found.as_str().to_owned()).unwrap_or_default()
        };
        Some(captures.iter().skip(1).map(group).collect())
    }

    /// The expression in the dialect of the `regex` crate.
    pub fn translated(&self) -> &str {
        &self.translated
    }
}

/// Compiles an already translated expression with our limits. Its Unicode mode
/// may be switched off in parts.
///
/// # Errors
///
/// The engine's: too large, or not its dialect.
pub fn compile(translated: &str) -> Result<bytes::Regex, regex::Error> {
    bytes::RegexBuilder::new(translated)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(DFA_LIMIT)
        .nest_limit(NEST_LIMIT)
        .build()
}

/// The text as Go sees it. Over characters, for in the middle of one nothing matches,
/// not even an expression that takes no room, such as `\B`.
fn characters(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(lossy_bytewise(text)),
    }
}

/// The engine's reason without its drawing of the expression.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &[u8]) -> bool {
        GoRegex::new(pattern).unwrap_or_else(|error| panic!("{error}")).is_match(text)
    }

    #[test]
    fn refuses_what_go_refuses() {
        for pattern in [
            "(",
            ")",
            "[",
            "[]",
            "[^]",
            "[z-a]",
            "[a--b]",
            "*",
            "a**",
            "a++",
            "a{2}{3}",
            "a{1001}",
            "a{5,2}",
            "(a{500}){3}",
            "((a{11}){10}){10}",
            "(?x)a",
            "(?u)a",
            "(?R)a",
            r"\u0041",
            r"\p{Alphabetic}",
            r"\p{IsGreek}",
            r"\p{greek}",
            r"\pq",
            r"\p{",
            r"a(?=b)",
            r"(?!a)",
            r"(?<=a)b",
            r"(a)\1",
            r"\8",
            r"a\Z",
            r"\C",
            r"\h",
            r"\R",
            r"\",
            r"[a-\d]",
            r"\x",
            r"\x4",
            r"\x{110000}",
            r"\x{}",
            "[[:foo:]]",
            "(?P<a>x)(?P<a>y)",
            "(?P<>x)",
            "(?P=a)",
            "(?i",
            "(?-)",
            "(?ii-",
            r"\é",
            r"\E",
            "|*",
            "(*)",
        ] {
            assert!(GoRegex::new(pattern).is_err(), "{pattern:?} should be refused");
        }
    }

    #[test]
    fn accepts_what_go_accepts_with_its_meaning() {
        for (pattern, yes, no) in [
            ("foo{bar}", "xfoo{bar}", "foobar"),
            ("a{", "a{", "a"),
            ("a{,5}", "a{,5}", "aaaaa"),
            ("a{01}", "a{01}", "a"),
            ("{", "{", "}"),
            ("x{2,}y", "xxxy", "xy"),
            (r"\Qa.b\E", "a.b", "axb"),
            (r"\Qa.b", "a.b", "axb"),
            (r"\Qab\E+c", "abbc", "aac"),
            (r"^[[a]+$", "[a", "b"),
            ("[a-z&&b]", "&", "7"),
            ("[a~~b]", "~", "c"),
            (r"\<x\>", "<x>", "x"),
            (r"\_", "_", "a"),
            (r"\012", "\n", "012"),
            (r"\123", "S", "123"),
            (r"\0", "\0", "0"),
            (r"^\p{^Greek}$", "a", "α"),
            (r"^\P{^Greek}$", "α", "a"),
            (r"^\pL$", "é", "1"),
            (r"^\p{Lu}\p{Any}$", "Aé", "aé"),
            (r"^\p{C}$", "\u{1}", "\u{378}"),
            (r"^\d$", "7", "٣"),
            (r"^\w+$", "az_09", "é"),
            (r"^\s$", "\t", "\u{b}"),
            (r"^[\s]$", "\u{c}", "\u{a0}"),
            (r"^\D\W\S$", "é!x", "7!x"),
            (r"^[^\D]$", "7", "x"),
            (r"\bfoo\b", "éfoo", "afoo"),
            (r"o\Bo", "foo", "fo o"),
            ("(?P<n>x)(?<m>y)", "xy", "yx"),
            ("(?P<1>x)", "x", "y"),
            (r"\xff", "ÿ", "y"),
            (r"\x{20ac}", "€", "e"),
            ("[]a]", "]", "b"),
            ("[^]a]", "b", "]"),
            ("[a-]", "-", "b"),
            ("[-a]", "-", "b"),
            ("^[[:alpha:][:^digit:]]$", "x", "5"),
            ("(?i)ABC", "xabc", "ab"),
            ("(?i:A)B", "aB", "ab"),
            ("(?s).", "\n", ""),
            ("a(?)b", "ab", "a"),
            ("(?m)^b$", "a\nb", "ab"),
            ("b$", "ab", "ab\n"),
            ("(?U)a+?", "a", "b"),
            ("a{1000}", &"a".repeat(1000), "a"),
            ("a??b", "b", "a"),
            (r"a\.b\/c", "a.b/c", "axb/c"),
            (r"\Aa\z", "a", "a\n"),
            (r"\a\f\n\r\t\v", "\x07\x0c\n\r\t\x0b", "x"),
            ("#&-~ ", "#&-~ ", "#"),
            ("}]", "}]", "}"),
            ("", "anything", "\u{0}never"),
        ] {
            assert!(matches(pattern, yes.as_bytes()), "{pattern:?} should match {yes:?}");
            if !pattern.is_empty() {
                assert!(!matches(pattern, no.as_bytes()), "{pattern:?} should not match {no:?}");
            }
        }
    }

    #[test]
    fn each_bad_byte_is_one_replacement_character() {
        assert!(matches("^A .. B$", b"A \xff\xfe B"));
        assert!(!matches("^A . B$", b"A \xff\xfe B"));
        assert!(matches("^[^a]$", b"\xff"));
        assert!(matches("^\u{fffd}$", b"\xc3"));
        assert!(!matches(r"\xff", b"\xff"));
        assert!(matches(r"\xff", "ÿ".as_bytes()));
    }

    #[test]
    fn a_surrogate_never_matches() {
        assert!(!matches(r"\x{d800}", "\u{fffd}".as_bytes()));
        assert!(matches(r"[\x{d7ff}-\x{e000}]", "\u{e000}".as_bytes()));
        assert!(!matches(r"[\x{d800}-\x{dfff}]", b"x"));
        assert!(matches(r"[^\x{d800}-\x{dfff}]", b"x"));
    }

    #[test]
    fn nothing_is_in_the_middle_of_a_character() {
        for (pattern, text, expected) in [
            (r"\B", "aéa".as_bytes(), false),
            (r"\B", b"a\xc3a", false),
            (r"\B", "éé".as_bytes(), true),
            (r"\B", b"\xff", true),
            (r"a\B", b"a\xff", false),
            (r"\Bb*", "aéa".as_bytes(), false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn ignoring_case_covers_alternatives() {
        let regex = GoRegex::new_ignoring_case("^aa:bb|cc$").unwrap();
        assert!(regex.is_match(b"AA:BB") && regex.is_match(b"xCC"));
    }

    #[test]
    fn groups_are_those_of_the_first_match() {
        let groups = |pattern: &str, text: &[u8]| {
            GoRegex::with_groups(pattern, 1 << 20).unwrap().groups(text)
        };
        assert_eq!(groups("(a)(z)?(b)", b"xab ab").unwrap(), ["a", "", "b"]);
        assert_eq!(groups("(?P<n>.)$", b"a\xff").unwrap(), ["\u{fffd}"]);
        assert_eq!(groups("a", b"a").unwrap(), Vec::<String>::new());
        assert_eq!(groups("(a)", b"b"), None);
        assert_eq!(groups("(?i)(?:x)(A)(?s:b)", b"xab").unwrap(), ["a"]);
        assert_eq!(GoRegex::new("(a)").unwrap().groups(b"a"), Some(Vec::new()));
        // The first alternative that matches, not the longest one.
        assert_eq!(groups("(a|ab)", b"ab").unwrap(), ["a"]);
    }

    #[test]
    fn one_of_many_is_small() {
        assert!(GoRegex::with_groups("^a(b+)c$", 64 << 10).is_ok());
        assert!(GoRegex::with_groups(r"\pL{1000}", 64 << 10).is_err());
    }

    #[test]
    fn errors_show_both_forms() {
        let large = r"\pL{1000}".repeat(50);
        let error = GoRegex::new(&large).unwrap_err().to_string();
        assert!(error.contains(r"\\pL{1000}") && error.contains(r"\\p{L}{1000}"), "{error}");
        let error = GoRegex::new("a)").unwrap_err().to_string();
        assert!(error.contains("\"a)\""), "{error}");
    }

    proptest! {
        #[test]
        fn no_expression_panics(pattern in "\\PC{0,30}|[a-c\\\\\\[\\](){}*+?^$|.:PQE0-9<>,&~-]{0,20}") {
            let _ = GoRegex::new(&pattern);
        }

        #[test]
        fn quoted_text_matches_itself(text in "[^\\\\]{0,30}") {
            let pattern = format!("^\\Q{text}\\E$");
            prop_assert!(GoRegex::new(&pattern).unwrap().is_match(text.as_bytes()));
        }

        #[test]
        fn escaped_punctuation_matches_itself(text in "[!-/:-@\\[-`{-~]{1,20}") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            let whole = GoRegex::new(&format!("^{escaped}$")).unwrap();
            prop_assert!(whole.is_match(text.as_bytes()));
            let class: String = text.chars().take(1).flat_map(|c| ['\\', c]).collect();
            let single = GoRegex::new(&format!("^[{class}]$")).unwrap();
            prop_assert!(single.is_match(&text.as_bytes()[..1]));
        }
    }
}
