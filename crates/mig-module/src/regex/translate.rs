//! From Go's dialect to that of the `regex` crate.

use std::collections::HashSet;

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{Ast, RepetitionKind, RepetitionRange};

use super::class::{self, Members};
use super::{NEST_LIMIT, RegexError};

/// Most repetitions Go allows, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// Translates an expression, or refuses what Go 1.19 refuses. Groups come out
/// without captures.
///
/// # Errors
///
/// [`RegexError::Syntax`] with Go's wording of the reason.
pub fn translate(pattern: &str) -> Result<String, RegexError> {
    translate_with(pattern, "(?:")
}

/// [`translate`], with captures: named groups lose their names.
pub(super) fn translate_capturing(pattern: &str) -> Result<String, RegexError> {
    translate_with(pattern, "(")
}

fn translate_with(pattern: &str, group: &'static str) -> Result<String, RegexError> {
    let syntax = |reason: String| RegexError::Syntax {
        pattern: pattern.chars().take(1000).collect(),
        reason,
    };
    let mut translator = Translator { rest: pattern, group, ..Translator::default() };
    translator.run().map_err(syntax)?;
    let out = translator.out;
    let ast = ParserBuilder::new().nest_limit(NEST_LIMIT).build().parse(&out);
    let ast = ast.map_err(|error| syntax(error.kind().to_string()))?;
    if !repeats_allowed(&ast, MAX_REPEAT) {
        return Err(syntax("invalid repeat count".to_owned()));
    }
    Ok(out)
}

