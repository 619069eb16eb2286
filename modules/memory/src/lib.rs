#![doc = include_str!("../README.md")]

mod elements;
mod matcher;
mod plan;
mod print;
mod run;
mod walk;

pub use elements::{Element, Elements, Options, Params, Process, Search, Statistics};

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};

use crate::plan::Plan;

const FLAGS: [Flag; 11] = [
    ("name", Kind::List),
    ("lib", Kind::List),
    ("bytes", Kind::List),
    ("content", Kind::List),
    ("matchall", Kind::Bool),
    ("matchany", Kind::Bool),
    ("logfailures", Kind::Bool),
    ("offset", Kind::Number),
    ("maxlength", Kind::Number),
    // What the two above were called by mistake, for so long that scripts may
    // rely on it.
    ("maxdepth", Kind::Number),
    ("matchlimit", Kind::Number),
];

const HELP: &str = "\
memory looks for processes by name, mapped files and memory content.

  -name <regex>      path of the executable, or [name] where it has none
  -lib <regex>       path of a mapped file
  -content <regex>   text in memory; matches of up to 64 KiB are found
  -bytes <hex>       bytes in memory: 4d5a90
  -matchall          all checks must hold [default: on]
  -matchany          each check on its own
  -offset <number>   address to begin at
  -maxlength <n>     bytes to look at in each process
  -logfailures       report memory that cannot be read

-name, -lib, -content and -bytes are repeatable. In -content, ^ and $ hold nowhere
but at line ends with (?m). Memory that holds UTF-16 takes -bytes. Other programs
that know the text match as well, such as the shell it was typed in: write [s]ecret.

Example: memory -name '^/usr/sbin/sshd' -content 'PRIVATE KEY'
";

/// The `memory` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory;

/// The label of the search of a command line.
const LABEL: &str = "s1";

impl Module for Memory {
    const NAME: &'static str = "memory";
    const SUMMARY: &'static str = "looks for processes by name, mapped files and memory content";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { processes: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        Plan::compile(params).map(|_| ())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = std::time::Instant::now();
        let outcome = run::run(host, &Plan::compile(params)?, budget)?;
        let mut statistics = outcome.statistics;
        statistics.exectime = mig_types::duration::format(begun.elapsed());
        Ok(Report {
            foundanything: statistics.totalhits > 0,
            success: true,
            elements: Some(outcome.elements),
            statistics: Some(statistics),
            errors: outcome.errors,
        })
    }

    fn failure(&self) -> Report<Elements, Statistics> {
        Report {
            elements: Some(Elements::default()),
            statistics: Some(Statistics::default()),
            ..Report::default()
        }
    }

    fn mask(&self, report: &mut Report<Elements, Statistics>) {
        let found = report.elements.iter_mut().flat_map(Elements::values_mut).flatten();
        for element in found.flatten() {
            if !element.process.name.is_empty() {
                "masked".clone_into(&mut element.process.name);
            }
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let number = |name, old| given.number(name, given.number(old, 0.0));
        let search = Search {
            description: String::new(),
            names: given.list("name"),
            libraries: given.list("lib"),
            bytes: given.list("bytes"),
            contents: given.list("content"),
            options: Options {
                offset: number("offset", "maxdepth"),
                maxlength: number("maxlength", "matchlimit"),
                logfailures: given.boolean("logfailures", false),
                matchall: given.boolean("matchall", true) && !given.boolean("matchany", false),
            },
        };
        Ok(Parsed::Params(Params { searches: [(LABEL.to_owned(), search)].into() }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}
