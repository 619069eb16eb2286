//! Searches ready to run: everything compiled and checked.

use std::collections::HashMap;
use std::sync::Arc;

use mig_module::ModuleError;
use mig_module::regex::GoRegex;

use crate::lines::LineMatcher;
use crate::params::{Options, Params, Search};
use crate::rules::{Checksum, SizeRule, TimeRule};
use crate::scope::clean;

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Content,
    Name,
    Size,
    Mode,
    Mtime,
    Md5,
    Sha1,
    Sha2,
    Sha3,
}

impl Kind {
    /// In the order of results.
    pub(crate) const ALL: [Self; 9] = [
        Self::Content,
        Self::Name,
        Self::Size,
        Self::Mode,
        Self::Mtime,
        Self::Md5,
        Self::Sha1,
        Self::Sha2,
        Self::Sha3,
    ];

    /// The name in `mismatch` and in printed lines.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Name => "name",
            Self::Size => "size",
            Self::Mode => "mode",
            Self::Mtime => "mtime",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha2 => "sha2",
            Self::Sha3 => "sha3",
        }
    }

    pub(crate) fn values(self, search: &Search) -> &[String] {
        match self {
            Self::Content => &search.contents,
            Self::Name => &search.names,
            Self::Size => &search.sizes,
            Self::Mode => &search.modes,
            Self::Mtime => &search.mtimes,
            Self::Md5 => &search.md5,
            Self::Sha1 => &search.sha1,
            Self::Sha2 => &search.sha2,
            Self::Sha3 => &search.sha3,
        }
    }

    pub(crate) fn values_mut(self, search: &mut Search) -> &mut Vec<String> {
        match self {
            Self::Content => &mut search.contents,
            Self::Name => &mut search.names,
            Self::Size => &mut search.sizes,
            Self::Mode => &mut search.modes,
            Self::Mtime => &mut search.mtimes,
            Self::Md5 => &mut search.md5,
            Self::Sha1 => &mut search.sha1,
            Self::Sha2 => &mut search.sha2,
            Self::Sha3 => &mut search.sha3,
        }
    }
}

/// What a check of metadata looks at.
#[derive(Debug)]
pub(crate) enum MetaRule {
    Name(GoRegex),
    Size(SizeRule),
    Mode(GoRegex),
    Mtime(TimeRule),
}

/// A check of metadata: its number in the search, its rule, whether a hit is
/// what the rule does not match.
#[derive(Debug)]
pub(crate) struct MetaCheck {
    pub(crate) number: u32,
    pub(crate) rule: MetaRule,
    pub(crate) inverted: bool,
}

/// A check of content.
#[derive(Debug)]
pub(crate) struct ContentCheck {
    pub(crate) number: u32,
    /// Index into [`Plan::matchers`].
    pub(crate) matcher: usize,
    /// The expression had a leading `!`.
    pub(crate) inverted: bool,
}

/// A check of a checksum.
#[derive(Debug)]
pub(crate) struct SumCheck {
    pub(crate) number: u32,
    pub(crate) sum: Checksum,
    pub(crate) inverted: bool,
}

/// A search ready to run.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option an investigator sets")]
pub(crate) struct Compiled {
    pub(crate) label: String,
    /// The search with cleaned paths, as results echo it.
    pub(crate) echo: Arc<Search>,
    /// Levels entered; `u32::MAX` stands for all.
    pub(crate) depth: u32,
    /// Hits after which it stops.
    pub(crate) limit: u64,
    pub(crate) matchall: bool,
    pub(crate) macroal: bool,
    pub(crate) decompress: bool,
    pub(crate) returnsha256: bool,
    pub(crate) content_mismatch: bool,
    /// Names first: they need no look at the file.
    pub(crate) meta: Vec<MetaCheck>,
    pub(crate) contents: Vec<ContentCheck>,
    pub(crate) sums: Vec<SumCheck>,
}

impl Compiled {
    pub(crate) fn has_checks(&self) -> bool {
        !(self.meta.is_empty() && self.contents.is_empty() && self.sums.is_empty())
    }
}

/// All searches of an invocation.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) searches: Vec<Compiled>,
    /// Distinct content expressions of all searches.
    pub(crate) matchers: Vec<LineMatcher>,
    /// Most errors returned; 0 means all.
    pub(crate) max_errors: u64,
}

impl Plan {
    /// Checks and compiles parameters without touching the host.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Invalid`] quoting the offending value and the rule.
    pub(crate) fn new(params: &Params) -> Result<Self, ModuleError> {
        let mut plan = Self { searches: Vec::new(), matchers: Vec::new(), max_errors: 0 };
        let mut known = HashMap::new();
        for (label, search) in &params.searches {
            check_label(label)?;
            let search = search.as_ref().ok_or_else(|| {
                ModuleError::invalid(format!("search {label:?} is null, must be an object"))
            })?;
            let compiled = plan.compile(label, &search.modern(), &mut known)?;
            plan.max_errors = plan.max_errors.max(whole(search.options.maxerrors));
            plan.searches.push(compiled);
        }
        Ok(plan)
    }

