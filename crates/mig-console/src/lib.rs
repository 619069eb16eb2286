#![doc = include_str!("../README.md")]

mod banner;
mod completion;
mod console;
mod create;
mod dashboard;
mod dialog;
mod editor;
mod flags;
mod follow;
mod history;
mod launcher;
mod order;
mod reader;
mod results;
mod screen;
mod search;
mod top;

use console::Console;
use flags::Invocation;
use mig_runtime::{Exit, Interrupts};
use mig_terminal::failure::Failure;
use mig_terminal::orders;
use mig_terminal::output::{Color, Output};
use mig_terminal::{locate, wizard};
use screen::{Screen, complain};

/// Runs the console; the exit code travels in an [`Exit`].
pub async fn run(args: &[String], interrupts: Interrupts) -> anyhow::Result<()> {
    match start(args, interrupts).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.is_closed_pipe() => Ok(()),
        Err(failure) => {
            complain(&failure);
            Err(Exit::silent(failure.code).into())
        }
    }
}

async fn start(args: &[String], interrupts: Interrupts) -> Result<(), Failure> {
    let flags = match flags::parse(args)? {
        Invocation::Console(flags) => flags,
        Invocation::Version => {
            Screen::new(Color::Never).say(env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
        Invocation::Help => {
            Screen::new(Color::Never).say(orders::USAGE);
            return Ok(());
        }
    };
    mig_terminal::settings::load()?;
    mig_terminal::narrate("mig-console", flags.verbosity)?;
    let path = locate(flags.config.as_deref(), flags.context.as_deref());
    wizard::offer(path.as_deref(), &mut Output::new()).await?;
    let mut console = Console::open(&flags, interrupts)?;
    top::run(&mut console, &flags).await
}