#[derive(Debug, Default)]
struct Translator<'p> {
    rest: &'p str,
    /// What a group begins with.
    group: &'static str,
    out: String,
    names: HashSet<&'p str>,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut after_repeat = false;
        while let Some(c) = self.rest.chars().next() {
            let repeat = match c {
                '*' | '+' | '?' => {
                    self.advance(1);
                    Some(c.to_string())
                }
                '{' => self.counted()?,
                _ => None,
            };
            if let Some(repeat) = repeat {
                if after_repeat {
                    return Err("invalid nested repetition operator".to_owned());
                }
                self.out.push_str(&repeat);
                if self.take("?") {
                    self.out.push('?');
                }
                after_repeat = true;
                continue;
            }
            after_repeat = false;
            match c {
                '\\' => self.escape()?,
                '[' => {
                    let class = self.bracket()?;
                    self.out.push_str(&class);
                }
                '(' => self.group()?,
                ')' | '|' | '.' | '^' | '$' => {
                    self.advance(1);
                    self.out.push(c);
                }
                c => {
                    self.advance(c.len_utf8());
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.advance(c.len_utf8());
        Some(c)
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
    }

    fn code_point(&mut self, point: u32) {
        match char::from_u32(point) {
            Some(c) => self.literal(c),
            // A surrogate: Go accepts it, and no text contains it.
            None => self.out.push_str(class::NEVER),
        }
    }

    /// `{n}`, `{n,}` or `{n,m}`; any other brace is literal text.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let Some((inside, _)) = self.rest.get(1..).and_then(|rest| rest.split_once('}')) else {
            return Ok(None);
        };
        let (low, high) = match inside.split_once(',') {
            None => (count(inside), count(inside)),
            // Without an upper bound only the lower one counts.
            Some((low, "")) => (count(low), count(low)),
            Some((low, high)) => (count(low), count(high)),
        };
        let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
        if low > MAX_REPEAT || high > MAX_REPEAT || high < low {
            return Err("invalid repeat count".to_owned());
        }
        let text = format!("{{{inside}}}");
        self.advance(text.len());
        Ok(Some(text))
    }

    fn group(&mut self) -> Result<(), String> {
        self.advance(1);
        if !self.take("?") {
            self.out.push_str(self.group);
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let name = self.rest.split_once('>').map(|(name, _)| name);
            let word = |name: &&str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                !name.is_empty() && name.bytes().all(plain)
            };
            let name = name.filter(word).ok_or("invalid named capture")?;
            if !self.names.insert(name) {
                return Err("duplicate capture group name".to_owned());
            }
            self.advance(name.len() + 1);
            self.out.push_str(self.group);
            return Ok(());
        }
        let end = self.rest.find([':', ')']).ok_or("missing closing )")?;
        let (flags, _) = self.rest.split_at(end);
        let (on, off) = flags.split_once('-').unwrap_or((flags, "i"));
        let known = |text: &str| text.chars().all(|c| matches!(c, 'i' | 'm' | 's' | 'U'));
        if off.is_empty() || !known(on) || !known(off) {
            return Err("invalid or unsupported Perl syntax".to_owned());
        }
        self.advance(end);
        let scoped = self.take(":");
        if !scoped {
            self.advance(1);
        }
        // The engine refuses a letter given twice.
        let once = |text: &str| {
            ["i", "m", "s", "U"].into_iter().filter(|flag| text.contains(flag)).collect::<String>()
        };
        let (on, off) = match flags.split_once('-') {
            Some((on, off)) => {
                // The later half wins in Go.
                let off = once(off);
                (once(on).chars().filter(|c| !off.contains(*c)).collect(), off)
            }
            None => (once(flags), String::new()),
        };
        let dash = if off.is_empty() { "" } else { "-" };
        let flags = format!("{on}{dash}{off}");
        // A group of flags without a flag is nothing, but stops a repetition.
        let end = if scoped || flags.is_empty() { ":" } else { "" };
        let close = if scoped { "" } else { ")" };
        self.out.extend(["(?", flags.as_str(), end, close]);
        Ok(())
    }

    /// An escape outside brackets.
    fn escape(&mut self) -> Result<(), String> {
        let after = self.rest.get(1..).unwrap_or_default();
        let Some(letter) = after.chars().next() else {
            return Err("trailing backslash at end of expression".to_owned());
        };
        if let Some(class) = class::perl(letter) {
            self.advance(2);
            self.out.push_str(class);
            return Ok(());
        }
        match letter {
            'A' | 'z' => {
                self.advance(2);
                self.out.push('\\');
                self.out.push(letter);
            }
            // ASCII in Go.
            'b' | 'B' => {
                self.advance(2);
                self.out.push_str(if letter == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            'Q' => {
                self.advance(2);
                let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                for c in literal.chars() {
                    self.literal(c);
                }
            }
            'p' | 'P' => {
                let class = self.property()?;
                self.out.push_str(&class);
            }
            _ => {
                let point = self.escaped_char()?;
                self.code_point(point);
            }
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}` and their negations.
    fn property(&mut self) -> Result<String, String> {
        let negated = self.rest.starts_with(r"\P");
        self.advance(2);
        let name = if self.take("{") {
            let (name, rest) = self.rest.split_once('}').ok_or("invalid character class range")?;
            self.rest = rest;
            name
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            let (name, rest) = self.rest.split_at(length);
            self.rest = rest;
            name
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        class::unicode(name, negated)
            .ok_or_else(|| format!(r"invalid character class range \p{{{name}}}"))
    }

    /// An escape that stands for one code point, which may be a surrogate.
    fn escaped_char(&mut self) -> Result<u32, String> {
        self.advance(1);
        let c = self.next().ok_or("trailing backslash at end of expression")?;
        let invalid = || format!("invalid escape sequence \\{c}");
        let octal = |c: char| c.to_digit(8);
        match c {
            '1'..='7' if !self.rest.starts_with(|c| octal(c).is_some()) => Err(invalid()),
            '0'..='7' => {
                let mut value = octal(c).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(octal) else { break };
                    self.advance(1);
                    value = value * 8 + digit;
                }
                Ok(value)
            }
            'x' => self.hexadecimal().ok_or_else(invalid),
            'a' => Ok(7),
            'f' => Ok(12),
            'n' => Ok(10),
            'r' => Ok(13),
            't' => Ok(9),
            'v' => Ok(11),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(u32::from(c)),
            _ => Err(invalid()),
        }
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.take("{") {
            let (digits, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2)?;
            self.rest = rest;
            digits
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = digits.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        let value = plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
        (value <= 0x10_ffff).then_some(value)
    }

    fn bracket(&mut self) -> Result<String, String> {
        self.advance(1);
        let negated = self.take("^");
        let mut members = Members::default();
        let mut first = true;
        loop {
            if self.rest.is_empty() {
                return Err("missing closing ]".to_owned());
            }
            if !first && self.take("]") {
                return Ok(members.finish(negated));
            }
            first = false;
            if let Some(after) = self.rest.strip_prefix("[:")
                && let Some((name, rest)) = after.split_once(":]")
            {
                let class = class::posix(name)
                    .ok_or(format!("invalid character class range [:{name}:]"))?;
                members.class(&class);
                self.rest = rest;
                continue;
            }
            if let Some(letter) = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next())
            {
                if let Some(class) = class::perl(letter) {
                    members.class(class);
                    self.advance(2);
                    continue;
                }
                if matches!(letter, 'p' | 'P') {
                    members.class(&self.property()?);
                    continue;
                }
            }
            let low = self.class_char()?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.advance(1);
                high = self.class_char()?;
                if high < low {
                    return Err("invalid character class range".to_owned());
                }
            }
            members.range(low, high);
        }
    }

    fn class_char(&mut self) -> Result<u32, String> {
        if self.rest.starts_with('\\') {
            return self.escaped_char();
        }
        self.next().map(u32::from).ok_or_else(|| "missing closing ]".to_owned())
    }
}

/// A repetition count, or `None` when it is not one and the brace is literal. Go
/// takes no leading zeros.
fn count(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    // Too many digits are a count beyond every limit, not literal text.
    Some(digits.parse().unwrap_or(u32::MAX))
}

/// Whether counted repetitions, nested ones multiplied, stay within `left`.
fn repeats_allowed(ast: &Ast, left: u32) -> bool {
    match ast {
        Ast::Repetition(repetition) => {
            let mut left = left;
            if let RepetitionKind::Range(range) = &repetition.op.kind {
                let most = match range {
                    RepetitionRange::Exactly(count) | RepetitionRange::AtLeast(count) => *count,
                    RepetitionRange::Bounded(_, most) => *most,
                };
                if most > left {
                    return false;
                }
                left = left.checked_div(most).unwrap_or(left);
            }
            repeats_allowed(&repetition.ast, left)
        }
        Ast::Group(group) => repeats_allowed(&group.ast, left),
        Ast::Alternation(list) => list.asts.iter().all(|ast| repeats_allowed(ast, left)),
        Ast::Concat(list) => list.asts.iter().all(|ast| repeats_allowed(ast, left)),
        _ => true,
    }
}
