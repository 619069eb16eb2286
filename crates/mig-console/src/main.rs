//! Starts the console. Everything that can go wrong is tested in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    mig_runtime::run_interactive("mig-console", async move |interrupts| {
        mig_console::run(&args, interrupts).await
    })
}
