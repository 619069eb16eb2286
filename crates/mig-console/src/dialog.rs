//! The parameters of a module, asked for one by one.
//!
//! Any module can be asked: the words of the dialog are the options of its
//! command line, which is also what checks them.

use mig_module::text::printable;
use mig_module::{DynModule, ParsedArgs};
use mig_terminal::failure::Failure;
use serde_json::{Map, Value};

use crate::completion::Scope;
use crate::console::Console;
use crate::screen::complain;

/// Words of the original's dialogs that are no options.
const WORDS: [(&str, &str, &str); 8] = [
    ("netstat", "localmac", "lm"),
    ("netstat", "localip", "li"),
    ("netstat", "neighbormac", "nm"),
    ("netstat", "neighborip", "ni"),
    ("netstat", "connectedip", "ci"),
    ("netstat", "listeningport", "lp"),
    ("memory", "library", "lib"),
    ("memory", "byte", "bytes"),
];

/// Modules whose parameters are searches under labels.
const LABELLED: [&str; 2] = ["file", "memory"];

/// Parameters of that module as they travel; `None` when the dialog was left.
pub(crate) async fn parameters(
    console: &mut Console,
    module: &str,
) -> Result<Option<Value>, Failure> {
    if LABELLED.contains(&module) {
        return labelled(console, module).await;
    }
    if module == "timedrift" {
        console
            .say("drift> is the most a clock may be off, such as 5s; nothing only asks the time");
        let Some(drift) = console.ask("drift>", Scope::Nothing).await? else { return Ok(None) };
        let args = if drift.is_empty() || drift == "none" {
            Vec::new()
        } else {
            vec!["-drift".to_owned(), drift]
        };
        return read(find(console, module)?, &args).map(Some);
    }
    let prompt = if module == "ping" { "ping>" } else { "search>" };
    let Some(args) = ask(console, module, prompt).await? else { return Ok(None) };
    read(find(console, module)?, &args).map(Some)
}

/// Searches with a label each, until `done`.
async fn labelled(console: &mut Console, module: &str) -> Result<Option<Value>, Failure> {
    let mut searches = Map::new();
    console.say("Give each search a label, then its parameters; 'done' as label ends it.");
    loop {
        let Some(label) = console.ask("label>", Scope::Nothing).await? else { return Ok(None) };
        match label.as_str() {
            "" | "help" => {
                console.say("a label is a short name for one search, repeated in its results");
                continue;
            }
            "done" if searches.is_empty() => {
                console.say("there is no search yet");
                continue;
            }
            "done" => return Ok(Some(serde_json::json!({ "searches": searches }))),
            _ => {}
        }
        let prompt = format!("search '{}'>", printable(&label));
        let Some(args) = ask(console, module, &prompt).await? else { return Ok(None) };
        match read(find(console, module)?, &args)
            .and_then(|all| labelled_as(all, &label, console, module))
        {
            Ok(search) => {
                searches.insert(label.clone(), search);
                console.say(&format!("Stored search {}", printable(&label)));
            }
            Err(failure) => complain(&failure),
        }
    }
}

/// The one search of a command line, which must be good under its label, too.
fn labelled_as(
    mut parameters: Value,
    label: &str,
    console: &Console,
    module: &str,
) -> Result<Value, Failure> {
    let searches = parameters.get_mut("searches").and_then(Value::as_object_mut);
    let search = searches.and_then(|all| all.values_mut().next()).map(Value::take);
    let search = search.ok_or_else(|| Failure::other("the module has no searches"))?;
    let whole = serde_json::json!({ "searches": { label: search.clone() } });
    find(console, module)?
        .validate_json(&whole)
        .map_err(|error| Failure::usage(error.one_line()))?;
    Ok(search)
}

fn find<'a>(console: &'a Console, module: &str) -> Result<&'a dyn DynModule, Failure> {
    let unknown = || Failure::usage(format!("Module {module} is not available in this console..."));
    console.registry.get(module).ok_or_else(unknown)
}

