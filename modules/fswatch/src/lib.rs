#![doc = include_str!("../README.md")]

mod alert;
mod digest;
mod guard;
mod paths;
mod state;

use mig_module::args::{self, Outcome};
use mig_module::persist::{Briefing, Kind, Outlet, Persistent, Setting};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use serde::{Deserialize, Serialize};

use crate::guard::Guard;

const HELP: &str = "\
fswatch lives as long as the agent and raises alerts when watched files change. It
takes no options; the answer says that it is alive.
";

/// There is nothing to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {}

/// The module is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    pub ok: bool,
}

/// The `fswatch` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsWatch;

impl Module for FsWatch {
    const NAME: &'static str = "fswatch";
    const SUMMARY: &'static str = "raises alerts when watched files change";
    type Params = Params;
    type Elements = Elements;
    type Statistics = ();

    fn needs(&self) -> Needs {
        Needs { reads: &[], ..Needs::default() }
    }

    fn persistent(&self) -> Option<&dyn Persistent> {
        Some(self)
    }

    fn validate(&self, _params: &Params) -> Result<(), ModuleError> {
        Ok(())
    }

    fn run(
        &self,
        _host: &dyn Host,
        _params: &Params,
        _budget: &Budget,
    ) -> Result<Report<Elements, ()>, ModuleError> {
        Ok(Report {
            foundanything: true,
            success: true,
            elements: Some(Elements { ok: true }),
            ..Report::default()
        })
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        if args.first().is_some_and(|word| word == "help") {
            return Ok(Parsed::Help);
        }
        match args::parse_or_empty(&[], args)? {
            Outcome::Help => Ok(Parsed::Help),
            Outcome::Options(_) => Ok(Parsed::Params(Params {})),
        }
    }

    fn print(&self, report: &Report<Elements, ()>, found_only: bool) -> Vec<String> {
        let line = |elements: &Elements| format!("ok:{}", elements.ok);
        let mut lines: Vec<String> = report.elements.iter().map(line).collect();
        if !found_only {
            lines.extend(report.errors.iter().cloned());
        }
        lines
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

impl Persistent for FsWatch {
    fn settings(&self) -> &'static [Setting] {
        &[Setting { section: "Paths", key: "Path", kind: Kind::Texts }]
    }

    /// Paths can be anywhere.
    fn needs(&self) -> Needs {
        Needs { watches: true, ..Needs::default() }
    }

    fn work(&self, briefing: &Briefing, outlet: &Outlet) -> Result<(), String> {
        let (entries, odd) = paths::entries(briefing);
        for reason in odd {
            outlet.log(&reason);
        }
        Guard::new(entries, outlet)?.keep()
    }
}
