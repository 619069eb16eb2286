//! Patterns of `LIKE` and of regular expressions.

use regex::{Regex, RegexBuilder};

use super::regex_subset;

/// A pattern of `LIKE` or `ILIKE`, which covers the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikePattern {
    tokens: Vec<LikeToken>,
    ignore_case: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LikeToken {
    /// `%`
    Any,
    /// `_`
    One,
    Char(char),
}

impl LikePattern {
    /// Reads a pattern whose `escape` makes the next character plain.
    ///
    /// # Errors
    ///
    /// When the escape character stands last.
    pub(super) fn new(
        text: &str,
        escape: Option<char>,
        ignore_case: bool,
    ) -> Result<Self, &'static str> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                c if Some(c) == escape => {
                    let plain = chars.next().ok_or("the pattern ends with its escape character")?;
                    LikeToken::Char(plain)
                }
                '%' if tokens.last() == Some(&LikeToken::Any) => continue,
                '%' => LikeToken::Any,
                '_' => LikeToken::One,
                c => LikeToken::Char(c),
            });
        }
        Ok(Self { tokens, ignore_case })
    }

    /// Whether ASCII letters match in either case.
    pub fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// The pattern with `\` as escape character.
    pub fn sql(&self) -> String {
        let mut out = String::with_capacity(self.tokens.len());
        for token in &self.tokens {
            match token {
                LikeToken::Any => out.push('%'),
                LikeToken::One => out.push('_'),
                LikeToken::Char(c) => {
                    if matches!(c, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(*c);
                }
            }
        }
        out
    }

    /// The same pattern for the `regex` crate.
    pub fn regex(&self) -> String {
        let mut out = String::from(r"\A(?s:");
        for token in &self.tokens {
            match token {
                LikeToken::Any => out.push_str(".*"),
                LikeToken::One => out.push('.'),
                LikeToken::Char(c) => regex_subset::push_char(&mut out, *c, self.ignore_case),
            }
        }
        out.push_str(r")\z");
        out
    }

    /// Whether the text matches. Steps back to the last `%` only, so the time
    /// is bounded by the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut t, mut p) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.tokens.get(p) {
                Some(LikeToken::Any) => {
                    retry = Some((p + 1, t));
                    p += 1;
                }
                Some(token) if self.fits(*token, text.get(t).copied()) => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((pattern, start)) = retry else { return false };
                    retry = Some((pattern, start + 1));
                    p = pattern;
                    t = start + 1;
                }
            }
        }
        self.tokens.get(p..).unwrap_or_default().iter().all(|token| *token == LikeToken::Any)
    }

    fn fits(&self, token: LikeToken, c: Option<char>) -> bool {
        match (token, c) {
            (LikeToken::Char(a), Some(b)) if self.ignore_case => a.eq_ignore_ascii_case(&b),
            (LikeToken::Char(a), Some(b)) => a == b,
            (LikeToken::One | LikeToken::Any, Some(_)) => true,
            (_, None) => false,
        }
    }
}

/// A regular expression, in the subset on which `PostgreSQL` and the `regex`
/// crate agree. Matches anywhere in the text.
#[derive(Debug, Clone)]
pub struct RegexPattern {
    source: String,
    ignore_case: bool,
    regex: Regex,
}

impl RegexPattern {
    /// # Errors
    ///
    /// What of the expression is not supported.
    pub(super) fn new(source: &str, ignore_case: bool) -> Result<Self, String> {
        let translated = regex_subset::translate(source, ignore_case)?;
        let regex = RegexBuilder::new(&translated)
            .size_limit(1 << 20)
            .dfa_size_limit(1 << 20)
            .build()
            .map_err(|_| "the regular expression is too large".to_owned())?;
        Ok(Self { source: source.to_owned(), ignore_case, regex })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether ASCII letters match in either case.
    pub fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// The same expression for the `regex` crate.
    pub fn regex(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether the text matches, in time linear in its length.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.ignore_case == other.ignore_case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_refuses_a_dangling_escape() {
        assert!(LikePattern::new("a\\", Some('\\'), false).is_err());
        assert!(LikePattern::new("a\\", None, false).is_ok());
    }

    #[test]
    fn like_covers_the_whole_text() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("_", "", false),
            ("_", "ł", true),
            ("linux.%", "linux.web1", true),
            ("linux.%", "Linux.web1", false),
            ("%a%b", "xaybzb", true),
            ("%a%b", "xaybz", false),
            ("a\\%", "a%", true),
            ("a\\%", "ab", false),
            ("%ab%_", "abab", true),
            ("a%", "a\nb", true),
        ] {
            let like = LikePattern::new(pattern, Some('\\'), false).unwrap();
            assert_eq!(like.matches(text), expected, "{pattern} {text}");
            assert_eq!(Regex::new(&like.regex()).unwrap().is_match(text), expected);
        }
    }

    #[test]
    fn ilike_ignores_the_case_of_ascii_only() {
        let like = LikePattern::new("K%Ł", Some('\\'), true).unwrap();
        for (text, expected) in [("kelvin Ł", true), ("kelvin ł", false), ("\u{212a}Ł", false)] {
            assert_eq!(like.matches(text), expected, "{text}");
            assert_eq!(Regex::new(&like.regex()).unwrap().is_match(text), expected);
        }
    }

    #[test]
    fn like_stays_fast_on_hostile_patterns() {
        let like = LikePattern::new(&"%a".repeat(500), Some('\\'), false).unwrap();
        assert!(!like.matches(&("a".repeat(499) + &"b".repeat(5000))));
    }
}
