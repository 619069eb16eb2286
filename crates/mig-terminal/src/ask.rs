//! A question to the person at the terminal.

use std::io::IsTerminal as _;

use crate::failure::{Failure, code};
use crate::output::Output;

/// Fails where nobody can be asked, and names what answers instead.
///
/// # Errors
///
/// [`Failure`] with the code for wrong usage.
pub fn person(option: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!("{option} is needed where nobody can be asked")))
}

/// One answer; without a person, the option that gives it. The end of the input
/// and ctrl-c end the dialog.
///
/// # Errors
///
/// [`Failure`] when nobody can be asked, or nobody answers.
pub async fn ask(question: &str, option: &str, output: &mut Output) -> Result<String, Failure> {
    person(option)?;
    // Before the question is seen: what is pressed from then on counts.
    let mut interrupts = mig_runtime::interrupts()
        .map_err(|error| Failure::other(format!("cannot wait for ctrl-c: {error}")))?;
    output.text(&format!("{question} "))?;
    let (send, receive) = tokio::sync::oneshot::channel();
    // Left behind when ctrl-c comes first: it ends with the program.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = send.send(read.map(|count| (count > 0).then_some(line)));
    });
    let interrupted = || Failure::new(code::INTERRUPTED, "interrupted, nothing was done");
    let read = tokio::select! {
        read = receive => read.map_err(|_| interrupted())?,
        _ = interrupts.recv() => {
            output.say("");
            return Err(interrupted());
        }
    };
    let line = read.map_err(|error| Failure::other(format!("cannot read the answer: {error}")))?;
    line.map(|line| line.trim().to_owned()).ok_or_else(interrupted)
}
