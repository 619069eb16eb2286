#![doc = include_str!("../README.md")]

mod elements;
mod print;
mod query;
mod run;

pub use elements::{Elements, Match, Package, Params, Statistics};

use std::time::Instant;

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_types::duration;

use crate::query::Query;

const FLAGS: [Flag; 3] =
    [("name", Kind::List), ("version", Kind::Text), ("containers", Kind::Bool)];

const HELP: &str = "\
pkg lists installed packages by name and version (dpkg, rpm, apk).

  -name <regex>     name of a package, repeatable; with dpkg, packages that can be
                    installed for several architectures are called libc6:amd64
  -version <regex>  version of the package; with a ! before it, any other version
  -containers       look into running containers, too, and say their id

Examples:
  pkg -name '^openssl' -version '!^3\\.0\\.1[5-9]'
  pkg -name '^log4j' -containers
";

/// Databases of the package managers.
const DATABASES: [&str; 6] = [
    "/lib/apk/db",
    "/usr/lib/apk/db",
    "/usr/lib/sysimage/rpm",
    "/usr/share/rpm",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];

/// What the module reads, whether or not containers are asked for.
const READS: [&str; 11] = {
    let mut all = [""; 11];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < DATABASES.len() {
            DATABASES[at]
        } else {
            mig_host::containers::DIRECTORIES[at - DATABASES.len()]
        };
        at += 1;
    }
    all
};

/// The `pkg` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pkg;

impl Module for Pkg {
    const NAME: &'static str = "pkg";
    const SUMMARY: &'static str = "lists installed packages by name and version";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { reads: &READS, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        Query::compile(params).map(|_| ())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let outcome = run::run(host, &Query::compile(params)?, params.containers, budget)?;
        let mut statistics = outcome.statistics;
        statistics.execruntime = duration::format(begun.elapsed());
        Ok(Report {
            foundanything: !outcome.elements.packages.is_empty(),
            success: true,
            elements: Some(outcome.elements),
            statistics: Some(statistics),
            errors: outcome.errors,
        })
    }

    fn failure(&self) -> Report<Elements, Statistics> {
        Report { statistics: Some(Statistics::default()), ..Report::default() }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        Ok(Parsed::Params(Params {
            pkgmatch: Match { matches: given.list("name") },
            vermatch: given.text("version").unwrap_or_default().to_owned(),
            containers: given.boolean("containers", false),
        }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}
