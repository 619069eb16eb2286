//! Character classes: brackets, Perl classes and Unicode properties.

use std::fmt::Write as _;

/// A class no character belongs to.
pub(super) const NEVER: &str = r"[^\x{0}-\x{10FFFF}]";
/// A class every character belongs to.
pub(super) const ALWAYS: &str = r"[\x{0}-\x{10FFFF}]";

/// General categories Go knows by name.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs", "Any",
];

/// The POSIX classes, all of them ASCII in both dialects.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A class as a bracket expression that may stand alone or inside brackets.
///
/// `\d`, `\s`, `\w` are ASCII in Go, and `\s` lacks the vertical tab.
pub(super) fn perl(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// `[:name:]` or `[:^name:]`, if there is such a class.
pub(super) fn posix(name: &str) -> Option<String> {
    let plain = name.strip_prefix('^').unwrap_or(name);
    POSIX.contains(&plain).then(|| format!("[:{name}:]"))
}

/// The class of a Unicode category or script, which Go spells exactly.
pub(super) fn unicode(name: &str, negated: bool) -> Option<String> {
    let fixed = |positive: &str, negative: &str| {
        Some(if negated { negative.to_owned() } else { positive.to_owned() })
    };
    let letter = if negated { 'P' } else { 'p' };
    match name {
        "Any" => fixed(ALWAYS, NEVER),
        "Cs" => fixed(NEVER, ALWAYS),
        // Go leaves out what is not assigned.
        "C" => fixed(r"[\p{Cc}\p{Cf}\p{Co}]", r"[^\p{Cc}\p{Cf}\p{Co}]"),
        _ if CATEGORIES.contains(&name) => Some(format!(r"\{letter}{{{name}}}")),
        _ => {
            let script = name.starts_with(|c: char| c.is_ascii_uppercase())
                && !name.starts_with("Is")
                && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            script.then(|| format!(r"\{letter}{{sc={name}}}"))
        }
    }
}

/// The members of a bracket expression.
#[derive(Debug, Default)]
pub(super) struct Members {
    text: String,
}

impl Members {
    /// Adds a range of code points; surrogates are in no text and are left out.
    pub(super) fn range(&mut self, low: u32, high: u32) {
        self.piece(low, high.min(0xd7ff));
        self.piece(low.max(0xe000), high);
    }

    fn piece(&mut self, low: u32, high: u32) {
        if low <= high {
            // Writing to a string cannot fail.
            let _ = write!(self.text, r"\x{{{low:X}}}-\x{{{high:X}}}");
        }
    }

    /// Adds a class made by this module.
    pub(super) fn class(&mut self, class: &str) {
        self.text.push_str(class);
    }

    pub(super) fn finish(self, negated: bool) -> String {
        match (self.text.is_empty(), negated) {
            (true, false) => NEVER.to_owned(),
            (true, true) => ALWAYS.to_owned(),
            (false, false) => format!("[{}]", self.text),
            (false, true) => format!("[^{}]", self.text),
        }
    }
}
