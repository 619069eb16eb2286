//! Translates the regular expressions that mean the same to `PostgreSQL` (under
//! the C collation) and to the `regex` crate, and refuses the others.

use std::fmt::Write as _;

/// Groups inside groups.
const MAX_DEPTH: usize = 20;
/// Atoms after unrolling every bound.
const MAX_ATOMS: u64 = 2000;

const DIGIT: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
const SPACE: &[(char, char)] = &[('\t', '\r'), (' ', ' ')];

/// Appends a character that stands for itself.
pub(super) fn push_char(out: &mut String, c: char, ignore_case: bool) {
    if ignore_case && c.is_ascii_alphabetic() {
        let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
        // Writing to a string cannot fail.
        let _ = write!(out, "[{upper}{lower}]");
    } else {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// # Errors
///
/// What of the expression is not supported.
pub(super) fn translate(source: &str, ignore_case: bool) -> Result<String, String> {
    let mut translator =
        Translator { chars: source.chars().collect(), at: 0, out: String::new(), ignore_case };
    translator.alternation(0)?;
    match translator.peek() {
        None => Ok(translator.out),
        Some(_) => Err("a closing parenthesis without an opening one".to_owned()),
    }
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    out: String,
    ignore_case: bool,
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.chars.get(self.at + 1).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Returns the number of atoms.
    fn alternation(&mut self, depth: usize) -> Result<u64, String> {
        if depth > MAX_DEPTH {
            return Err("groups are nested too deeply".to_owned());
        }
        let mut atoms = 1;
        loop {
            match self.peek() {
                None | Some(')') => return Ok(atoms),
                Some('|') => {
                    self.at += 1;
                    self.out.push('|');
                }
                Some(_) => {
                    atoms += self.quantified(depth)?;
                    if atoms > MAX_ATOMS {
                        return Err("the regular expression is too large".to_owned());
                    }
                }
            }
        }
    }

    fn quantified(&mut self, depth: usize) -> Result<u64, String> {
        let anchor = matches!(self.peek(), Some('^' | '$'));
        let atoms = self.atom(depth)?;
        let factor = self.quantifier()?;
        if factor.is_some() && (anchor || self.quantifier()?.is_some()) {
            return Err("a repetition must follow a character, a class or a group".to_owned());
        }
        Ok(atoms * factor.unwrap_or(1))
    }

    fn atom(&mut self, depth: usize) -> Result<u64, String> {
        let Some(c) = self.next() else { return Ok(0) };
        match c {
            '(' => {
                if self.take('?') && !self.take(':') {
                    return Err("only (...) and (?:...) groups are supported".to_owned());
                }
                self.out.push_str("(?:");
                let atoms = self.alternation(depth + 1)?;
                if !self.take(')') {
                    return Err("a group is not closed".to_owned());
                }
                self.out.push(')');
                return Ok(atoms);
            }
            '[' => self.class()?,
            '.' => self.out.push_str("(?s:.)"),
            '^' => self.out.push_str(r"\A"),
            '$' => self.out.push_str(r"\z"),
            '\\' => self.escape()?,
            '*' | '+' | '?' => return Err(format!("{c} has nothing to repeat")),
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                return Err("{ has nothing to repeat".to_owned());
            }
            c => push_char(&mut self.out, c, self.ignore_case),
        }
        Ok(1)
    }

    /// Translates a repetition; its size when there is one. Shortest-match
    /// marks do not change whether a text matches and are dropped.
    fn quantifier(&mut self) -> Result<Option<u64>, String> {
        let factor = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                self.out.push(c);
                1
            }
            Some('{') if self.peek_second().is_some_and(|c| c.is_ascii_digit()) => {
                self.at += 1;
                self.bounds()?
            }
            _ => return Ok(None),
        };
        self.take('?');
        Ok(Some(factor))
    }

    fn bounds(&mut self) -> Result<u64, String> {
        let wrong = || "a repetition reads {m}, {m,} or {m,n} with numbers up to 255".to_owned();
        let least = self.number().ok_or_else(wrong)?;
        let most = if self.take(',') { self.number() } else { Some(least) };
        if !self.take('}') || most.is_some_and(|most| most < least) {
            return Err(wrong());
        }
        let _ = match most {
            Some(most) => write!(self.out, "{{{least},{most}}}"),
            None => write!(self.out, "{{{least},}}"),
        };
        Ok(most.unwrap_or(least + 1))
    }

    fn number(&mut self) -> Option<u64> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.chars.get(start..self.at)?.iter().collect();
        digits.parse().ok().filter(|n| *n <= 255)
    }

    fn escape(&mut self) -> Result<(), String> {
        let c = self.next().ok_or("the expression ends with a backslash")?;
        let (ranges, negated) = match c {
            'd' => (DIGIT, false),
            'D' => (DIGIT, true),
            'w' => (WORD, false),
            'W' => (WORD, true),
            's' => (SPACE, false),
            'S' => (SPACE, true),
            c => {
                let plain = plain_escape(c)?;
                push_char(&mut self.out, plain, self.ignore_case);
                return Ok(());
            }
        };
        self.push_class(ranges, negated);
        Ok(())
    }

    fn push_class(&mut self, ranges: &[(char, char)], negated: bool) {
        self.out.push_str(if negated { "[^" } else { "[" });
        for (low, high) in ranges {
            let _ = write!(self.out, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(*low), u32::from(*high));
        }
        self.out.push(']');
    }

    fn class(&mut self) -> Result<(), String> {
        let unclosed = || "a bracket is not closed".to_owned();
        let negated = self.take('^');
        let mut ranges = Vec::new();
        let mut first = true;
        loop {
            let c = self.next().ok_or_else(unclosed)?;
            match c {
                ']' if !first => break,
                '[' if matches!(self.peek(), Some(':' | '.' | '=')) => self.named(&mut ranges)?,
                '\\' if matches!(self.peek(), Some('d' | 'w' | 's')) => {
                    ranges.extend_from_slice(match self.next() {
                        Some('d') => DIGIT,
                        Some('w') => WORD,
                        _ => SPACE,
                    });
                }
                '-' if !first && self.peek() != Some(']') => {
                    return Err(
                        "a - in brackets stands first, last or between two characters".into()
                    );
                }
                low => {
                    let low = if low == '\\' { self.class_escape()? } else { low };
                    let high = self.range_end()?.unwrap_or(low);
                    if high < low {
                        return Err(format!("the range {low}-{high} is empty"));
                    }
                    ranges.push((low, high));
                }
            }
            first = false;
        }
        if self.ignore_case {
            add_other_case(&mut ranges)?;
        }
        self.push_class(&ranges, negated);
        Ok(())
    }

    fn class_escape(&mut self) -> Result<char, String> {
        plain_escape(self.next().ok_or("a bracket is not closed")?)
    }

    /// The upper end, when a `-` that is not the last character follows.
    fn range_end(&mut self) -> Result<Option<char>, String> {
        if self.peek() != Some('-') || self.peek_second() == Some(']') {
            return Ok(None);
        }
        self.at += 1;
        match self.next() {
            Some('\\') => self.class_escape().map(Some),
            Some(c) if !matches!(c, '[' | '-') => Ok(Some(c)),
            _ => Err("a range in brackets must end with a character".to_owned()),
        }
    }

    fn named(&mut self, ranges: &mut Vec<(char, char)>) -> Result<(), String> {
        let unsupported = || "only classes such as [:alpha:] may be named in brackets".to_owned();
        if !self.take(':') {
            return Err(unsupported());
        }
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_lowercase()) {
            self.at += 1;
        }
        let name: String = self.chars.get(start..self.at).unwrap_or_default().iter().collect();
        if !self.take(':') || !self.take(']') {
            return Err(unsupported());
        }
        let class: &[(char, char)] = match name.as_str() {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "blank" => &[(' ', ' '), ('\t', '\t')],
            "digit" => DIGIT,
            "lower" => &[('a', 'z')],
            "upper" => &[('A', 'Z')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => SPACE,
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return Err(unsupported()),
        };
        ranges.extend_from_slice(class);
        Ok(())
    }
}

