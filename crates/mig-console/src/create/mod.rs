//! Dialogs that create something.

pub(crate) mod investigator;
pub(crate) mod loader;
pub(crate) mod manifest;

use mig_terminal::failure::Failure;

use crate::completion::Scope;
use crate::console::Console;

/// Shortest name of anything.
const MIN_NAME: usize = 3;

/// Asks for a name until it is long enough; `None` when the dialog is left.
async fn ask_name(console: &mut Console) -> Result<Option<String>, Failure> {
    loop {
        let Some(name) = console.ask("name>", Scope::Nothing).await? else { return Ok(None) };
        if name.chars().count() >= MIN_NAME {
            return Ok(Some(name));
        }
        console.say("input name too short");
    }
}

/// Asks until the answer is yes or no; `None` when the dialog is left.
async fn ask_yes(console: &mut Console, question: &str) -> Result<Option<bool>, Failure> {
    loop {
        let question = format!("{question} (yes/no)>");
        let Some(answer) = console.ask(&question, Scope::Nothing).await? else {
            return Ok(None);
        };
        match answer.to_ascii_lowercase().as_str() {
            "yes" | "y" => return Ok(Some(true)),
            "no" | "n" => return Ok(Some(false)),
            _ => console.say("must specify yes or no"),
        }
    }
}
