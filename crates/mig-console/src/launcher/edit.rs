//! The whole action in the editor of whoever writes it.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use mig_client::search::split;
use mig_module::text::printable;
use mig_module::{Registry, compress};
use mig_terminal::failure::{Failure, code, sentence};
use mig_terminal::text::pretty;
use mig_types::{Action, Target, wire};
use tokio::process::Command;

use super::MAX_FILE;
use super::draft::{Draft, MAX_PARAMETERS};
use crate::console::Console;
use crate::screen::complain;

/// Started when neither `VISUAL` nor `EDITOR` says otherwise.
const USUAL: &str = if cfg!(windows) { "notepad" } else { "vi" };

/// Opens the action, and takes it back when it makes sense; until then the
/// draft stays as it is. Returns how many signatures that cost.
pub(super) async fn run(console: &mut Console, draft: &mut Draft) -> Result<usize, Failure> {
    let text = pretty(&open_up(&draft.action)?, "    ")
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?;
    // As it reads, so that only what somebody changed is a change.
    let before: Action =
        wire::from_slice(text.as_bytes()).map_err(|error| Failure::of(code::OTHER, &error))?;
    let unwritten = |error: std::io::Error| Failure::other(format!("cannot write a file: {error}"));
    // Readable for nobody else, and gone at the end.
    let folder = private_folder().map_err(unwritten)?;
    let path = folder.path().join("action.json");
    std::fs::write(&path, text + "\n").map_err(unwritten)?;
    loop {
        let words = editor()?;
        edit(&words, &path, console.editor.has_terminal()).await?;
        match read(&path, &console.registry) {
            Ok(after) if after == before => {
                console.say("[notice] nothing was changed");
                return Ok(0);
            }
            Ok(after) => return Ok(draft.replace(&before, after)),
            Err(failure) => complain(&failure),
        }
        if !console.confirm("edit it again?").await? {
            console.say("abort, the action is as it was");
            return Ok(0);
        }
    }
}

fn private_folder() -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("mig-action-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
    }
    builder.tempdir()
}

/// The action as people read it: parameters are not compressed, but will be.
fn open_up(action: &Action) -> Result<Action, Failure> {
    let mut action = action.clone();
    action.pgpsignatures.clear();
    for operation in action.operations.iter_mut().flatten() {
        if operation.is_compressed {
            operation.parameters = compress::decompress_parameters(operation, MAX_PARAMETERS)
                .map_err(|error| Failure::of(code::OTHER, &error))?;
            operation.is_compressed = false;
            operation.want_compressed = true;
        }
    }
    Ok(action)
}

/// Program and arguments.
fn editor() -> Result<Vec<String>, Failure> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    let line = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| USUAL.to_owned());
    split(&line).map_err(|error| Failure::usage(format!("EDITOR: {error}")))
}

async fn edit(words: &[String], path: &Path, has_terminal: bool) -> Result<(), Failure> {
    let Some((program, args)) = words.split_first() else {
        return Err(Failure::usage("EDITOR names no program"));
    };
    let shown = printable(program);
    let mut command = Command::new(program);
    command.args(args).arg(path).kill_on_drop(true);
    if !has_terminal {
        // The lines of a pipe are orders.
        command.stdin(Stdio::null());
    }
    let status = command.status().await.map_err(|error| {
        Failure::other(format!("cannot start the editor {shown}: {error}"))
            .hint("set EDITOR to the program you edit with")
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::other(format!("the editor {shown} ended with {status}; nothing was changed")))
}

/// What was written, if it is an action that can be sent one day.
fn read(path: &Path, registry: &Registry) -> Result<Action, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::other(format!("cannot read {} again: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::other(format!("the action is larger than {MAX_FILE} bytes")));
    }
    let action: Action = wire::from_slice(&bytes)
        .map_err(|error| Failure::usage(format!("that is no action: {}", sentence(&error))))?;
    if !action.target.is_empty() {
        action.target.parse::<Target>().map_err(|error| {
            let target = printable(&action.target);
            Failure::usage(format!("the target is refused at {error}: {target}"))
        })?;
    }
    for (number, operation) in action.operations().iter().enumerate() {
        let name = printable(&operation.module);
        let module = registry.get(&operation.module).ok_or_else(|| {
            Failure::usage(format!("operation {number}: there is no module {name:?}"))
        })?;
        if !operation.is_compressed {
            module.validate_json(&operation.parameters).map_err(|error| {
                Failure::usage(format!("operation {number}, {name}: {}", error.one_line()))
            })?;
        }
    }
    Ok(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_sent_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("action.json");
        let registry = mig_modules::registry();
        for (text, reason) in [
            ("", "that is no action"),
            ("{\"name\": }", "line 1"),
            (r#"{"target": "name ="}"#, "the target is refused"),
            (r#"{"operations": [{"module": "nosuch"}]}"#, "operation 0: there is no module"),
            (
                r#"{"operations": [{"module": "ping", "parameters": {"protocol": "smoke"}}]}"#,
                "operation 0, ping: ",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = read(&path, &registry).unwrap_err();
            assert!(failure.message.contains(reason), "{text}: {}", failure.message);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, &registry).unwrap_err().message.contains("again"));
        std::fs::write(&path, r#"{"name": "n", "operations": null}"#).unwrap();
        assert_eq!(read(&path, &registry).unwrap().name, "n");
    }
}
