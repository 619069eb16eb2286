//! The frame around every program: runtime, signals, error chain, exit code.

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::shutdown::{Shutdown, ShutdownTrigger};

/// Exit code after a second interrupt: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Time given to tasks that are still running when `main` has returned.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// An error that chooses the exit code; any other error exits with 1.
#[derive(Debug)]
pub struct Exit {
    code: u8,
    reason: Option<anyhow::Error>,
}

impl Exit {
    /// Ends with `code` and prints nothing: the program has said it already.
    pub const fn silent(code: u8) -> Self {
        Self { code, reason: None }
    }

    /// Ends with `code` after printing `reason` and its causes.
    pub fn because(code: u8, reason: impl Into<anyhow::Error>) -> Self {
        Self { code, reason: Some(reason.into()) }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason:#}"),
            None => write!(f, "exit code {}", self.code),
        }
    }
}

impl std::error::Error for Exit {}

/// Runs a program to its end and gives its exit code.
///
/// The first SIGINT or SIGTERM requests the [`Shutdown`] handed to `main`; a
/// second SIGINT ends the process at once with 130. An error is printed once
/// on standard error as `program: error: cause: cause`; the code is then 1, or
/// what an [`Exit`] says.
pub fn run<F, Fut>(program: &str, main: F) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    run_in(tokio::runtime::Builder::new_multi_thread(), program, main)
}

/// [`run`] with no more than `threads` threads for tasks, at least one: for a
/// program that is a guest of the machine and not what the machine is for.
pub fn run_as_guest<F, Fut>(threads: usize, program: &str, main: F) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads.max(1));
    run_in(builder, program, main)
}

fn run_in<F, Fut>(mut builder: tokio::runtime::Builder, program: &str, main: F) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(program, &anyhow::Error::new(error).context("cannot start")),
    };
    let outcome = runtime.block_on(async {
        let (trigger, shutdown) = Shutdown::new();
        let signals = tokio::spawn(watch_signals(trigger)?);
        let outcome = main(shutdown).await;
        signals.abort();
        outcome
    });
    // A thread blocked in a system call must not keep the process alive.
    runtime.shutdown_timeout(DRAIN);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(program, &error),
    }
}

pub(crate) fn fail(program: &str, error: &anyhow::Error) -> ExitCode {
    let exit = error.downcast_ref::<Exit>();
    if exit.is_none_or(|exit| exit.reason.is_some()) {
        // Nothing is left to do when standard error is gone as well.
        let _ = writeln!(std::io::stderr(), "{program}: {error:#}");
    }
    ExitCode::from(exit.map_or(1, |exit| exit.code))
}

#[cfg(unix)]
fn watch_signals(trigger: ShutdownTrigger) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = crate::signal::interrupts()?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut interrupts = 0;
        loop {
            tokio::select! {
                _ = interrupt.recv() => interrupts += 1,
                _ = terminate.recv() => {}
            }
            trigger.request();
            if interrupts > 1 {
                std::process::exit(INTERRUPTED);
            }
        }
    })
}

#[cfg(not(unix))]
fn watch_signals(trigger: ShutdownTrigger) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = crate::signal::interrupts()?;
    Ok(async move {
        let mut interrupts = 0;
        while interrupt.recv().await.is_some() {
            interrupts += 1;
            trigger.request();
            if interrupts > 1 {
                std::process::exit(INTERRUPTED);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    fn code(outcome: anyhow::Result<()>) -> String {
        format!("{:?}", run("test", |_| async { outcome }))
    }

    #[test]
    fn errors_choose_the_exit_code() {
        let (one, two) = (format!("{:?}", ExitCode::from(1)), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Err(anyhow::anyhow!("broken"))), one);
        assert_eq!(code(Err(Exit::silent(2).into())), two);
        assert_eq!(code(Err(Exit::silent(2)).context("while testing")), two);
        assert_eq!(code(Err(Exit::because(2, anyhow::anyhow!("misused")).into())), two);
        assert_eq!(code(Ok(())), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn an_exit_prints_its_causes_once() {
        let reason = anyhow::anyhow!("root").context("top");
        assert_eq!(format!("{:#}", anyhow::Error::new(Exit::because(2, reason))), "top: root");
    }
}
