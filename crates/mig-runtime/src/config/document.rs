//! The text of a configuration file as sections and variables.

use super::error::{ConfigError, Position};

/// A configuration is a page of text; anything larger is a mistake.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// All section lines of a file, in order, not merged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) sections: Vec<Section>,
}

/// One `[name]` line and the variables below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// As written; compared without regard to case.
    pub(super) name: String,
    /// The text of `[name "sub"]`.
    pub(super) subsection: Option<String>,
    pub(super) position: Position,
    pub(super) variables: Vec<Variable>,
}

/// One variable line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// As written; compared without regard to case.
    pub(super) name: String,
    /// `None` for a bare name, without `=`.
    pub(super) value: Option<String>,
    pub(super) position: Position,
    /// What an unquoted `#` directly behind the value cut off, with the `#`.
    pub(super) cut: Option<String>,
}

/// Reads the whole text.
///
/// Sections `[name]` or `[name "sub"]`; variables `name` or `name = value`;
/// comments from an unquoted `;` or `#`; escapes `\\ \" \n \t` inside double
/// quotes; outside them a backslash only at the end of a line, joining the next.
///
/// # Errors
///
/// [`ConfigError`] with the position of the first fault.
pub(super) fn parse(text: &str) -> Result<Document, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(ConfigError::new("is larger than 1 MiB"));
    }
    let mut scanner = Scanner::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut document = Document::default();
    loop {
        scanner.skip_blank();
        match scanner.peek() {
            None => return Ok(document),
            Some('\n') => {
                scanner.next();
            }
            Some(';' | '#') => scanner.skip_comment(),
            Some('[') => document.sections.push(section(&mut scanner)?),
            Some(c) if c.is_alphabetic() => {
                let variable = variable(&mut scanner)?;
                let Some(section) = document.sections.last_mut() else {
                    let message = "a variable must stand below a [section] line";
                    return Err(ConfigError::at(variable.position, message));
                };
                section.variables.push(variable);
            }
            Some(c) => {
                let message = format!("expected a [section] line or a variable, found {c:?}");
                return Err(ConfigError::at(scanner.position, message));
            }
        }
    }
}

fn section(scanner: &mut Scanner<'_>) -> Result<Section, ConfigError> {
    let position = scanner.position;
    scanner.next();
    scanner.skip_blank();
    let name = scanner.name("a section name")?;
    scanner.skip_blank();
    let mut subsection = None;
    if scanner.peek() == Some('"') {
        subsection = Some(subsection_name(scanner)?);
        scanner.skip_blank();
    }
    if scanner.peek() != Some(']') {
        return Err(scanner.unexpected("']'"));
    }
    scanner.next();
    end_of_line(scanner)?;
    Ok(Section { name, subsection, position, variables: Vec::new() })
}

fn subsection_name(scanner: &mut Scanner<'_>) -> Result<String, ConfigError> {
    let start = scanner.position;
    scanner.next();
    let mut name = String::new();
    loop {
        let position = scanner.position;
        match scanner.next() {
            None | Some('\n') => return Err(ConfigError::at(start, OPEN_QUOTE)),
            Some('"') => return Ok(name),
            Some('\\') => match scanner.next() {
                Some(c @ ('\\' | '"')) => name.push(c),
                _ => return Err(ConfigError::at(position, BAD_ESCAPE)),
            },
            Some('\0') => return Err(ConfigError::at(position, NUL)),
            Some(c) => name.push(c),
        }
    }
}

fn variable(scanner: &mut Scanner<'_>) -> Result<Variable, ConfigError> {
    let position = scanner.position;
    let name = scanner.name("a variable name")?;
    scanner.skip_blank();
    let (mut value, mut cut) = (None, None);
    if scanner.peek() == Some('=') {
        scanner.next();
        scanner.skip_blank();
        let text = self::value(scanner)?;
        cut = scanner.cut_text();
        value = Some(text);
    }
    end_of_line(scanner)?;
    Ok(Variable { name, value, position, cut })
}

