//! Starts the program. Everything that can go wrong is tested in the library.

use std::process::ExitCode;

use clap::Parser as _;
use mig_scheduler::start::{Args, arguments, start};
use mimalloc::MiMalloc;

/// Commands and results are trees of small pieces, made by one thread and dropped by
/// another: with the system's allocator that is a fifth of the program's time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse_from(arguments(std::env::args_os()));
    mig_runtime::run("mig-scheduler", |shutdown| start(args, shutdown))
}
