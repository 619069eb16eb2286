//! Starts `mig-swarm`.

mod arguments;
mod run;

use std::process::ExitCode;

use arguments::{Arguments, Task};
use clap::Parser as _;
use mig_runtime::clock::{Clock as _, SystemClock};
use mimalloc::MiMalloc;

/// As in the scheduler: a simulator shares the machine with what it measures.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mig_runtime::run("mig-swarm", async move |shutdown| match arguments.task {
        Task::Run(arguments) => run::run(arguments, &shutdown).await,
        Task::Seed(arguments) => {
            let past = arguments.past();
            // A stop leaves nothing behind: all of it is one transaction.
            tokio::select! {
                outcome = mig_swarm::seed(&arguments.database, &past, SystemClock.now()) => Ok(outcome?),
                () = shutdown.requested() => anyhow::bail!("interrupted, nothing was written"),
            }
        }
    })
}
