//! Starts `mig`. Everything that can go wrong is tested in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    mig_runtime::run("mig", async move |shutdown| mig_cli::run(args, &shutdown).await)
}