const OPEN_QUOTE: &str = "a quote is not closed on its line";
const BAD_ESCAPE: &str = "unknown escape: inside quotes only \\\\ \\\" \\n \\t exist";
const LONE_BACKSLASH: &str =
    "a backslash outside quotes must end the line: quote the value and double it";
const NUL: &str = "the character NUL is not allowed";

/// Reads up to the end of the line or to a comment, which stay unread.
fn value(scanner: &mut Scanner<'_>) -> Result<String, ConfigError> {
    let mut text = String::new();
    // Length up to the last character that is not unquoted white space.
    let mut kept = 0;
    let mut open: Option<Position> = None;
    loop {
        let position = scanner.position;
        let Some(c) = scanner.peek() else { break };
        match c {
            '\n' | ';' | '#' if open.is_none() => break,
            '\n' => break,
            '\0' => return Err(ConfigError::at(position, NUL)),
            _ => {
                scanner.next();
            }
        }
        match c {
            '"' => open = if open.is_some() { None } else { Some(position) },
            '\\' if open.is_some() => text.push(match scanner.next() {
                Some(c @ ('\\' | '"')) => c,
                Some('n') => '\n',
                Some('t') => '\t',
                _ => return Err(ConfigError::at(position, BAD_ESCAPE)),
            }),
            '\\' => {
                if scanner.peek() == Some('\r') {
                    scanner.next();
                }
                if scanner.peek() != Some('\n') {
                    return Err(ConfigError::at(position, LONE_BACKSLASH));
                }
                scanner.next();
            }
            c => text.push(c),
        }
        if open.is_some() || !is_blank(c) {
            kept = text.len();
        }
    }
    if let Some(start) = open {
        return Err(ConfigError::at(start, OPEN_QUOTE));
    }
    text.truncate(kept);
    Ok(text)
}

/// Allows white space and a comment, nothing else, before the next line.
fn end_of_line(scanner: &mut Scanner<'_>) -> Result<(), ConfigError> {
    scanner.skip_blank();
    match scanner.peek() {
        None | Some('\n') => Ok(()),
        Some(';' | '#') => {
            scanner.skip_comment();
            Ok(())
        }
        Some(_) => Err(scanner.unexpected("'=', a comment or the end of the line")),
    }
}

/// White space that does not end a line; CR counts.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

struct Scanner<'a> {
    rest: &'a str,
    previous: Option<char>,
    position: Position,
}

impl<'a> Scanner<'a> {
    const fn new(text: &'a str) -> Self {
        Self { rest: text, previous: None, position: Position { line: 1, column: 1 } }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.previous = Some(c);
        if c == '\n' {
            self.position = Position { line: self.position.line + 1, column: 1 };
        } else {
            self.position.column += 1;
        }
        Some(c)
    }

    fn skip_blank(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    /// A letter, then letters, digits and `-`.
    fn name(&mut self, what: &str) -> Result<String, ConfigError> {
        if !self.peek().is_some_and(char::is_alphabetic) {
            return Err(self.unexpected(what));
        }
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '-') {
            name.push(c);
            self.next();
        }
        Ok(name)
    }

    /// The comment that begins here, if it begins with `#` and no white space
    /// stands between it and the value: then it was probably meant as data.
    fn cut_text(&self) -> Option<String> {
        let touches = self.previous.is_some_and(|c| !is_blank(c) && c != '=');
        if !touches || self.peek() != Some('#') {
            return None;
        }
        self.rest.lines().next().map(|line| line.trim_end().to_owned())
    }

