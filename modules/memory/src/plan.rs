//! Parameters after every check: compiled searches.

use mig_module::ModuleError;
use mig_module::regex::GoRegex;

use crate::elements::{Options, Params, Search};
use crate::matcher::Matcher;

/// Longest label.
const MAX_LABEL: usize = 64;
/// Largest double that counts every whole number below it.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;

/// All searches, in the order of their labels.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) searches: Vec<Compiled>,
}

/// One search, ready to run.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) label: String,
    pub(crate) echo: Search,
    pub(crate) checks: Vec<Check>,
    pub(crate) offset: u64,
    /// Bytes; `u64::MAX` for all.
    pub(crate) length: u64,
}

/// One check and what it says in results.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Name(GoRegex),
    Library(GoRegex),
    Content(Matcher),
    Bytes(Matcher),
}

impl Check {
    /// What looks at memory, if this check does.
    pub(crate) fn matcher(&self) -> Option<&Matcher> {
        match &self.kind {
            Kind::Content(matcher) | Kind::Bytes(matcher) => Some(matcher),
            Kind::Name(_) | Kind::Library(_) => None,
        }
    }

    /// A search of this check alone, as results show it.
    pub(crate) fn echo(&self) -> Search {
        let text = vec![self.text.clone()];
        match self.kind {
            Kind::Name(_) => Search { names: text, ..Search::default() },
            Kind::Library(_) => Search { libraries: text, ..Search::default() },
            Kind::Content(_) => Search { contents: text, ..Search::default() },
            Kind::Bytes(_) => Search { bytes: text, ..Search::default() },
        }
    }
}

impl Compiled {
    pub(crate) fn is_matchall(&self) -> bool {
        self.echo.options.matchall
    }
}

impl Plan {
    pub(crate) fn compile(params: &Params) -> Result<Self, ModuleError> {
        let searches = params.searches.iter().map(|(label, search)| compile(label, search));
        Ok(Self { searches: searches.collect::<Result<_, _>>()? })
    }

    /// Whether any search looks at memory.
    pub(crate) fn needs_memory(&self) -> bool {
        let mut checks = self.searches.iter().flat_map(|search| &search.checks);
        checks.any(|check| check.matcher().is_some())
    }

    pub(crate) fn needs_libraries(&self) -> bool {
        let mut checks = self.searches.iter().flat_map(|search| &search.checks);
        checks.any(|check| matches!(check.kind, Kind::Library(_)))
    }

    /// Bytes that neighbouring pieces of memory share.
    pub(crate) fn overlap(&self) -> usize {
        let checks = self.searches.iter().flat_map(|search| &search.checks);
        checks.filter_map(Check::matcher).map(Matcher::overlap).max().unwrap_or(0)
    }

    /// Whether any search wants to know what cannot be read.
    pub(crate) fn logs_failures(&self) -> bool {
        self.searches.iter().any(|search| search.echo.options.logfailures)
    }
}

fn compile(label: &str, search: &Search) -> Result<Compiled, ModuleError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=MAX_LABEL).contains(&label.len()) || !label.bytes().all(is_plain) {
        return Err(ModuleError::invalid(format!(
            "label {label:?} must be 1 to {MAX_LABEL} letters, digits, _ or -"
        )));
    }
    let regex = |what: &str, text: &String| {
        not_empty(label, what, text)?;
        GoRegex::new(text).map_err(|error| invalid(label, what, &error))
    };
    let mut checks = Vec::new();
    let mut add = |kind: Kind, text: &String| checks.push(Check { kind, text: text.clone() });
    for text in &search.names {
        add(Kind::Name(regex("name", text)?), text);
    }
    for text in &search.libraries {
        add(Kind::Library(regex("library", text)?), text);
    }
    for text in &search.contents {
        not_empty(label, "content", text)?;
        let matcher =
            Matcher::expression(text).map_err(|error| invalid(label, "content", &error))?;
        add(Kind::Content(matcher), text);
    }
    for text in &search.bytes {
        not_empty(label, "bytes", text)?;
        let needle = hex::decode(text).map_err(|error| {
            let text = format!("{text:?} must be an even number of hexadecimal digits: {error}");
            invalid(label, "bytes", &text)
        })?;
        add(Kind::Bytes(Matcher::bytes(&needle)), text);
    }
    let length = whole(label, "maxlength", search.options.maxlength)?;
    let mut echo = search.clone();
    echo.options = Options { offset: 0.0, maxlength: 0.0, ..search.options.clone() };
    Ok(Compiled {
        label: label.to_owned(),
        echo,
        checks,
        offset: whole(label, "offset", search.options.offset)?,
        length: if length == 0 { u64::MAX } else { length },
    })
}

fn invalid(label: &str, what: &str, reason: &dyn std::fmt::Display) -> ModuleError {
    ModuleError::invalid(format!("search {label}: {what}: {reason}"))
}

fn not_empty(label: &str, what: &str, text: &str) -> Result<(), ModuleError> {
    if text.is_empty() { Err(invalid(label, what, &"must not be empty")) } else { Ok(()) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be in range; a fraction is cut off"
)]
fn whole(label: &str, what: &str, value: f64) -> Result<u64, ModuleError> {
    if !(0.0..=MAX_NUMBER).contains(&value) {
        let reason = format!("{value} must be between 0 and {MAX_NUMBER}");
        return Err(invalid(label, what, &reason));
    }
    Ok(value as u64)
}
