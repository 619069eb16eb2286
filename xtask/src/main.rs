//! Tasks of the workspace: `cargo xtask <task>`.

#![expect(clippy::print_stdout, reason = "what a task found out is its output")]

mod build;
mod check;
mod command;
mod deps;
mod foreign;
mod lanes;
mod openapi;
#[cfg(unix)]
mod packages;
mod reference;
#[cfg(unix)]
mod summary;
#[cfg(unix)]
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <task>

  test [-p crate]… [--suite test]… [filter]…
                              run the tests with private servers
  check                       format, clippy, dependency directions, documentation
  deps                        dependency directions alone
  openapi                     write openapi/mig.json as the API's routes say
  reference                   write docs/reference and the cheat sheet's transcripts
  windows | arm64             an agent for that system, tried with Wine or QEMU
  build <program>             release binary below bin/, OS=… ARCH=… BUILDENV=…";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    match task.as_str() {
        #[cfg(unix)]
        "test" => test::run(rest),
        "check" => check::run(),
        "deps" => deps::run(),
        "openapi" => openapi::run(),
        "reference" => reference::run(),
        "windows" => foreign::run(&foreign::WINDOWS),
        "arm64" => foreign::run(&foreign::ARM64),
        "build" => build::run(rest),
        _ => bail!("unknown task {task}\n{USAGE}"),
    }
}
