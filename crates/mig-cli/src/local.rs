//! `-t local`: the module in this process, without platform, key or network.

use std::path::Path;

use mig_host::LocalHost;
use mig_module::{Budget, Registry};
use mig_types::{Action, ActionStatus, Agent, Command, CommandStatus, Operation};
use serde_json::Value;

use crate::globals::{Globals, Show};
use crate::print::Printer;
use mig_terminal::failure::Failure;
use mig_terminal::format::Format;
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
    if globals.form.format == Format::Text {
        let lines = module
            .print(&result, globals.show == Show::Found)
            .map_err(|error| Failure::other(error.one_line()))?;
        for line in lines {
            output.line(&line)?;
        }
    } else {
        let status = if result.success { CommandStatus::Success } else { CommandStatus::Failed };
        let operation = Operation { module: module.name().to_owned(), ..Operation::default() };
        let mut action = Action {
            operations: Some(vec![operation]),
            status: Some(ActionStatus::Completed),
            ..Action::default()
        };
        action.counters.add(status, 1);
        let command = Command {
            agent: Agent { name: TARGET.to_owned(), ..Agent::default() },
            action: action.clone(),
            status,
            results: Some(vec![result.clone()]),
            ..Command::default()
        };
        let mut printer = Printer::new(registry, globals)?;
        printer.command(command, output)?;
        printer.end(&action, true, output)?;
    }
    if globals.show == Show::Found {
        for error in result.errors.iter().flatten() {
            output.warn(&mig_module::text::printable(error));
        }
    }
    if result.success {
        Ok(0)
    } else {
        Err(Failure::other(format!("module {} did not succeed", module.name())))
    }
}
