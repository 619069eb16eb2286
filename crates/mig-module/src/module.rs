//! The trait a module implements, and the one everybody else sees.

use mig_host::Host;
use mig_types::{ModuleResult, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::UsageError;
use crate::budget::Budget;
use crate::persist::Persistent;
use crate::report::Report;
use crate::text;

/// Why a module could not run, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    #[error("cannot read the parameters")]
    Parameters { source: wire::WireError },
    /// The text quotes the offending value and the rule.
    #[error("{0}")]
    Invalid(String),
    #[error("the run was cut short by its time limit")]
    Deadline,
    #[error("stop message received, terminating early")]
    Stopped,
    #[error("cannot read the result of module {module}")]
    Result { module: &'static str, source: wire::WireError },
    #[error("{0}")]
    Failed(String),
}

impl ModuleError {
    /// A parameter that breaks a rule.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The chain of reasons on one line, as results carry it.
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            line = format!("{line}: {error}");
            source = error.source();
        }
        line
    }
}

/// What a module needs of its host; everything else is taken from it before it
/// sees its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent need")]
pub struct Needs {
    /// Directories and files it reads, from the root of the host. The default
    /// is all of them.
    pub reads: &'static [&'static str],
    /// Opens connections to other machines.
    pub network: bool,
    /// Asks the kernel through local sockets such as netlink.
    pub kernel_sockets: bool,
    /// Speaks with the kernel's auditing.
    pub audit: bool,
    /// Starts programs.
    pub programs: bool,
    /// Looks into other processes: their memory, maps and descriptors.
    pub processes: bool,
    /// Sends signals to other processes.
    pub signals: bool,
    /// Is told by the kernel when files change.
    pub watches: bool,
    /// Changes the host, as it was told to: runs outside the sandbox. Every
    /// other need is pointless then.
    pub unconfined: bool,
}

impl Needs {
    /// What looking up a name and speaking TLS takes, for a module with
    /// `network`.
    pub const NETWORK_FILES: &'static [&'static str] =
        &["/etc", "/lib", "/lib64", "/proc", "/run/systemd/resolve", "/usr/lib", "/usr/share"];
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            reads: &["/"],
            network: false,
            kernel_sockets: false,
            audit: false,
            programs: false,
            processes: false,
            signals: false,
            watches: false,
            unconfined: false,
        }
    }
}

/// What a command line asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed<P> {
    Params(P),
    Help,
}

/// What a command line asked for, with parameters as they travel.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsedArgs {
    Params(Value),
    /// The help text, to be printed instead of launching anything.
    Help(String),
}

/// A capability of the agent. Stateless: one value serves every run.
pub trait Module: Send + Sync {
    const NAME: &'static str;
    /// One sentence for lists of modules.
    const SUMMARY: &'static str;
    type Params: DeserializeOwned + Serialize;
    type Elements: Serialize + DeserializeOwned;
    type Statistics: Serialize + DeserializeOwned;

    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// What it adds when it lives as long as the agent.
    fn persistent(&self) -> Option<&dyn Persistent> {
        None
    }

    /// The executable that runs it, where this program only knows its command line
    /// and its results.
    fn program(&self) -> Option<&'static str> {
        None
    }

    /// Checks parameters without touching the host.
    fn validate(&self, params: &Self::Params) -> Result<(), ModuleError>;

    /// Does the work. Parameters have been validated.
    fn run(
        &self,
        host: &dyn Host,
        params: &Self::Params,
        budget: &Budget,
    ) -> Result<Report<Self::Elements, Self::Statistics>, ModuleError>;

    /// What a failed run looks like, without its error.
    fn failure(&self) -> Report<Self::Elements, Self::Statistics> {
        Report::default()
    }

    /// Hides what extra privacy mode hides.
    fn mask(&self, _report: &mut Report<Self::Elements, Self::Statistics>) {}

    /// Builds parameters from the options of a command line.
    fn parse_args(&self, args: &[String]) -> Result<Parsed<Self::Params>, UsageError>;

    /// Lines for an investigator: findings only, or everything.
    fn print(
        &self,
        report: &Report<Self::Elements, Self::Statistics>,
        found_only: bool,
    ) -> Vec<String>;

    /// The options, one a line, with examples.
    fn help(&self) -> String;
}

/// A [`Module`] of any type.
pub trait DynModule: Send + Sync {
    fn name(&self) -> &'static str;

    fn summary(&self) -> &'static str;

    fn needs(&self) -> Needs;

    /// What it adds when it lives as long as the agent.
    fn persistent(&self) -> Option<&dyn Persistent> {
        None
    }

