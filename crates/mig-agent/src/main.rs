//! Starts the agent, or one module. Everything that can go wrong is tested in
//! the library.

fn main() -> std::process::ExitCode {
    mig_agent::start(std::env::args_os().skip(1))
}