    fn compile(
        &mut self,
        label: &str,
        search: &Search,
        known: &mut HashMap<String, usize>,
    ) -> Result<Compiled, ModuleError> {
        if search.paths.is_empty() {
            return Err(ModuleError::invalid(
                "invalid empty search path, must have at least one search path",
            ));
        }
        let options = &search.options;
        let mismatch = |kind: Kind| options.mismatch.iter().any(|name| name == kind.as_str());
        for name in &options.mismatch {
            if !Kind::ALL.iter().any(|kind| kind.as_str() == name) {
                return Err(ModuleError::invalid(format!(
                    "invalid mismatch {name:?}, must be one of name, size, mode, mtime, content, \
                     md5, sha1, sha2, sha3"
                )));
            }
        }
        let (mut meta, mut contents, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = 0;
        for kind in Kind::ALL {
            let flip = mismatch(kind);
            for text in kind.values(search) {
                if text.is_empty() {
                    return Err(ModuleError::invalid(format!(
                        "empty {} values are not permitted",
                        kind.as_str()
                    )));
                }
                let (pattern, bang) = split_bang(text);
                let rule = match kind {
                    Kind::Content => {
                        let matcher = self.matcher(pattern, known)?;
                        contents.push(ContentCheck { number, matcher, inverted: bang });
                        None
                    }
                    Kind::Name => Some((MetaRule::Name(regex(kind, pattern)?), flip ^ bang)),
                    Kind::Size => Some((MetaRule::Size(SizeRule::parse(text)?), flip)),
                    Kind::Mode if bang => {
                        return Err(ModuleError::invalid(format!(
                            "invalid mode {text:?}: modes cannot be inverted by '!', use mismatch"
                        )));
                    }
                    Kind::Mode => Some((MetaRule::Mode(regex(kind, text)?), flip)),
                    Kind::Mtime => Some((MetaRule::Mtime(TimeRule::parse(text)?), flip)),
                    Kind::Md5 | Kind::Sha1 | Kind::Sha2 | Kind::Sha3 => {
                        let sum = Checksum::parse(kind.as_str(), text)?;
                        sums.push(SumCheck { number, sum, inverted: flip });
                        None
                    }
                };
                if let Some((rule, inverted)) = rule {
                    meta.push(MetaCheck { number, rule, inverted });
                }
                number += 1;
            }
        }
        Ok(Compiled {
            label: label.to_owned(),
            echo: Arc::new(echo(search)),
            depth: depth(options)?,
            limit: limit(options),
            matchall: options.matchall,
            macroal: options.macroal,
            decompress: options.decompress,
            returnsha256: options.returnsha256,
            content_mismatch: mismatch(Kind::Content),
            meta,
            contents,
            sums,
        })
    }

    fn matcher(
        &mut self,
        pattern: &str,
        known: &mut HashMap<String, usize>,
    ) -> Result<usize, ModuleError> {
        if let Some(index) = known.get(pattern) {
            return Ok(*index);
        }
        self.matchers.push(LineMatcher::new(regex(Kind::Content, pattern)?));
        known.insert(pattern.to_owned(), self.matchers.len() - 1);
        Ok(self.matchers.len() - 1)
    }
}

fn regex(kind: Kind, pattern: &str) -> Result<GoRegex, ModuleError> {
    GoRegex::new(pattern)
        .map_err(|error| ModuleError::invalid(format!("invalid {}: {error}", kind.as_str())))
}

/// A leading `!` inverts; alone it is an expression.
fn split_bang(text: &str) -> (&str, bool) {
    let rest = text.strip_prefix('!').filter(|rest| !rest.is_empty());
    (rest.unwrap_or(text), rest.is_some())
}

fn check_label(label: &str) -> Result<(), ModuleError> {
    if label.is_empty() {
        return Err(ModuleError::invalid("empty labels are not permitted"));
    }
    if label.chars().count() > 64 || label.contains('\n') {
        return Err(ModuleError::invalid(format!(
            "label {label:?} does not match ^([a-zA-Z0-9_-]|.){{1,64}}$"
        )));
    }
    Ok(())
}

/// What results show of a search: limits zeroed, paths cleaned.
fn echo(search: &Search) -> Search {
    let options =
        Options { maxdepth: 0.0, maxerrors: 0.0, matchlimit: 0.0, ..search.options.clone() };
    let paths = search.paths.iter().map(|path| clean(path)).collect();
    Search { paths, options, ..search.clone() }
}

fn depth(options: &Options) -> Result<u32, ModuleError> {
    let depth = options.maxdepth;
    if depth < 0.0 {
        return Err(ModuleError::invalid(format!(
            "invalid maxdepth {depth}, must not be negative"
        )));
    }
    if depth == 0.0 {
        return Ok(u32::MAX);
    }
    // Between 0 and 1 nothing is visited.
    Ok(u32::try_from(whole(depth)).unwrap_or(u32::MAX))
}

fn limit(options: &Options) -> u64 {
    match options.matchlimit {
        limit if limit < 0.0 => 0,
        0.0 => u64::MAX,
        // A fraction still is less than one hit.
        limit => whole(limit).max(1),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what a limit wants"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