/// Options, as if they stood on a command line, until `done`.
async fn ask(
    console: &mut Console,
    module: &str,
    prompt: &str,
) -> Result<Option<Vec<String>>, Failure> {
    console.say("One parameter a line; 'help' lists them, 'undo' drops the last, 'done' ends.");
    let mut given: Vec<Vec<String>> = Vec::new();
    loop {
        let Some(line) = console.ask(prompt, Scope::Nothing).await? else { return Ok(None) };
        match line.as_str() {
            "" => {}
            "done" => return Ok(Some(given.concat())),
            "help" => {
                let help = find(console, module)?.help();
                console.say(help.trim_end());
            }
            "undo" => match given.pop() {
                Some(last) => console.say(&format!("Dropped {}", printable(&last.join(" ")))),
                None => console.say("there is nothing to drop"),
            },
            _ => match option(find(console, module)?, &line) {
                Ok(words) => {
                    let value = words.get(1).map_or("true", String::as_str);
                    let name = line.split_whitespace().next().unwrap_or_default();
                    console.say(&format!(
                        "Stored {} '{}'. Enter another one or 'done'.",
                        printable(name.trim_start_matches('-')),
                        printable(value)
                    ));
                    given.push(words);
                }
                Err(failure) => complain(&failure),
            },
        }
    }
}

/// `name value` as option and value; whether it makes sense alone is checked
/// with the others.
fn option(module: &dyn DynModule, line: &str) -> Result<Vec<String>, Failure> {
    let (name, value) = match line.split_once(char::is_whitespace) {
        Some((name, value)) => (name, Some(value.trim())),
        None => (line, None),
    };
    let name = name.trim_start_matches('-');
    let word = WORDS.iter().find(|(of, word, _)| *of == module.name() && *word == name);
    let name = word.map_or(name, |(_, _, option)| *option);
    let mut words = vec![format!("-{name}")];
    words.extend(value.map(str::to_owned));
    match module.parse_args(&words) {
        Ok(_) => Ok(words),
        Err(error) => {
            let text = error.to_string();
            // `-matchall true` in the words of a command line.
            if text.starts_with("unexpected argument")
                && let Some(value) = value
            {
                return option(module, &format!("{name}={value}"));
            }
            let wrong =
                ["flag provided", "flag needs", "invalid value", "invalid boolean", "bad flag"];
            if wrong.iter().any(|start| text.starts_with(start)) {
                let text =
                    text.replace("flag provided but not defined: -", "there is no parameter ");
                return Err(Failure::usage(text).hint("'help' lists the parameters"));
            }
            // The rest may be missing only as yet.
            Ok(words)
        }
    }
}

fn read(module: &dyn DynModule, args: &[String]) -> Result<Value, Failure> {
    match module.parse_args(args) {
        Ok(ParsedArgs::Params(parameters)) => Ok(parameters),
        Ok(ParsedArgs::Help(_)) => Err(Failure::usage("no parameter was given")),
        Err(error) => {
            let reason = format!("Parameters creation failed with error: {error}");
            Err(Failure::usage(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(module: &str, line: &str) -> Result<Vec<String>, String> {
        let registry = mig_modules::registry();
        option(registry.get(module).unwrap(), line).map_err(|failure| failure.message)
    }

    #[test]
    fn unknown_words_and_missing_values_are_refused_at_once() {
        for (module, line) in [
            ("file", "colour red"),
            ("file", "path"),
            ("netstat", "connected"),
            ("file", "maxdepth many"),
            ("file", "matchall maybe"),
        ] {
            assert!(parsed(module, line).is_err(), "{module}: {line}");
        }
    }

    #[test]
    fn words_are_options_with_or_without_dash_and_the_originals_words() {
        for (module, line, words) in [
            ("file", "path /etc/my dir", vec!["-path", "/etc/my dir"]),
            ("file", "-name ^passwd$", vec!["-name", "^passwd$"]),
            ("file", "matchany", vec!["-matchany"]),
            ("file", "matchall false", vec!["-matchall=false"]),
            ("netstat", "connectedip 203.0.113.0/24", vec!["-ci", "203.0.113.0/24"]),
            ("netstat", "listeningport 22", vec!["-lp", "22"]),
            ("ping", "d 192.0.2.1", vec!["-d", "192.0.2.1"]),
            ("pkg", "version 1.2", vec!["-version", "1.2"]),
        ] {
            assert_eq!(parsed(module, line).unwrap(), words, "{module}: {line}");
        }
    }
}