fn plain_escape(c: char) -> Result<char, String> {
    Ok(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'f' => '\u{c}',
        'v' => '\u{b}',
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        c => return Err(format!("\\{c} is not supported in a regular expression")),
    })
}

fn add_other_case(ranges: &mut Vec<(char, char)>) -> Result<(), String> {
    let mut more = Vec::new();
    for &(low, high) in ranges.iter() {
        if low != high && !high.is_ascii() {
            return Err("a range beyond ASCII cannot ignore case".to_owned());
        }
        for (first, last) in [('a', 'z'), ('A', 'Z')] {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                // Flips the case of an ASCII letter.
                let flip = |c: char| {
                    if c.is_ascii_lowercase() {
                        c.to_ascii_uppercase()
                    } else {
                        c.to_ascii_lowercase()
                    }
                };
                more.push((flip(from), flip(to)));
            }
        }
    }
    ranges.extend(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn refuses_what_the_engines_disagree_on() {
        for source in [
            "*a",
            "a**",
            "^*",
            "(a",
            "a)",
            "[a",
            "[]",
            r"\1",
            r"\b",
            r"\y",
            "(?i)a",
            "(?=a)",
            "(?P<n>a)",
            "a{2,1}",
            "a{300}",
            "{2}",
            "[z-a]",
            "[a-c-e]",
            "[[.a.]]",
            r"a\",
            r"\pL",
            "[[:nope:]]",
            "***:a",
            "a{1}{2}",
            "(((a{99}){99}){99}){99}",
            r"[a-\d]",
            "(|*a)",
        ] {
            assert!(translate(source, false).is_err(), "{source}");
        }
        assert!(translate(&"(".repeat(2000), false).is_err());
        assert!(translate("[а-я]", true).is_err());
    }

    #[test]
    fn means_what_postgresql_means() {
        for (source, ignore_case, text, expected) in [
            ("^web[0-9]+$", false, "web12", true),
            ("^web[0-9]+$", false, "web12\n", false),
            ("a.b", false, "a\nb", true),
            (r"\d", false, "\u{663}", false),
            (r"^\w+$", false, "zażółć", false),
            ("k", true, "\u{212a}", false),
            ("[a-k]x", true, "KX", true),
            ("[^a]", true, "A", false),
            ("[]a]", false, "]", true),
            ("[a-]", false, "-", true),
            ("a{", false, "a{", true),
            ("(a|)b", false, "b", true),
            ("a{2,}?$", false, "aaa", true),
            (r"linux\.", false, "linuxx", false),
            ("[[:lower:]]", true, "A", true),
            ("", false, "", true),
        ] {
            let regex = Regex::new(&translate(source, ignore_case).unwrap()).unwrap();
            assert_eq!(regex.is_match(text), expected, "{source} on {text:?}");
        }
    }
}
