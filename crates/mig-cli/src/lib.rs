#![doc = include_str!("../README.md")]

mod arguments;
mod follow;
mod globals;
mod guard;
mod help;
mod launch;
mod local;
mod parts;
mod print;
mod recreate;
mod render;
mod tasks;

use std::ffi::OsString;

use arguments::Invocation;
use mig_runtime::{Exit, Shutdown};
use mig_terminal::failure::Failure;
use mig_terminal::output::Output;
use mig_terminal::settings;

/// Runs one command line; the exit code travels in an [`Exit`].
///
/// # Errors
///
/// [`Exit`] with any other code than 0; everything was said already.
pub async fn run(args: Vec<OsString>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut output = Output::new();
    let outcome = match texts(args) {
        Ok(args) => dispatch(&args, &mut output, shutdown).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(0) => Ok(()),
        Ok(code) => Err(Exit::silent(code).into()),
        Err(failure) => {
            // A reader that went away (`mig … | head`) is no failure.
            if failure.is_closed_pipe() {
                return Ok(());
            }
            output.complain(&failure);
            Err(Exit::silent(failure.code).into())
        }
    }
}

/// Arguments travel in JSON, which has no other texts: replacing what is not
/// Unicode would ask for something else.
fn texts(args: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let text = |(at, arg): (usize, OsString)| {
        arg.into_string().map_err(|odd| {
            let message = format!("argument {} is not UTF-8: {}", at + 1, odd.to_string_lossy());
            Failure::usage(message).hint("match such names with an expression, such as caf.$")
        })
    };
    args.into_iter().enumerate().map(text).collect()
}

async fn dispatch(
    args: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let registry = mig_modules::registry();
    let invocation = arguments::parse(args, &registry)?;
    if invocation.has_settings() {
        settings::load()?;
    }
    match invocation {
        Invocation::Usage { code } => {
            output.line(&help::usage(&registry))?;
            Ok(code)
        }
        Invocation::ModuleHelp(text) => {
            output.line(text.trim_end())?;
            Ok(0)
        }
        Invocation::Version => {
            output.line(env!("CARGO_PKG_VERSION"))?;
            Ok(0)
        }
        Invocation::Task(words) => tasks::run(&registry, &words, output, shutdown).await,
        Invocation::Module { module, parameters, mut globals, name } => {
            globals.apply(output)?;
            globals.settle(output)?;
            let wanted = globals.target.as_deref();
            if wanted == Some(local::TARGET) {
                return local::run(&registry, &module, parameters, &globals, output);
            }
            launch::module(&registry, &module, parameters, &globals, name, output, shutdown).await
        }
        Invocation::File { path, mut globals } => {
            globals.apply(output)?;
            globals.settle(output)?;
            launch::file(&registry, &path, &globals, output, shutdown).await
        }
    }
}
