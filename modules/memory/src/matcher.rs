//! Checks on memory: byte strings, and expressions on bytes that are mostly no
//! text.

use memchr::memmem::Finder;
use mig_module::regex::{GoRegex, RegexError, compile};
use regex::bytes::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, HirKind, Look, Repetition,
};

/// Longest match of an expression that is found wherever it lies, in bytes.
pub(crate) const REACH: usize = 64 << 10;

/// What every offending byte of invalid UTF-8 stands for.
const REPLACEMENT: char = '\u{fffd}';

/// What lies next to a piece of memory: there, word boundaries and line ends
/// would hold by accident.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edges {
    /// The piece begins with bytes that were searched before.
    pub(crate) is_continued: bool,
    /// The next piece will begin with the last bytes of this one.
    pub(crate) goes_on: bool,
}

/// A compiled check on memory.
#[derive(Debug)]
pub(crate) enum Matcher {
    Bytes(Box<Finder<'static>>),
    Expression(Box<Expression>),
}

impl Matcher {
    pub(crate) fn bytes(needle: &[u8]) -> Self {
        Self::Bytes(Box::new(Finder::new(needle).into_owned()))
    }

    pub(crate) fn expression(text: &str) -> Result<Self, RegexError> {
        Expression::new(text).map(|expression| Self::Expression(Box::new(expression)))
    }

    pub(crate) fn is_match(&self, memory: &[u8], edges: Edges) -> bool {
        match self {
            Self::Bytes(finder) => finder.find(memory).is_some(),
            Self::Expression(expression) => expression.is_match(memory, edges),
        }
    }

    /// Bytes that two neighbouring pieces of memory must share.
    pub(crate) fn overlap(&self) -> usize {
        match self {
            Self::Bytes(finder) => finder.needle().len().saturating_sub(1),
            Self::Expression(_) => REACH,
        }
    }
}

/// An expression with Go's meaning on bytes.
///
/// A looser form is searched in the bytes themselves, where the expression
/// would have to see each offending byte as U+FFFD. Where the forms differ, a
/// hit is looked at again with the expression proper.
#[derive(Debug)]
pub(crate) struct Expression {
    exact: GoRegex,
    /// None when it cannot be built; then all memory is converted.
    loose: Option<Loose>,
}

#[derive(Debug)]
struct Loose {
    regex: Regex,
    /// Its hits are those of the expression.
    is_exact: bool,
    /// What lies beside a hit matters.
    has_looks: bool,
}

impl Expression {
    fn new(text: &str) -> Result<Self, RegexError> {
        let exact = GoRegex::new(text)?;
        let loose = Loose::of(exact.translated());
        Ok(Self { exact, loose })
    }

    fn is_match(&self, memory: &[u8], edges: Edges) -> bool {
        let Some(loose) = &self.loose else { return self.exact.is_match(memory) };
        let length = memory.len();
        let mut at = usize::from(edges.is_continued && loose.has_looks);
        while at <= length {
            let Some(hit) = loose.regex.find_at(memory, at) else { return false };
            // The next piece shows what follows.
            let is_cut = edges.goes_on && hit.end() == length && length - hit.start() < REACH;
            if loose.has_looks && is_cut {
                return false;
            }
            if loose.is_exact {
                return true;
            }
            // A little before it for word boundaries, and as far as it may reach.
            let from = hit.start().saturating_sub(4);
            let to = hit.start().saturating_add(REACH).max(hit.end()).min(length);
            if self.exact.is_match(memory.get(from..to).unwrap_or_default()) {
                return true;
            }
            at = hit.start() + REACH / 2;
        }
        false
    }
}

impl Loose {
    fn of(translated: &str) -> Option<Self> {
        let mut parser = ParserBuilder::new().utf8(false).nest_limit(1000).build();
        let hir = parser.parse(translated).ok()?;
        let has_looks = !hir.properties().look_set().is_empty();
        let mut is_exact = true;
        let hir = loose(&hir, &mut is_exact)?;
        let regex = compile(&hir.to_string()).ok()?;
        Some(Self { regex, is_exact, has_looks })
    }
}

/// The looser form. It matches wherever the expression does, but that text has
/// no beginning and no end.
fn loose(hir: &Hir, is_exact: &mut bool) -> Option<Hir> {
    Some(match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            // It also stands for what is no text.
            if text.contains(REPLACEMENT) {
                return None;
            }
            Hir::literal(literal.0.clone())
        }
        HirKind::Class(Class::Unicode(class)) => loose_class(class, is_exact),
        // Only the translation itself switches Unicode off, and never for a class.
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Look(look) => match look {
            Look::Start | Look::End => Hir::fail(),
            Look::StartLF | Look::EndLF | Look::WordAscii | Look::WordAsciiNegate => {
                Hir::look(*look)
            }
            _ => return None,
        },
        HirKind::Repetition(repetition) => {
            let sub = Box::new(loose(&repetition.sub, is_exact)?);
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => loose(&capture.sub, is_exact)?,
        HirKind::Concat(parts) => Hir::concat(all(parts, is_exact)?),
        HirKind::Alternation(parts) => Hir::alternation(all(parts, is_exact)?),
    })
}

