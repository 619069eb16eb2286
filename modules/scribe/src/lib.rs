#![doc = include_str!("../README.md")]

mod bounds;
mod check;
mod elements;
mod files;
mod judge;
mod notes;
mod params;
pub mod policy;
mod print;
mod shelf;
mod survey;
mod variables;
mod version;

pub use elements::{Elements, Statistics, SubResult, TestResult};
pub use params::{
    Criterion, Document, Evr, FileContent, FileName, HasLine, Object, Package, Params, Raw,
    RawIdentifier, Tag, Test, Variable,
};

use std::path::Path;
use std::time::Instant;

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Parsed, Report, UsageError};
use mig_types::duration;

use crate::survey::Survey;

const FLAGS: [Flag; 4] =
    [("path", Kind::Text), ("onlytrue", Kind::Bool), ("human", Kind::Bool), ("json", Kind::Bool)];

const HELP: &str = "\
scribe evaluates a policy: tests of package versions, of text in files and of their
names. The policy is a file on this machine, JSON or YAML.

  -path <file>  the policy, required
  -onlytrue     return only tests that are true
  -human        print results for people
  -json         print one JSON document per test

Examples:
  scribe -path policy.yaml -onlytrue
  scribe -path policy.json -human
";

/// Beginning of the errors that name a test; the others may name files.
const OF_A_TEST: &str = "Error: ";

/// The `scribe` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scribe;

impl Module for Scribe {
    const NAME: &'static str = "scribe";
    const SUMMARY: &'static str = "evaluates a policy of package versions and file contents";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    // Paths can be anywhere, so the default: every file, and nothing but files.

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        check::check(&params.document).map_err(ModuleError::Invalid)
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let mut survey = Survey::new(&params.document, host, budget);
        survey.prepare();
        let verdict = judge::judge(&params.document, &mut survey, budget, params.onlytrue);
        let mut errors = verdict.errors;
        errors.extend(survey.notes.finish());
        if verdict.notreturned > 0 {
            let count = verdict.notreturned;
            errors.push(format!("{count} results were not returned: the result is too large"));
        }
        if budget.is_over() {
            errors.push(ModuleError::Deadline.one_line());
        }
        Ok(Report {
            foundanything: !verdict.results.is_empty(),
            success: true,
            elements: Some(Elements {
                results: verdict.results,
                humanoutput: params.humanoutput,
                jsonoutput: params.jsonoutput,
            }),
            statistics: Some(Statistics {
                execruntime: duration::format(begun.elapsed()),
                notreturned: verdict.notreturned,
            }),
            errors,
        })
    }

    fn failure(&self) -> Report<Elements, Statistics> {
        Report { statistics: Some(Statistics::default()), ..Report::default() }
    }

    fn mask(&self, report: &mut Report<Elements, Statistics>) {
        let results = report.elements.iter_mut().flat_map(|elements| &mut elements.results);
        for sub in results.flat_map(|test| &mut test.results) {
            "masked".clone_into(&mut sub.identifier);
        }
        for error in &mut report.errors {
            if report.success && !error.starts_with(OF_A_TEST) {
                "masked".clone_into(error);
            }
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let path = given.text("path").ok_or_else(|| UsageError::new("-path option is required"))?;
        let document = policy::load(Path::new(path)).map_err(|error| {
            let mut reason = format!("cannot load policy {path}: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                reason = format!("{reason}: {error}");
                source = error.source();
            }
            UsageError::new(reason)
        })?;
        Ok(Parsed::Params(Params {
            document,
            onlytrue: given.boolean("onlytrue", false),
            humanoutput: given.boolean("human", false),
            jsonoutput: given.boolean("json", false),
        }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}
