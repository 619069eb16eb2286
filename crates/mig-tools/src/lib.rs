#![doc = include_str!("../README.md")]

mod generate;
mod input;
mod search;
mod verify;

use std::path::Path;

use mig_module::args::{self, Flag, Kind, Options, Outcome};
use mig_runtime::Exit;
use mig_terminal::failure::Failure;
use mig_terminal::output::Output;
use mig_terminal::{Session, locate, narrate, settings, wizard};

pub use generate::run as generate;
pub use search::run as search;
pub use verify::run as verify;

/// Options of a program; `None` when help or version were asked for, and
/// printed.
fn options(
    (program, flags): (&str, &[Flag]),
    args: &[String],
    usage: &str,
    output: &mut Output,
) -> Result<Option<Options>, Failure> {
    let flags: Vec<Flag> =
        flags.iter().copied().chain([("v", Kind::Bool), ("vv", Kind::Bool)]).collect();
    match args::parse_or_empty(&flags, args) {
        Ok(Outcome::Help) => {
            output.line(usage)?;
            Ok(None)
        }
        Ok(Outcome::Options(options)) if options.boolean("V", false) => {
            output.line(env!("CARGO_PKG_VERSION"))?;
            Ok(None)
        }
        Ok(Outcome::Options(options)) => {
            settings::load()?;
            let told = |name| u8::from(options.boolean(name, false));
            narrate(program, told("v").max(2 * told("vv")))?;
            Ok(Some(options))
        }
        Err(error) => Err(Failure::usage(format!("{error}\n{usage}"))),
    }
}

/// The exit code of an outcome, which is told.
fn finish(outcome: Result<u8, Failure>, output: &mut Output) -> anyhow::Result<()> {
    match outcome {
        Ok(0) => Ok(()),
        Ok(code) => Err(Exit::silent(code).into()),
        // A reader that went away is no failure.
        Err(failure) if failure.is_closed_pipe() => Ok(()),
        Err(failure) => {
            output.complain(&failure);
            Err(Exit::silent(failure.code).into())
        }
    }
}

/// The configuration, offered to be written where there is none.
async fn open(path: Option<&str>, output: &mut Output) -> Result<Session, Failure> {
    let path = path.map(Path::new);
    wizard::offer(locate(path, None).as_deref(), output).await?;
    let (session, warnings) = Session::open(path, None)?;
    for warning in &warnings {
        output.say(&format!("[warning] {warning}"));
    }
    Ok(session)
}
