#![doc = include_str!("../README.md")]

mod collect;
mod elements;
mod evaluate;
mod lines;
mod locate;
mod options;
mod params;
mod plan;
mod print;
mod realm;
mod rules;
mod scan;
mod scope;
mod select;
mod walk;

pub use elements::{Element, Elements, FileInfo, Statistics};
pub use locate::{Located, Wanted, locate};
pub use params::{Options, Params, Search};
pub use select::{Selected, Selection, Visitor, select};

use std::time::Instant;

use mig_module::{Budget, Host, Module, ModuleError, Parsed, Report, UsageError};
use mig_types::duration;

use crate::collect::Collector;
use crate::evaluate::Context;
use crate::plan::Plan;
use crate::realm::Realm;
use crate::walk::Walk;

/// The `file` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct File;

impl Module for File {
    const NAME: &'static str = "file";
    const SUMMARY: &'static str =
        "finds files by name, size, mode, modification time, content and checksum";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        Plan::new(params).map(|_| ())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let plan = Plan::new(params)?;
        let collector = Collector::new(&plan, budget.result_bytes());
        let context =
            Context { plan: &plan, collector: &collector, budget, now: host.now(), visitors: None };
        let realm = Realm::Host(host);
        let containers;
        let mut cut_short = Walk::new(context, &realm).run();
        let mut looked_into = 0;
        if plan.searches.iter().any(|search| search.echo.options.containers) {
            let (found, problem) = Realm::containers(host);
            containers = found;
            if let Some(text) = problem {
                collector.error(text);
            }
            for container in &containers {
                if cut_short || collector.all_done() {
                    break;
                }
                looked_into += 1;
                cut_short = Walk::new(context, container).run();
            }
        }
        // The reason is short and must not fall victim to a limit of errors.
        let late = cut_short
            .then(|| format!("ERROR: {}, the result is partial", ModuleError::Deadline.one_line()));
        let collected = collector.finish(late.into_iter().collect());
        let elements = plan
            .searches
            .iter()
            .zip(&collected.findings)
            .map(|(search, found)| (search.label.clone(), elements::of_search(search, found)))
            .collect();
        Ok(Report {
            foundanything: collected.hits > 0,
            success: true,
            elements: Some(elements),
            statistics: Some(Statistics {
                filescount: collected.files,
                openfailed: collected.open_failed,
                totalhits: collected.hits,
                containers: looked_into,
                exectime: duration::format(begun.elapsed()),
            }),
            errors: collected.errors,
        })
    }

    fn failure(&self) -> Report<Elements, Statistics> {
        Report {
            elements: Some(Elements::new()),
            statistics: Some(Statistics::default()),
            ..Report::default()
        }
    }

    fn mask(&self, report: &mut Report<Elements, Statistics>) {
        let mut none = Elements::new();
        elements::mask(report.elements.as_mut().unwrap_or(&mut none), &mut report.errors);
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        options::parse(args)
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        options::HELP.to_owned()
    }
}
