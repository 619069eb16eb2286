//! `-t local`: the module in this process, without platform, key or network.

use std::path::Path;

use mig_host::LocalHost;
use mig_module::{Budget, Registry};
use serde_json::Value;

use crate::globals::{Format, Globals, Show};
use mig_terminal::failure::Failure;
use mig_terminal::output::Output;

/// The target that means this machine.
pub(crate) const TARGET: &str = "local";

pub(crate) fn run(
    registry: &Registry,
    module: &str,
    parameters: Value,
    globals: &Globals,
    output: &mut Output,
) -> Result<u8, Failure> {
    let module =
        registry.get(module).ok_or_else(|| Failure::other(format!("Unknown module {module}")))?;
    let host = LocalHost::new(Path::new("/"));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let budget = Budget::new(None, (cores / 2).max(1));
    let result = module.run_json(&host, parameters, &budget);
    if globals.format == Format::Text {
        let lines = module
            .print(&result, globals.show == Show::Found)
            .map_err(|error| Failure::other(error.one_line()))?;
        for line in lines {
            output.line(&line)?;
        }
    } else {
        let text = serde_json::to_string(&result).unwrap_or_default();
        output.line(&text)?;
    }
    if globals.show == Show::Found {
        for error in result.errors.iter().flatten() {
            output.say(&mig_module::text::printable(error));
        }
    }
    if result.success {
        Ok(0)
    } else {
        Err(Failure::other(format!("module {} did not succeed", module.name())))
    }
}
