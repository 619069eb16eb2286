//! Runs operations, each in a module process of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mig_module::process::{parameters_message, question_message};
use mig_runtime::clock::Clock;
use mig_types::{Action, Operation};

use crate::config::Budgets;
use crate::persist::{Line, Switchboard};
use crate::report::{Ending, Limit};

mod cage;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod family;
mod process;
mod programs;

pub use cage::Cages;
pub use mig_child as child;
pub use programs::{ProgramError, Programs};

/// Results of one command together, however many operations it has.
const COMMAND_OUTPUT: usize = 64 << 20;

/// Runs operations within budgets.
#[derive(Debug)]
pub struct Executor {
    /// The executables that run modules.
    pub programs: Programs,
    pub budgets: Budgets,
    /// Modules mask names and addresses.
    pub privacy: bool,
    /// Where persistent modules answer.
    pub switchboard: Switchboard,
    /// Where runs are kept apart.
    pub cages: Cages,
}

impl Executor {
    /// Runs an action's operations one after the other. Endings are in the
    /// order of the operations, one each.
    ///
    /// Dropping the future kills what is running.
    pub async fn run(&self, action: &Action, clock: &dyn Clock) -> Vec<Ending> {
        let mut endings = Vec::with_capacity(action.operations().len());
        let mut room = COMMAND_OUTPUT;
        for operation in action.operations() {
            let left = action.expireafter.since(clock.now());
            let ending = self.run_one(operation, left, room).await;
            if let Ending::Answered(result) = &ending {
                room = room.saturating_sub(size(result));
            }
            endings.push(ending);
        }
        endings
    }

    /// Runs one operation for at most `left`, with at most `room` bytes of
    /// output, if those are less than the budgets.
    pub async fn run_one(&self, operation: &Operation, left: Duration, room: usize) -> Ending {
        let program = match self.programs.of(&operation.module) {
            Ok(program) => program,
            Err(ProgramError::Unknown) => {
                let module = operation.module.chars().take(128).collect();
                return Ending::NotAvailable { module };
            }
            Err(error) => return Ending::Broken(error.to_string()),
        };
        let time = self.budgets.time.min(left);
        if time.is_zero() {
            return Ending::Expired;
        }
        let output = self.budgets.output_bytes.min(room);
        if output == 0 {
            return Ending::Killed(Limit::Output(COMMAND_OUTPUT));
        }
        let cage = match self.cages.cage(&self.budgets) {
            Ok(cage) => cage,
            Err(error) => return Ending::Broken(format!("cannot confine module: {error}")),
        };
        let orders = child::Orders {
            parent: std::process::id(),
            memory_bytes: self.budgets.memory_bytes,
            deadline: time,
            threads: self.budgets.threads,
            compressed: operation.is_compressed,
            privacy: self.privacy,
            sandbox: self.budgets.sandbox,
            cgroup: cage.entrance().map(PathBuf::from),
        };
        let input = match self.switchboard.line(&operation.module) {
            Line::OneShot => parameters_message(&operation.parameters),
            Line::At(spec) => question_message(&operation.parameters, &spec),
            Line::NotRegistered => {
                return Ending::Broken(format!("module {} is not registered", operation.module));
            }
        };
        let job = process::Job {
            program: &program,
            module: operation.module.to_lowercase(),
            orders: match serde_json::to_string(&orders) {
                Ok(text) => OsString::from(text),
                Err(error) => return Ending::Broken(format!("cannot start module: {error}")),
            },
            input,
            time,
            output_bytes: output,
            cage,
        };
        process::run(job).await
    }
}

fn size(result: &mig_types::ModuleResult) -> usize {
    mig_types::wire::to_vec(result).map_or(COMMAND_OUTPUT, |json| json.len())
}
