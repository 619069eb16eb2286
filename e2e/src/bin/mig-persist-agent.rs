//! The agent, with persistent modules in the place of its own: the example, the one
//! that audits, and some that behave badly.

use std::io::Write as _;
use std::process::ExitCode;

use mig_module::persist::{Briefing, Outlet, Persistent, Setting};
use mig_module::{Budget, DynModule, Host, ModuleError, ParsedArgs, Registry, UsageError};
use mig_module_examplepersist::ExamplePersist;
use mig_types::{ModuleResult, wire};
use serde_json::Value;

fn main() -> ExitCode {
    mig_agent::start_with(registry, std::env::args_os().skip(1))
}

fn registry() -> Registry {
    Registry::new(vec![
        Box::new(mig_module_audit::Audit::default()),
        Box::new(ExamplePersist),
        Box::new(Odd { name: "crier", deed: cry }),
        Box::new(Odd { name: "gossip", deed: gossip }),
    ])
}

/// Raises an alert, says what looks like two lines, and fails.
fn cry(outlet: &Outlet) -> Result<(), String> {
    outlet.alert("{\"fire\":\"100% %s\"}");
    outlet.log("one line\nthat looks like two");
    Err("no voice left".to_owned())
}

/// Says what no module may say.
fn gossip(_: &Outlet) -> Result<(), String> {
    let mut stdout = std::io::stdout();
    let said = stdout.write_all(b"{\"class\":\"news\"}\n").and_then(|()| stdout.flush());
    said.map_err(|error| error.to_string())?;
    loop {
        std::thread::park();
    }
}

/// A module that does one thing.
struct Odd {
    name: &'static str,
    deed: fn(&Outlet) -> Result<(), String>,
}

impl Persistent for Odd {
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    fn work(&self, _: &Briefing, outlet: &Outlet) -> Result<(), String> {
        (self.deed)(outlet)
    }
}

impl DynModule for Odd {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        "behaves badly"
    }

    fn needs(&self) -> mig_module::Needs {
        mig_module::Needs::default()
    }

    fn persistent(&self) -> Option<&dyn Persistent> {
        Some(self)
    }

    fn run_json(&self, _: &dyn Host, _: Value, _: &Budget) -> ModuleResult {
        ModuleResult::default()
    }

    fn run_document(&self, host: &dyn Host, params: Value, budget: &Budget, _: bool) -> Vec<u8> {
        wire::to_vec(&self.run_json(host, params, budget)).unwrap_or_default()
    }

    fn mask(&self, _: &mut ModuleResult) {}

    fn parse_args(&self, _: &[String]) -> Result<ParsedArgs, UsageError> {
        Err(UsageError::new("not from a command line"))
    }

    fn validate_json(&self, _: &Value) -> Result<(), ModuleError> {
        Ok(())
    }

    fn print(&self, _: &ModuleResult, _: bool) -> Result<Vec<String>, ModuleError> {
        Ok(Vec::new())
    }

    fn help(&self) -> String {
        String::new()
    }
}
