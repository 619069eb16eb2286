//! Rule text as far as it must be understood without compiling it: what is a word,
//! what is text, and what is neither.

use std::ops::Range;

/// A piece of rule text. What lies between pieces is blanks, comments, regular
/// expressions and signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword, name, variable or number: where it stands.
    Word(Range<usize>),
    /// A text in double quotes: where its quotes stand.
    Text(Range<usize>),
}

/// Takes rule text apart. Never fails: what is not closed goes on to the end of its
/// line, or of the text for a comment, and the compiler has its say about it.
pub fn tokens(source: &str) -> Tokens<'_> {
    Tokens { source, at: 0 }
}

/// See [`tokens`].
#[derive(Debug, Clone)]
pub struct Tokens<'s> {
    source: &'s str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let begin = self.at;
            let rest = self.source.get(begin..)?;
            let first = rest.chars().next()?;
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.at += comment.find("*/").map_or(rest.len(), |end| end + 4);
            } else if first == '/' {
                self.at += delimited(rest, '/');
            } else if first == '"' {
                self.at += delimited(rest, '"');
                return Some(Token::Text(begin..self.at));
            } else if is_of_a_word(first) {
                self.at += rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len());
                return Some(Token::Word(begin..self.at));
            } else {
                self.at += first.len_utf8();
            }
        }
    }
}

/// `pe.entry_point` is one word, and so is `$a`.
fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.')
}

/// The length of something that ends with its first character again, or with its
/// line. A backslash protects what follows it.
fn delimited(text: &str, end: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\n' => return index,
            c if c == end => return index + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Where `include` statements stand, and the names they give.
pub(crate) fn includes(source: &str) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut keyword: Option<Range<usize>> = None;
    for token in tokens(source) {
        match (token, keyword.take()) {
            (Token::Text(text), Some(word)) => {
                let name = source.get(text.clone()).unwrap_or_default();
                let name = name.strip_prefix('"').unwrap_or(name);
                let name = name.strip_suffix('"').unwrap_or(name);
                let name = name.replace("\\\"", "\"").replace("\\\\", "\\");
                found.push((word.start..text.end, name));
            }
            (Token::Word(word), _) if source.get(word.clone()) == Some("include") => {
                keyword = Some(word);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(source: &str) -> Vec<&str> {
        let ranges = tokens(source).map(|token| match token {
            Token::Word(range) | Token::Text(range) => range,
        });
        ranges.map(|range| &source[range]).collect()
    }

    #[test]
    fn what_is_quoted_or_commented_is_no_word() {
        let source = r#"
            import "pe" // entrypoint "no"
            /* include "x" */ rule r : tag {
                meta: m = "say \"include\" \\"
                strings: $a = /entry\/point "/i  $b = { 4D 5A [2-4] } // "
                         $c = "/* no comment"
                condition: $a at entrypoint + 1 and pe.entry_point \ 2 == 0x10
            }"#;
        assert_eq!(
            pieces(source),
            [
                "import",
                "\"pe\"",
                "rule",
                "r",
                "tag",
                "meta",
                "m",
                r#""say \"include\" \\""#,
                "strings",
                "$a",
                "i",
                "$b",
                "4D",
                "5A",
                "2",
                "4",
                "$c",
                "\"/* no comment\"",
                "condition",
                "$a",
                "at",
                "entrypoint",
                "1",
                "and",
                "pe.entry_point",
                "2",
                "0x10",
            ]
        );
        assert_eq!(includes(source), []);
    }

    #[test]
    fn includes_are_found_where_they_are_statements() {
        let source =
            "include \"a.yar\"\n//include \"b\"\ninclude /* x */ \"c\\\\d.yar\" include x \"e\"";
        let names: Vec<_> = includes(source).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a.yar", "c\\d.yar"]);
        assert_eq!(includes(source)[0].0, 0..15);
    }

    #[test]
    fn what_is_not_closed_ends_with_its_line() {
        assert_eq!(pieces("\"a\nb"), ["\"a", "b"]);
        assert_eq!(pieces("/a\nb /* c"), ["b"]);
        assert_eq!(pieces("\"a\\"), ["\"a\\"]);
    }

    proptest! {
        #[test]
        fn tokens_are_ascending_pieces_of_the_text(source in "[ a-z\"/*\\\\\n.{}$\u{e9}]{0,80}") {
            let mut last = 0;
            for token in tokens(&source) {
                let (Token::Word(range) | Token::Text(range)) = token;
                prop_assert!(range.start >= last && range.end > range.start);
                prop_assert!(source.get(range.clone()).is_some());
                last = range.end;
            }
        }
    }
}
