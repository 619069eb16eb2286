#![doc = include_str!("../README.md")]

mod elements;
mod engine;
pub mod entrypoint;
pub mod rulefile;
mod run;
pub mod tokens;
mod words;

pub use elements::{Elements, Match, Params};
pub use engine::{Engine, Rules, ScanError, Scanner};
pub use words::{QuoteError, words};

use std::path::Path;

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_module_file::{File, Search};

/// The executable that brings an engine.
pub const PROGRAM: &str = "mig-yara";

const FLAGS: [Flag; 2] = [("rules", Kind::Text), ("files", Kind::Text)];

const HELP: &str = "\
yara scans files with YARA rules and returns which rules matched which file. It runs
on agents with mig-yara installed beside them.

  -rules <file>    rules, read on this machine with the files they include; required
  -files <search>  the files to scan: the options of the file module in one string,
                   quoted as in a shell; required. At most 1000 files are scanned
                   unless it says -matchlimit (0 is all of them)

Rules are those of YARA 3.5 and later, with the modules pe, elf, macho, dotnet, hash,
math, string and time. A file is scanned for ten seconds at most.

Examples:
  yara -rules my.yar -files '-path /bin -path /sbin -name .'
  yara -rules my.yar -files '-path \"/srv/www data\" -name \\.php$ -mtime <7d -matchlimit 0'
";

/// The `yara` module. One value serves every run.
#[derive(Default)]
pub struct Yara {
    engine: Option<Box<dyn Engine>>,
}

impl Yara {
    /// The module as clients and agents carry it: everything but the scan.
    pub const fn without_engine() -> Self {
        Self { engine: None }
    }

    pub fn with_engine(engine: Box<dyn Engine>) -> Self {
        Self { engine: Some(engine) }
    }
}

impl Module for Yara {
    const NAME: &'static str = "yara";
    const SUMMARY: &'static str = "scans files with YARA rules";
    type Params = Params;
    type Elements = Elements;
    type Statistics = ();

    // Paths can be anywhere, so the default: every file, and nothing but files.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn program(&self) -> Option<&'static str> {
        self.engine.is_none().then_some(PROGRAM)
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        if params.yara.is_empty() {
            return Err(ModuleError::invalid("yara rules are a required option"));
        }
        if let Some((_, name)) = tokens::includes(&params.yara).into_iter().next() {
            return Err(ModuleError::invalid(format!(
                "include {name:?} is refused: an agent has no rule files (a client puts in what \
                 the file given with -rules includes)"
            )));
        }
        search_of(&params.filesearch).map(|_| ())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, ()>, ModuleError> {
        let engine = self.engine.as_deref().ok_or_else(|| {
            ModuleError::Failed(format!(
                "module yara is unavailable: this program carries no engine, {PROGRAM} does"
            ))
        })?;
        let search = search_of(&params.filesearch)?;
        run::run(engine, host, &params.yara, search.as_ref(), budget)
    }

    fn failure(&self) -> Report<Elements, ()> {
        Report { elements: Some(Elements::default()), ..Report::default() }
    }

    fn mask(&self, report: &mut Report<Elements, ()>) {
        for found in report.elements.iter_mut().flat_map(|elements| &mut elements.matches) {
            "masked".clone_into(&mut found.object);
        }
        for error in &mut report.errors {
            // What failed as a whole speaks of the parameters, the rest names files.
            if report.success && !run::is_note(error) {
                "masked".clone_into(error);
            }
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let required = |name: &str| {
            given
                .text(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| UsageError::new(format!("-{name} option is required")))
        };
        let (path, files) = (required("rules")?, required("files")?);
        let yara = rulefile::load(Path::new(path)).map_err(|error| {
            let mut reason = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                reason = format!("{reason}: {error}");
                source = error.source();
            }
            UsageError::new(reason)
        })?;
        Ok(Parsed::Params(Params { yara, filesearch: files.to_owned() }))
    }

    fn print(&self, report: &Report<Elements, ()>, found_only: bool) -> Vec<String> {
        let found = report.elements.iter().flat_map(|elements| &elements.matches);
        let mut lines: Vec<String> = found
            .map(|found| format!("{} [{}]", found.object, found.matched_rules.join(",")))
            .collect();
        if !found_only {
            lines.extend(report.errors.iter().cloned());
        }
        lines
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

/// The search that a command line of the `file` module makes; `None` for an empty
/// one.
fn search_of(text: &str) -> Result<Option<Search>, ModuleError> {
    let invalid = |reason: String| ModuleError::invalid(format!("invalid filesearch: {reason}"));
    let words = words(text).map_err(|error| invalid(error.to_string()))?;
    if words.is_empty() {
        return Ok(None);
    }
    let params = match File.parse_args(&words).map_err(|error| invalid(error.to_string()))? {
        Parsed::Params(params) => params,
        Parsed::Help => return Err(invalid("it asks for help instead of files".to_owned())),
    };
    Module::validate(&File, &params).map_err(|error| invalid(error.one_line()))?;
    Ok(params.searches.into_values().flatten().next())
}