    /// The executable that runs it, where this program only knows its command line
    /// and its results.
    fn program(&self) -> Option<&'static str> {
        None
    }

    /// Runs on parameters as they travel. A failure is a result, too.
    fn run_json(&self, host: &dyn Host, params: Value, budget: &Budget) -> ModuleResult;

    /// [`DynModule::run_json`] straight to the result document, masked if told
    /// to. Large results never exist as a tree.
    fn run_document(
        &self,
        host: &dyn Host,
        params: Value,
        budget: &Budget,
        privacy: bool,
    ) -> Vec<u8>;

    /// Hides what extra privacy mode hides.
    fn mask(&self, result: &mut ModuleResult);

    /// Builds and validates parameters from the options of a command line.
    fn parse_args(&self, args: &[String]) -> Result<ParsedArgs, UsageError>;

    /// Checks parameters as they travel.
    fn validate_json(&self, params: &Value) -> Result<(), ModuleError>;

    /// Lines for an investigator, safe to write to a terminal.
    fn print(&self, result: &ModuleResult, found_only: bool) -> Result<Vec<String>, ModuleError>;

    fn help(&self) -> String;
}

impl<M: Module> DynModule for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn summary(&self) -> &'static str {
        M::SUMMARY
    }

    fn needs(&self) -> Needs {
        Module::needs(self)
    }

    fn persistent(&self) -> Option<&dyn Persistent> {
        Module::persistent(self)
    }

    fn program(&self) -> Option<&'static str> {
        Module::program(self)
    }

    fn run_json(&self, host: &dyn Host, params: Value, budget: &Budget) -> ModuleResult {
        run(self, host, params, budget).into_result()
    }

    fn run_document(
        &self,
        host: &dyn Host,
        params: Value,
        budget: &Budget,
        privacy: bool,
    ) -> Vec<u8> {
        let mut report = run(self, host, params, budget);
        if privacy {
            Module::mask(self, &mut report);
        }
        wire::to_vec(&report).unwrap_or_else(|error| {
            let result = ModuleResult::failed(format!("cannot write the result: {error}"));
            wire::to_vec(&result).unwrap_or_default()
        })
    }

    fn mask(&self, result: &mut ModuleResult) {
        match Report::<M::Elements, M::Statistics>::from_result(result) {
            Ok(mut report) => {
                Module::mask(self, &mut report);
                *result = report.into_result();
            }
            // What cannot be understood cannot be masked: it stays here.
            Err(_) => {
                *result = ModuleResult {
                    foundanything: result.foundanything,
                    ..ModuleResult::failed("the result could not be masked and is withheld")
                };
            }
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<ParsedArgs, UsageError> {
        let params = match Module::parse_args(self, args)? {
            Parsed::Help => return Ok(ParsedArgs::Help(Module::help(self))),
            Parsed::Params(params) => params,
        };
        Module::validate(self, &params).map_err(|error| UsageError::new(error.one_line()))?;
        let value = serde_json::to_value(&params);
        value.map(ParsedArgs::Params).map_err(|error| UsageError::new(error.to_string()))
    }

    fn validate_json(&self, params: &Value) -> Result<(), ModuleError> {
        Module::validate(self, &decode(self, params.clone())?)
    }

    fn print(&self, result: &ModuleResult, found_only: bool) -> Result<Vec<String>, ModuleError> {
        let report = Report::from_result(result)
            .map_err(|source| ModuleError::Result { module: M::NAME, source })?;
        let lines = Module::print(self, &report, found_only);
        // A tab in front is the module's own: it indents what belongs to the line
        // above.
        let safe = |line: &String| match line.strip_prefix('\t') {
            Some(rest) => format!("\t{}", text::printable(rest)),
            None => text::printable(line),
        };
        Ok(lines.iter().map(safe).collect())
    }

    fn help(&self) -> String {
        Module::help(self)
    }
}

fn decode<M: Module>(_: &M, params: Value) -> Result<M::Params, ModuleError> {
    wire::from_value(params).map_err(|source| ModuleError::Parameters { source })
}

fn run<M: Module>(
    module: &M,
    host: &dyn Host,
    params: Value,
    budget: &Budget,
) -> Report<M::Elements, M::Statistics> {
    let outcome = decode(module, params).and_then(|params| {
        Module::validate(module, &params)?;
        let report = Module::run(module, host, &params, budget)?;
        // Whoever said stop does not want half an answer.
        if budget.is_stopped() { Err(ModuleError::Stopped) } else { Ok(report) }
    });
    outcome.unwrap_or_else(|error| {
        let mut report = Module::failure(module);
        report.errors.push(error.one_line());
        report
    })
}