    fn unexpected(&self, wanted: &str) -> ConfigError {
        let found = match self.peek() {
            None => "the end of the file".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        ConfigError::at(self.position, format!("expected {wanted}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section.name=value`, a bare name without `=`, in order.
    fn flat(text: &str) -> Vec<String> {
        let document = parse(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let line = |section: &Section, variable: &Variable| match &variable.value {
            Some(value) => format!("{}.{}={value}", section.name, variable.name),
            None => format!("{}.{}", section.name, variable.name),
        };
        let sections = document.sections.iter();
        sections.flat_map(|s| s.variables.iter().map(move |v| line(s, v))).collect()
    }

    #[test]
    fn refuses_with_the_position_of_the_fault() {
        for (text, line, column) in [
            ("a = 1\n", 1, 1),
            ("[s]\nsome_key = 1\n", 2, 5),
            ("[s]\n 1a = 1\n", 2, 2),
            ("[s]\nno equals here\n", 2, 4),
            ("[s] a = 1\n", 1, 5),
            ("[s\na=1\n", 1, 3),
            ("[]\n", 1, 2),
            ("[s x]\n", 1, 4),
            ("[s \"x]\n", 1, 4),
            ("[s \"\\n\"]\n", 1, 5),
            ("[s]\na = \"x\n", 2, 5),
            ("[s]\na = x\"y\n", 2, 6),
            ("[s]\na = \"x\\", 2, 7),
            ("[s]\na = \"x", 2, 5),
            ("[s]\npath = C:\\mig\n", 2, 10),
            ("[s]\nre = \"a\\d+\"\n", 2, 8),
            ("[s]\nre = \"a\\b\"\n", 2, 8),
            ("[s]\na = x \\ y\n", 2, 7),
            ("[s]\na = x\\", 2, 6),
            ("[s]\na = x\0y\n", 2, 6),
            ("[s]\n= x\n", 2, 1),
            ("\u{e9}[s]\n", 1, 2),
            ("[s]\n\u{e9}\u{e9} ! 1\n", 2, 4),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.position(), Some(Position { line, column }), "{text:?}: {error}");
        }
    }

    #[test]
    fn refuses_more_than_its_bound() {
        let text = format!("[s]\n{}", "#".repeat(MAX_BYTES));
        assert!(parse(&text).unwrap_err().to_string().contains("1 MiB"));
    }

    #[test]
    fn reads_values_as_the_original_does() {
        for (line, value) in [
            ("a = b", "b"),
            ("a=b", "b"),
            ("\t a\t=\t b  c \t", "b  c"),
            ("a =", ""),
            ("a = ; note", ""),
            ("a = x ; note", "x"),
            ("a = x# note", "x"),
            ("a = \"x ; y # z\" # note", "x ; y # z"),
            ("a = a\"b c\"d", "ab cd"),
            ("a = \" x \" ", " x "),
            ("a = \"\"", ""),
            ("a = k=v:w 'q' > z", "k=v:w 'q' > z"),
            ("a = \"C:\\\\mig\\t\\\"q\\\"\\n\"", "C:\\mig\t\"q\"\n"),
            ("a = x \\\n   y", "x    y"),
            ("a = x\\\r\ny", "xy"),
            ("a = x\r", "x"),
            ("a = \u{17c}\u{f3}\u{142}w", "\u{17c}\u{f3}\u{142}w"),
        ] {
            assert_eq!(flat(&format!("[s]\n{line}\n")), [format!("s.a={value}")], "{line:?}");
        }
    }

    #[test]
    fn reads_bare_names_comments_subsections_and_repeats() {
        let text = "\u{feff}; first\n# second\n[s] ; c\nflag\nflag2 # c\n\r\n[s \"a\\\"b\"]\nx=1\n[S]\nx=2";
        assert_eq!(flat(text), ["s.flag", "s.flag2", "s.x=1", "S.x=2"]);
        assert_eq!(parse(text).unwrap().sections[1].subsection.as_deref(), Some("a\"b"));
        assert_eq!(parse("").unwrap(), Document::default());
    }

    #[test]
    fn notices_a_value_cut_by_a_hash() {
        let cut = |line: &str| {
            parse(&format!("[t]\n{line}\n")).unwrap().sections[0].variables[0].cut.clone()
        };
        assert_eq!(cut("macro = it:tags#>>'{op}'='IT'").as_deref(), Some("#>>'{op}'='IT'"));
        assert_eq!(cut("macro = it:x # note"), None);
        assert_eq!(cut("macro = \"it:tags#>>\""), None);
        assert_eq!(cut("macro =# note"), None);
        assert_eq!(cut("macro = a;b"), None);
    }
}