fn all(parts: &[Hir], is_exact: &mut bool) -> Option<Vec<Hir>> {
    parts.iter().map(|part| loose(part, is_exact)).collect()
}

fn loose_class(class: &ClassUnicode, is_exact: &mut bool) -> Hir {
    let mut ranges = class.ranges().iter();
    let hir = Hir::class(Class::Unicode(class.clone()));
    if !ranges.any(|range| range.start() <= REPLACEMENT && REPLACEMENT <= range.end()) {
        return hir;
    }
    *is_exact = false;
    let offending = ClassBytes::new([ClassBytesRange::new(0x80, 0xff)]);
    Hir::alternation(vec![hir, Hir::class(Class::Bytes(offending))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, memory: &[u8]) -> bool {
        Matcher::expression(pattern).unwrap().is_match(memory, Edges::default())
    }

    #[test]
    fn text_has_no_beginning_and_no_end() {
        for (pattern, memory, hit) in [
            ("^x$", &b"x"[..], false),
            ("^x", b"x", false),
            ("x$|y", b"x", false),
            ("x$|y", b"xy", true),
            ("(?m)^x$", b"a\nx\nb", true),
            ("(?m)^x$", b"axb", false),
            (r"\bx\b", b"\0x\0", true),
            (r"\bx\b", b"axb", false),
        ] {
            assert_eq!(matches(pattern, memory), hit, "{pattern}");
        }
    }

    #[test]
    fn offending_bytes_are_characters_one_by_one() {
        for (pattern, memory, hit) in [
            ("a.b", &b"\xff\xfea\xffb"[..], true),
            ("a.b", b"a\xff\xfeb", false),
            ("a..b", b"a\xff\xfeb", true),
            ("a..b", "aéb".as_bytes(), false),
            ("a.b", "\u{1}aéb".as_bytes(), true),
            ("a[^x]b", b"\x80a\x80b", true),
            ("secret[0-9]+", b"\xff\xffsecret42\xff", true),
            ("(?i)SECRET", b"\xc3secret", true),
            (r"\x{fffd}", b"a\xffb", true),
            ("é", b"\xffx\xc3\xa9", true),
        ] {
            assert_eq!(matches(pattern, memory), hit, "{pattern} {memory:?}");
        }
    }

    #[test]
    fn the_edges_of_a_piece_are_no_boundaries() {
        let edges = |is_continued, goes_on| Edges { is_continued, goes_on };
        for (pattern, memory, at, hit) in [
            (r"\bfoo", &b"foo bar"[..], edges(false, false), true),
            (r"\bfoo", b"foo bar", edges(true, false), false),
            (r"\bfoo", b"a foo", edges(true, false), true),
            (r"foo\b", b"a foo", edges(false, false), true),
            (r"foo\b", b"a foo", edges(false, true), false),
            (r"foo\b", b"foo a", edges(false, true), true),
            (r"(?m)foo$", b"a foo", edges(false, true), false),
            // Nothing beside these matters.
            ("foo", b"foo", edges(true, true), true),
            ("foo.*", b"foo and all the rest", edges(true, true), true),
        ] {
            let matched = Matcher::expression(pattern).unwrap().is_match(memory, at);
            assert_eq!(matched, hit, "{pattern} {at:?}");
        }
    }

    #[test]
    fn bytes_are_found_as_they_are() {
        let matcher = Matcher::bytes(b"\0\xff");
        let hits = |memory| matcher.is_match(memory, Edges::default());
        assert!(hits(b"a\0\xffb") && !hits(b"\0\0"));
        assert_eq!(matcher.overlap(), 1);
    }

    /// Parts of expressions without anchors.
    const ATOMS: [&str; 12] =
        ["a", "b", ".", "[^a]", "é", "*", "+", "?", "x.*y", "(a|b)", r"\d", r"\b"];

    proptest! {
        /// Without anchors, the verdict is that of the expression on the
        /// converted bytes.
        #[test]
        fn agrees_with_the_expression(
            atoms in proptest::collection::vec(
                prop::sample::select(&ATOMS[..]), 1..6),
            memory in proptest::collection::vec(
                prop::sample::select(&b"ab1xy\n\xff\xc3\xa9\xe2\x80"[..]), 0..20),
        ) {
            let pattern = atoms.concat();
            if let Ok(matcher) = Matcher::expression(&pattern) {
                let exact = GoRegex::new(&pattern).unwrap();
                let matched = matcher.is_match(&memory, Edges::default());
                prop_assert_eq!(matched, exact.is_match(&memory));
            }
        }
    }
}
