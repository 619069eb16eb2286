//! The agent, with modules that went bad in the place of its own.
//!
//! Everything but the modules is the real program: the daemon starts its own
//! executable, and a module process enters its limits and its sandbox as the
//! module of that name does, before it turns on its host.

mod attempts;
mod deeds;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mig_agent::AgentConfig;
use mig_agent::execute::child::{self, ORDERS, Orders};
use mig_module::process::ServeOptions;
use mig_module::{Budget, DynModule, Host, ModuleError, Needs, ParsedArgs, Registry, UsageError};
use mig_runtime::clock::{Clock, SystemClock};
use mig_types::{ModuleResult, Timestamp, wire};
use serde_json::Value;

/// A module with the name and the needs of a real one.
struct Rogue {
    name: &'static str,
    needs: Needs,
}

impl DynModule for Rogue {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        "does what it must not"
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn run_json(&self, _: &dyn Host, params: Value, _: &Budget) -> ModuleResult {
        if params.get("scene").is_some() {
            return attempts::run(&params);
        }
        deeds::run(&params)
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

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("hold") {
        let megabytes = std::env::args().nth(2).and_then(|text| text.parse().ok());
        deeds::hold(megabytes.unwrap_or_default());
    }
    let orders = std::env::var(ORDERS).ok();
    let orders = orders.and_then(|text| serde_json::from_str::<Orders>(&text).ok());
    let (Some(orders), Some(module)) = (orders, std::env::args().nth(2)) else {
        return daemon();
    };
    let registry = Registry::new(rogues());
    let options = ServeOptions::default();
    let output = io::stdout().lock();
    match child::run(&registry, &module, Some(&orders), options, io::stdin(), output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The agent as `-c <file> -d` starts it, by a clock that can be set.
fn daemon() -> ExitCode {
    mig_runtime::run("mig-agent", |shutdown| async move {
        let file = std::env::args().nth(2).context("-c <file>")?;
        let (mut config, _) = AgentConfig::load(Some(Path::new(&file)), AgentConfig::default())?;
        "stdout".clone_into(&mut config.logging.mode);
        "debug".clone_into(&mut config.logging.level);
        let _logging = mig_runtime::logging::init("mig-agent", &config.logging)?;
        let clock = SetClock { file: Path::new(&file).with_file_name("clock") };
        mig_agent::serve_by(config, Arc::new(clock), shutdown).await
    })
}

/// The machine's clock, and as many seconds more as a file says.
struct SetClock {
    file: PathBuf,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let seconds: i64 = text.trim().parse().unwrap_or_default();
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - by } else { now + by }
    }
}

fn rogues() -> Vec<Box<dyn DynModule>> {
    let example = mig_module_example::Example;
    let real = mig_modules::registry();
    let mut rogues: Vec<Box<dyn DynModule>> = Vec::new();
    for module in real.iter().chain([&example as &dyn DynModule]) {
        if rogues.iter().all(|rogue| rogue.name() != module.name()) {
            rogues.push(Box::new(Rogue { name: module.name(), needs: module.needs() }));
        }
    }
    rogues
}
