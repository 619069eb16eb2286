//! Starts `mig-swarm`.

mod arguments;
mod run;

use std::process::ExitCode;

use arguments::{Arguments, Task};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mig_runtime::run("mig-swarm", async move |shutdown| match arguments.task {
        Task::Run(arguments) => run::run(arguments, &shutdown).await,
    })
}
