//! One expression against the lines of a buffer.
//!
//! Most lines match nothing, so the whole buffer is searched at once with a
//! looser form of the expression, and only lines where that hits are looked at.
//! The looser form never crosses a line end and never misses a matching line; it
//! may hit where the expression does not.

use memchr::{memchr, memchr_iter, memrchr};
use mig_module::regex::{GoRegex, compile};
use regex::bytes::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look,
};

const REPLACEMENT: char = '\u{fffd}';

/// An expression for lines.
#[derive(Debug)]
pub(crate) struct LineMatcher {
    line: GoRegex,
    loose: Option<Regex>,
}

impl LineMatcher {
    pub(crate) fn new(line: GoRegex) -> Self {
        let loose = loosen(line.translated());
        Self { line, loose }
    }

    /// Whether the expression matches one line, given without its end.
    pub(crate) fn matches_line(&self, line: &[u8]) -> bool {
        self.line.is_match(line)
    }

    /// Whether any line of `block` matches. The block holds whole lines; the last
    /// may lack its end.
    pub(crate) fn matches_any(&self, block: &[u8]) -> bool {
        let Some(loose) = &self.loose else {
            return lines(block).any(|line| self.matches_line(line));
        };
        let mut at = 0;
        while at < block.len() {
            let Some(hit) = loose.shortest_match_at(block, at) else { return false };
            if hit >= block.len() && block.last() == Some(&b'\n') {
                // Behind the last line end there is no line.
                return false;
            }
            let (before, after) = block.split_at(hit);
            let start = memrchr(b'\n', before).map_or(0, |end| end + 1);
            let end = memchr(b'\n', after).map_or(block.len(), |end| hit + end);
            let line = block.get(start..end).unwrap_or_default();
            if self.matches_line(without_return(line)) {
                return true;
            }
            at = end + 1;
        }
        false
    }
}

/// The lines of a block of whole lines, without their ends.
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr_iter(b'\n', block).chain(
        // A last line without end counts when it is not empty.
        (!block.is_empty() && block.last() != Some(&b'\n')).then_some(block.len()),
    );
    ends.map(move |end| {
        let line = block.get(start..end).unwrap_or_default();
        start = end + 1;
        without_return(line)
    })
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The looser form for whole buffers; none when it cannot be built.
fn loosen(translated: &str) -> Option<Regex> {
    let mut parser = ParserBuilder::new().utf8(false).nest_limit(1000).build();
    let hir = parser.parse(translated).ok()?;
    compile(&loose(&hir)?.to_string()).ok()
}

fn loose(hir: &Hir) -> Option<Hir> {
    Some(match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            if text.contains(['\n', REPLACEMENT]) {
                let single = |c| loose_class(&ClassUnicode::new([ClassUnicodeRange::new(c, c)]));
                Hir::concat(text.chars().map(single).collect())
            } else {
                Hir::literal(literal.0.clone())
            }
        }
        HirKind::Class(Class::Unicode(class)) => loose_class(class),
        // Only the translation itself switches Unicode off, and never for a class.
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Look(look) => match look {
            Look::Start | Look::StartLF => Hir::look(Look::StartLF),
            // The return before a line end does not belong to the line.
            Look::End | Look::EndLF => {
                let mut optional = loose_repetition(0, Some(1));
                optional.sub = Box::new(Hir::literal(*b"\r"));
                Hir::concat(vec![Hir::repetition(optional), Hir::look(Look::EndLF)])
            }
            Look::WordAscii | Look::WordAsciiNegate => Hir::look(*look),
            _ => return None,
        },
        HirKind::Repetition(repetition) => {
            let sub = Box::new(loose(&repetition.sub)?);
            Hir::repetition(regex_syntax::hir::Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => loose(&capture.sub)?,
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(loose).collect::<Option<_>>()?),
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(loose).collect::<Option<_>>()?)
        }
    })
}

fn loose_repetition(min: u32, max: Option<u32>) -> regex_syntax::hir::Repetition {
    regex_syntax::hir::Repetition { min, max, greedy: true, sub: Box::new(Hir::empty()) }
}

/// A class without the line end. One that has U+FFFD also matches each byte that
/// can be part of invalid UTF-8, since such a byte stands for that character.
fn loose_class(class: &ClassUnicode) -> Hir {
    let mut class = class.clone();
    class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
    let replaces = class
        .ranges()
        .iter()
        .any(|range| range.start() <= REPLACEMENT && REPLACEMENT <= range.end());
    if class.ranges().is_empty() {
        return Hir::fail();
    }
    let exact = Hir::class(Class::Unicode(class));
    if !replaces {
        return exact;
    }
    let bytes = ClassBytes::new([ClassBytesRange::new(0x80, 0xff)]);
    Hir::alternation(vec![exact, Hir::class(Class::Bytes(bytes))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(pattern: &str) -> LineMatcher {
        LineMatcher::new(GoRegex::new(pattern).unwrap())
    }

    #[test]
    fn cuts_lines_like_the_peers() {
        let all = |block: &'static [u8]| lines(block).collect::<Vec<_>>();
        assert!(all(b"").is_empty());
        assert_eq!(all(b"\n"), [b""]);
        assert_eq!(all(b"a\r\nb\r"), [b"a", b"b"]);
        assert_eq!(all(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(all(b"a\r\r\n"), [b"a\r"]);
    }

    #[test]
    fn every_kind_of_expression_has_a_loose_form() {
        for pattern in
            ["^root", "a$", r"\bx\b", ".", "[^a]", "", "a|b", "x{2,3}", r"\s", r"\x{fffd}"]
        {
            assert!(matcher(pattern).loose.is_some(), "{pattern}");
        }
    }

    #[test]
    fn no_match_crosses_a_line_end() {
        for (pattern, block, matches) in [
            ("a.b", &b"a\nb"[..], false),
            ("a[^x]b", b"a\nb", false),
            (r"a\sb", b"a\nb", false),
            (r"a\nb", b"a\nb", false),
            (r"\r", b"line1\r\nline2\r\n", false),
            ("^line2$", b"line1\r\nline2\r\n", true),
            ("^$", b"", false),
            ("^$", b"\n", true),
            ("^$", b"a\n", false),
            ("^$", b"a\n\n", true),
            ("^$", b"\r\n", true),
            ("^b", b"ab\nb", true),
            ("(?s)x.", b"x\n", false),
            ("A .. B", b"A \xff\xfe B\n", true),
            ("^.$", "é\n".as_bytes(), true),
            ("^..$", "é\n".as_bytes(), false),
            (r"\xff", b"\xff", false),
            ("\u{fffd}", b"\x80", true),
            ("b", b"a\0b\n", true),
            (r"\Bb", b"b\nb\n", false),
        ] {
            assert_eq!(matcher(pattern).matches_any(block), matches, "{pattern:?} on {block:?}");
        }
    }

    proptest! {
        // The buffer and the line by line search must agree on everything.
        #[test]
        fn agrees_with_the_search_line_by_line(
            pattern in "[ab.^$|*+?é\\]\\[ -]{1,8}|\\\\[bBsSwWdD][ab.]?|\\^[ab]+\\$",
            block in proptest::collection::vec(
                prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), Just(b'\r'), Just(b' '), Just(0xc3),
                    Just(0xa9), Just(0xff)], 0..40),
        ) {
            if let Ok(regex) = GoRegex::new(&pattern) {
                let matcher = LineMatcher::new(regex);
                let slow = lines(&block).any(|line| matcher.matches_line(line));
                prop_assert_eq!(matcher.matches_any(&block), slow);
            }
        }
    }
}
