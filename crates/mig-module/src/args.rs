//! Module options on a command line, by the rules of Go's `flag` package.
//!
//! `-name value`, `-name=value` and `--name` are one; a boolean takes a value
//! only with `=`; lists repeat, scalars keep the last. Unlike the original, what
//! follows the options is refused instead of being ignored.

/// A command line that makes no sense; the text is for the investigator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; the last one wins.
    Text,
    /// Any text, as often as wanted.
    List,
    /// A decimal, exponent or hexadecimal number.
    Number,
    /// `true` when given without a value.
    Bool,
}

/// An option a module knows: its name without dash, and what it takes.
pub type Flag = (&'static str, Kind);

/// Options that were given, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    given: Vec<(&'static str, String)>,
}

/// Options, or the wish for help.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Options(Options),
    Help,
}

/// Reads the options of a module.
///
/// No argument, an empty first one, `help` in first place, `-h` and `-help`
/// anywhere ask for help.
///
/// # Errors
///
/// An unknown option, a missing or unreadable value, or words after the options.
pub fn parse(flags: &[Flag], args: &[String]) -> Result<Outcome, UsageError> {
    match args.first().map(String::as_str) {
        None | Some("" | "help") => return Ok(Outcome::Help),
        Some(_) => {}
    }
    parse_or_empty(flags, args)
}

/// [`parse`] for modules that run without any option.
pub fn parse_or_empty(flags: &[Flag], args: &[String]) -> Result<Outcome, UsageError> {
    let mut given = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            break;
        }
        let Some(name) = arg.strip_prefix('-').filter(|name| !name.is_empty()) else {
            return Err(trailing(arg));
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.is_empty() || name.starts_with(['-', '=']) {
            return Err(UsageError(format!("bad flag syntax: {arg}")));
        }
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some((known, kind)) = flags.iter().find(|(known, _)| *known == name) else {
            if name == "h" || name == "help" {
                return Ok(Outcome::Help);
            }
            return Err(UsageError(format!("flag provided but not defined: -{name}")));
        };
        let value = match (kind, inline) {
            (_, Some(value)) => value,
            (Kind::Bool, None) => "true".to_owned(),
            (_, None) => rest
                .next()
                .cloned()
                .ok_or_else(|| UsageError(format!("flag needs an argument: -{name}")))?,
        };
        check(name, *kind, &value)?;
        given.push((*known, value));
    }
    match rest.next() {
        Some(word) => Err(trailing(word)),
        None => Ok(Outcome::Options(Options { given })),
    }
}

fn trailing(word: &str) -> UsageError {
    UsageError(format!(
        "unexpected argument {word:?} after the options (a boolean takes its value as -flag=false)"
    ))
}

fn check(name: &str, kind: Kind, value: &str) -> Result<(), UsageError> {
    let fault = match kind {
        Kind::Number if number(value).is_none() => "value",
        Kind::Bool if boolean(value).is_none() => "boolean value",
        _ => return Ok(()),
    };
    let joint = if kind == Kind::Bool { "for" } else { "for flag" };
    Err(UsageError(format!("invalid {fault} {value:?} {joint} -{name}: parse error")))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers travel as doubles anyway")]
fn number(text: &str) -> Option<f64> {
    let (sign, plain) = match text.strip_prefix(['-', '+']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        let (mantissa, exponent) = match hex.split_once(['p', 'P']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (hex, 0),
        };
        let digits = mantissa.bytes().all(|byte| byte.is_ascii_hexdigit());
        let whole = digits.then(|| u64::from_str_radix(mantissa, 16).ok()).flatten()?;
        let value = sign * whole as f64 * f64::from(exponent).exp2();
        return value.is_finite().then_some(value);
    }
    let decimal =
        plain.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    let value: f64 = decimal.then(|| plain.parse().ok()).flatten()?;
    value.is_finite().then_some(sign * value)
}

impl Options {
    /// Whether the option was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The last value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().rev().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of an option in their order.
    pub fn list(&self, name: &str) -> Vec<String> {
        let found = self.given.iter().filter(|(given, _)| *given == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    pub fn number(&self, name: &str, default: f64) -> f64 {
        self.text(name).and_then(number).unwrap_or(default)
    }

    pub fn boolean(&self, name: &str, default: bool) -> bool {
        self.text(name).and_then(boolean).unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLAGS: [Flag; 5] = [
        ("path", Kind::List),
        ("name", Kind::Text),
        ("maxdepth", Kind::Number),
        ("matchall", Kind::Bool),
        ("t", Kind::Text),
    ];

    fn read(line: &str) -> Result<Outcome, UsageError> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&FLAGS, &args)
    }

    #[test]
    fn refuses_like_go_and_says_why() {
        for (line, text) in [
            ("-x 1", "flag provided but not defined: -x"),
            ("-path", "flag needs an argument: -path"),
            ("---path a", "bad flag syntax: ---path"),
            ("-=a", "bad flag syntax: -=a"),
            ("-maxdepth abc", "invalid value \"abc\" for flag -maxdepth: parse error"),
            ("-maxdepth inf", "invalid value \"inf\" for flag -maxdepth: parse error"),
            ("-matchall=x", "invalid boolean value \"x\" for -matchall: parse error"),
        ] {
            assert_eq!(read(line), Err(UsageError(text.to_owned())), "{line}");
        }
    }

    #[test]
    fn refuses_words_after_the_options() {
        for line in ["-matchall true -path /etc", "etc", "- -path a", "-path a -- b"] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.starts_with("unexpected argument"), "{line}: {error}");
        }
    }

    #[test]
    fn reads_every_spelling() {
        let Outcome::Options(options) =
            read("-path /a --path=/b=c -name x -name y -maxdepth 0x10 -matchall=F --").unwrap()
        else {
            panic!("options expected")
        };
        assert_eq!(options.list("path"), ["/a", "/b=c"]);
        assert_eq!(options.text("name"), Some("y"));
        assert!((options.number("maxdepth", 0.0) - 16.0).abs() < f64::EPSILON);
        assert!(!options.boolean("matchall", true));
        assert!(options.boolean("other", true));
        assert!(!options.has("t"));
        for (text, value) in [("1e3", 1000.0), ("-2.5", -2.5), ("0x1p4", 16.0), ("+7", 7.0)] {
            assert!((number(text).unwrap() - value).abs() < f64::EPSILON, "{text}");
        }
    }

    #[test]
    fn asks_for_help_in_every_way() {
        for line in ["", "help", "help -x", "-h", "--help", "-path a -help"] {
            assert_eq!(read(line), Ok(Outcome::Help), "{line}");
        }
        assert_eq!(parse(&FLAGS, &[]), Ok(Outcome::Help));
        assert_eq!(parse_or_empty(&FLAGS, &[]), Ok(Outcome::Options(Options::default())));
    }

    proptest! {
        #[test]
        fn nothing_panics(args in proptest::collection::vec("[-=a-z0-9]{0,8}", 0..6)) {
            let _ = parse(&FLAGS, &args);
        }
    }
}
