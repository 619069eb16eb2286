#![doc = include_str!("../README.md")]

use std::time::Duration;

use mig_module::args::{self, Kind as Takes, Outcome};
use mig_module::persist::{Briefing, Kind, Outlet, Persistent, Setting};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use serde::{Deserialize, Serialize};

/// Seconds between two log lines when the configuration does not say.
const DEFAULT_INTERVAL: u64 = 30;

const HELP: &str = "\
examplepersist is a template for authors of persistent modules.
-echo <string>  let the module send <string> back
                ex: -echo hello
";

/// Parameters as they travel in an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// What to echo.
    pub string: String,
}

/// What comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    pub string: String,
}

/// The `examplepersist` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExamplePersist;

impl Module for ExamplePersist {
    const NAME: &'static str = "examplepersist";
    const SUMMARY: &'static str = "a template for authors of persistent modules";
    type Params = Params;
    type Elements = Elements;
    type Statistics = ();

    fn persistent(&self) -> Option<&dyn Persistent> {
        Some(self)
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        if params.string.is_empty() {
            return Err(ModuleError::invalid("must set a string to echo"));
        }
        Ok(())
    }

    fn run(
        &self,
        _host: &dyn Host,
        params: &Params,
        _budget: &Budget,
    ) -> Result<Report<Elements, ()>, ModuleError> {
        Ok(Report {
            foundanything: true,
            success: true,
            elements: Some(Elements { string: params.string.clone() }),
            ..Report::default()
        })
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        match args::parse(&[("echo", Takes::Text)], args)? {
            Outcome::Help => Ok(Parsed::Help),
            Outcome::Options(given) => Ok(Parsed::Params(Params {
                string: given.text("echo").unwrap_or_default().to_owned(),
            })),
        }
    }

    fn print(&self, report: &Report<Elements, ()>, found_only: bool) -> Vec<String> {
        let echo = |elements: &Elements| format!("echo string was {:?}", elements.string);
        let mut lines: Vec<String> = report.elements.iter().map(echo).collect();
        if !found_only {
            lines.extend(report.errors.iter().cloned());
        }
        lines
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

impl Persistent for ExamplePersist {
    fn settings(&self) -> &'static [Setting] {
        &[Setting { section: "ExamplePersist", key: "interval", kind: Kind::Number }]
    }

    /// The process only writes to its own output.
    fn needs(&self) -> Needs {
        Needs { reads: &[], ..Needs::default() }
    }

    fn work(&self, briefing: &Briefing, outlet: &Outlet) -> Result<(), String> {
        let interval = interval(briefing).unwrap_or_else(|| {
            outlet.log(&format!("interval not set, defaulting to {DEFAULT_INTERVAL}"));
            Duration::from_secs(DEFAULT_INTERVAL)
        });
        loop {
            std::thread::sleep(interval);
            outlet.log(&format!("running, current time is {}", outlet.now()));
        }
    }
}

fn interval(briefing: &Briefing) -> Option<Duration> {
    let seconds = briefing.setting("examplepersist", "interval")?.as_u64()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
