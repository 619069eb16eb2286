#![doc = include_str!("../README.md")]

mod destroy;

use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use serde::{Deserialize, Serialize};

/// Smallest and largest process ids that can be an agent's.
const PIDS: std::ops::RangeInclusive<i64> = 2..=4_194_304;

/// Parameters as they travel in an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// The process to end.
    pub pid: i64,
    /// The version it reports.
    pub version: String,
}

/// What is left of the process.
pub type Elements = String;

/// This module counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {}

/// The `agentdestroy` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentDestroy;

impl Module for AgentDestroy {
    const NAME: &'static str = "agentdestroy";
    const SUMMARY: &'static str = "ends a duplicate agent of the same host";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { unconfined: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        if !PIDS.contains(&params.pid) {
            let (first, last) = (PIDS.start(), PIDS.end());
            return Err(ModuleError::invalid(format!(
                "PID '{}' is not in the range [{first}:{last}]",
                params.pid
            )));
        }
        if params.version.is_empty() {
            return Err(ModuleError::invalid("parameter 'version' is empty. Expecting version."));
        }
        Ok(())
    }

    fn run(
        &self,
        _host: &dyn Host,
        params: &Params,
        _budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let done = destroy::destroy(params).map_err(ModuleError::Invalid)?;
        Ok(Report {
            success: true,
            elements: Some(done.text),
            errors: done.errors,
            ..Report::default()
        })
    }

    fn parse_args(&self, _args: &[String]) -> Result<Parsed<Params>, UsageError> {
        Err(UsageError::new("module 'agentdestroy' does not support command line invocation"))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(report.elements.clone().filter(|text| !text.is_empty()));
        if !found_only {
            lines.extend(report.errors.iter().map(|error| format!("[error] {error}")));
            let end = if report.success { "succeeded" } else { "failed" };
            lines.push(format!("agentdestroy module has {end}"));
        }
        lines
    }

    fn help(&self) -> String {
        "agentdestroy ends a duplicate agent. Schedulers send it; there are no options.\n"
            .to_owned()
    }
}
