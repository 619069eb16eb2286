//! `mig-action-verifier`: whether the signatures of an action are good.

use mig_client::signatures::{self, Keys};
use mig_module::args::{Flag, Kind, Options};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::canonical;
use mig_terminal::failure::{Failure, code, sentence};
use mig_terminal::files;
use mig_terminal::output::Output;
use mig_terminal::signatures::{all_good, line};
use mig_types::action::{ActionFault, SYNTAX_VERSION};
use mig_types::{Action, Command, Timestamp};

use crate::{finish, input, open, options};

const FLAGS: [Flag; 7] = [
    ("a", Kind::Text),
    ("c", Kind::Text),
    ("conf", Kind::Text),
    ("keyring", Kind::Text),
    ("from-api", Kind::Bool),
    ("canonical", Kind::Bool),
    ("V", Kind::Bool),
];

const USAGE: &str = "\
usage: mig-action-verifier -a <action file> | -c <command file> [options]

Says whether every signature is good and by a key that is known here. It says
nothing about what its signers may do.

    -a <file>        an action; - reads standard input
    -c <file>        a command, whose action is verified; - reads standard input
    -conf <file>     configuration [default: ~/.migrc]
    -keyring <file>  armored public keys, instead of the GnuPG key ring
    -from-api        ask the API for keys that are not known here
    -canonical       print the bytes that are signed, and nothing else
    -v               tell what is asked of the API, and what is behind an error
    -vv              and what goes there and comes back, without keys
    -V               print the version

exit status: 0 valid, 1 not valid, 2 misused or unreadable";

/// Runs one command line; the exit code travels in the error.
pub async fn run(args: &[String]) -> anyhow::Result<()> {
    let mut output = Output::new();
    let outcome = verify(args, &mut output).await;
    finish(outcome, &mut output)
}

async fn verify(args: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(given) = options(("mig-action-verifier", &FLAGS), args, USAGE, output)? else {
        return Ok(0);
    };
    let action: Action = match (given.text("a"), given.text("c")) {
        (Some(path), None) => input::read(path, "action")?,
        (None, Some(path)) => command(path)?,
        _ => {
            let message = "either an action file or a command file must be provided";
            return Err(Failure::usage(format!("{message}\n{USAGE}")));
        }
    };
    if given.boolean("canonical", false) {
        let bytes =
            canonical::action_string(&action).map_err(|error| Failure::of(code::OTHER, &error))?;
        output.text(&String::from_utf8_lossy(&bytes))?;
        return Ok(0);
    }
    let now = SystemClock.now();
    for complaint in complaints(&action, now) {
        output.line(&complaint)?;
    }
    let verdicts = judged(&action, &given, now, output).await?;
    // The line that scripts look for comes first.
    let valid = all_good(&verdicts);
    match verdicts.iter().find_map(|verdict| verdict.result.as_ref().err()) {
        _ if valid => output.line("Valid signature")?,
        Some(error) => output.line(&format!("[error] {}", sentence(error)))?,
        None => output.line("[error] action is not signed")?,
    }
    for (index, verdict) in verdicts.iter().enumerate() {
        output.line(&line(index + 1, verdict))?;
    }
    Ok(u8::from(!valid))
}

async fn judged(
    action: &Action,
    given: &Options,
    now: Timestamp,
    output: &mut Output,
) -> Result<Vec<signatures::Verdict>, Failure> {
    let mut keys = Keys::default();
    if let Some(path) = given.text("keyring") {
        let bytes = files::read(path, signatures::MAX_KEYS, code::USAGE)?;
        keys.given = signatures::keys_in(&bytes);
        if !given.boolean("from-api", false) {
            // Needs no configuration.
            return Ok(signatures::judge(action, &keys, now).await);
        }
    }
    let session = open(given.text("conf"), output).await?;
    if keys.given.is_empty() {
        keys.gnupg = Some(&session.config);
    }
    let asks = given.boolean("from-api", false);
    let api = asks.then(|| session.api_with_any_key("verifier")).transpose()?;
    keys.api = api.as_ref();
    Ok(signatures::judge(action, &keys, now).await)
}

/// The action of a command that says for whom it was.
fn command(path: &str) -> Result<Action, Failure> {
    let command: Command = input::read(path, "command")?;
    let missing = |what: &str| Failure::usage(format!("{path} holds no command: it has no {what}"));
    if command.agent.name.is_empty() {
        return Err(missing("agent name"));
    }
    if command.agent.queueloc.is_empty() {
        return Err(missing("agent queueloc"));
    }
    Ok(command.action)
}

/// What keeps an action from running, although it may be signed well.
fn complaints(action: &Action, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    let mut action = action.clone();
    if action.syntaxversion != SYNTAX_VERSION {
        let version = action.syntaxversion;
        notes
            .push(format!("note: wrong syntax version {version}, expected 2; it was not sent yet"));
        action.syntaxversion = SYNTAX_VERSION;
    }
    if now < action.validfrom {
        notes.push(format!("note: action is not valid before {}", action.validfrom));
    }
    match action.validate(now) {
        // That it is not signed is the verdict.
        Ok(()) | Err(ActionFault::Unsigned) => {}
        Err(fault) => notes.push(format!("note: {fault}")),
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_cannot_run_is_not_called_invalid() {
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        let action = Action {
            name: "n".into(),
            target: "t".into(),
            operations: Some(vec![]),
            expireafter: Timestamp::parse("2026-05-01T00:00:00Z").unwrap(),
            ..Action::default()
        };
        let notes = complaints(&action, now);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("note: wrong syntax version 0"), "{notes:?}");
        assert!(notes[1].contains("in the past"), "{notes:?}");
    }
}
