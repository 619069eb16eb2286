//! Starts the program. Everything that can go wrong is tested in the library.

use std::process::ExitCode;

use clap::Parser as _;
use mig_scheduler::start::{Args, arguments, start};

fn main() -> ExitCode {
    let args = Args::parse_from(arguments(std::env::args_os()));
    mig_runtime::run("mig-scheduler", |shutdown| start(args, shutdown))
}
