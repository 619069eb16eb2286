//! The command line: which words are `mig`'s and which the module's.
//!
//! Global options stand before the module, or follow it and end at the first
//! unknown one; from there on
//! everything is the module's. The order matters because names collide
//! (`-t`, `-p`, `-c`), and it is what every script relies on. Long names that the
//! module does not have are accepted anywhere.

use mig_module::{DynModule, ParsedArgs, Registry, UsageError};
use serde_json::Value;

use crate::globals::{Globals, Known, known, known_long, split};
use crate::help;
use crate::tasks::{WORDS, Word};
use mig_terminal::failure::{Failure, code};

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    Usage {
        code: u8,
    },
    ModuleHelp(String),
    Version,
    Module {
        module: String,
        parameters: Value,
        globals: Box<Globals>,
        name: String,
    },
    File {
        path: String,
        globals: Box<Globals>,
    },
    /// A word beside the modules, and what follows it.
    Task(Vec<String>),
}

impl Invocation {
    /// Whether what `config.toml` says matters: help, and words that tell what is
    /// wrong with it, work without it.
    pub(crate) fn has_settings(&self) -> bool {
        const WITHOUT: [&str; 4] = ["config", "doctor", "completions", "man"];
        match self {
            Self::Usage { .. } | Self::ModuleHelp(_) | Self::Version => false,
            Self::Task(words) => words.first().is_none_or(|word| !WITHOUT.contains(&word.as_str())),
            Self::Module { .. } | Self::File { .. } => true,
        }
    }
}

pub(crate) fn parse(args: &[String], registry: &Registry) -> Result<Invocation, Failure> {
    // Options in front of everything, where the original has nothing.
    let mut globals = Box::<Globals>::default();
    let used = take_globals(args, &mut globals)?;
    let (front, args) = args.split_at_checked(used).unwrap_or((args, &[]));
    let Some((first, rest)) = args.split_first() else {
        return match front.first() {
            Some(option) => {
                let message = format!("a module, a word or -i must follow {option}");
                Err(Failure::usage(message).hint("mig help lists the modules"))
            }
            None => Ok(Invocation::Usage { code: code::OTHER }),
        };
    };
    match first.as_str() {
        "help" | "-h" | "-help" | "--help" => match rest.first() {
            Some(name) => Ok(Invocation::ModuleHelp(about(registry, name)?)),
            None => Ok(Invocation::Usage { code: 0 }),
        },
        "version" | "-V" | "--version" => Ok(Invocation::Version),
        "-i" | "--i" => file(rest, globals),
        option if option.starts_with('-') => {
            let message = format!("the first word must be a module, -i or help, not {option}");
            Err(Failure::usage(message).hint("mig help lists the modules"))
        }
        "run" => match rest.split_first() {
            Some((name, rest)) => {
                module(args.get(1..).unwrap_or_default(), find(registry, name)?, rest, globals)
            }
            None => Err(Failure::usage("run needs the name of a module")),
        },
        // The same as -i.
        "action" if rest.first().is_some_and(|verb| verb == "launch") => {
            file(rest.get(1..).unwrap_or_default(), globals)
        }
        name if word(name).is_some() => {
            // Behind everything; -o means a file to some words.
            let front = front.iter().map(|option| match split(option) {
                Some(("o", None)) => "--output".to_owned(),
                Some(("o", Some(value))) => format!("--output={value}"),
                _ => option.clone(),
            });
            Ok(Invocation::Task(args.iter().cloned().chain(front).collect()))
        }
        name => module(args, find(registry, name)?, rest, globals),
    }
}

fn word(name: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.name == name)
}

/// What `mig help <name>` prints.
fn about(registry: &Registry, name: &str) -> Result<String, Failure> {
    match word(name).map(|word| word.usage).or_else(|| help::topic(name)) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(find(registry, name)?.help()),
    }
}

fn find<'a>(registry: &'a Registry, name: &str) -> Result<&'a dyn DynModule, Failure> {
    registry.get(name).ok_or_else(|| {
        let failure = Failure::other(format!("Unknown module {name}"));
        let near = registry.names().into_iter().min_by_key(|known| distance(known, name));
        match near.filter(|known| distance(known, name) <= 2) {
            Some(known) => failure.hint(format!("did you mean {known}?")),
            None => failure.hint("mig help lists the modules"),
        }
    })
}

/// Edits that turn one word into another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(x != *y)).min(left + 1).min(above + 1);
            diagonal = *above;
            left = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// `mig -i <file> [global options]`.
fn file(rest: &[String], mut globals: Box<Globals>) -> Result<Invocation, Failure> {
    let Some((path, rest)) = rest.split_first() else {
        return Err(Failure::usage("option -i needs the path of an action file"));
    };
    let used = take_globals(rest, &mut globals)?;
    if let Some(stray) = rest.get(used) {
        return Err(stray_word(stray));
    }
    let fixed = ["t", "n", "z", "target-found", "target-notfound", "search"];
    if let Some(name) = globals.given_of(&fixed) {
        let message = format!("-{name} has no effect on an action from a file");
        return Err(Failure::usage(message).hint("change the file before anybody signs it"));
    }
    Ok(Invocation::File { path: path.clone(), globals })
}

/// `mig <global options> <module> <global options> <module parameters>`.
fn module(
    args: &[String],
    module: &dyn DynModule,
    rest: &[String],
    mut globals: Box<Globals>,
) -> Result<Invocation, Failure> {
    // `-json` is scribe's own; what no module means is found among its words later.
    let ahead = rest
        .iter()
        .position(|arg| matches!(split(arg), Some(("json", _))) && !arg.starts_with("--"));
    let used = take_globals(rest.get(..ahead.unwrap_or(rest.len())).unwrap_or(rest), &mut globals)?;
    let own = rest.get(used..).unwrap_or_default();
    match own.first().map(String::as_str) {
        Some("-V" | "--version") => return Ok(Invocation::Version),
        Some("-i") => {
            let message = "-i takes the place of a module: mig -i <file>";
            return Err(Failure::usage(message));
        }
        _ => {}
    }
    let mut parsed = own_parameters(module, own, &mut globals)?;
    if !globals.searches.is_empty() {
        let unlabelled = match parsed {
            ParsedArgs::Params(parameters) => Some(parameters),
            ParsedArgs::Help(_) if own.is_empty() => None,
            ParsedArgs::Help(text) => return Ok(Invocation::ModuleHelp(text)),
        };
        parsed = ParsedArgs::Params(labelled(module, unlabelled, &globals.searches)?);
    }
    Ok(match parsed {
        ParsedArgs::Help(text) => Invocation::ModuleHelp(text),
        ParsedArgs::Params(parameters) => Invocation::Module {
            module: module.name().to_owned(),
            parameters,
            name: globals.name.clone().unwrap_or_else(|| action_name(args)),
            globals,
        },
    })
}

/// One search of a command line among those with labels: what the module calls
/// it there.
const UNLABELLED: &str = "/searches/s1";

/// Parameters with several searches: each is written as on a command line of its
/// own, behind its label.
fn labelled(
    module: &dyn DynModule,
    unlabelled: Option<Value>,
    searches: &[String],
) -> Result<Value, Failure> {
    let mut all = unlabelled.unwrap_or_else(|| serde_json::json!({ "searches": {} }));
    for text in searches {
        let Some((label, words)) = text.split_once(':') else {
            let message = format!("--search must be <label>: <parameters>, not {text:?}");
            return Err(Failure::usage(message));
        };
        let label = label.trim();
        let failed = |reason: String| Failure::usage(format!("search {label:?}: {reason}"));
        let words = mig_client::search::split(words).map_err(|error| failed(error.to_string()))?;
        let one = match module.parse_args(&words) {
            Ok(ParsedArgs::Params(parameters)) => parameters,
            Ok(ParsedArgs::Help(_)) => return Err(failed("there are no parameters".to_owned())),
            Err(error) => return Err(failed(error.to_string())),
        };
        let search = one.pointer(UNLABELLED).cloned();
        let known = all.get_mut("searches").and_then(Value::as_object_mut);
        let (Some(search), Some(known)) = (search, known) else {
            return Err(Failure::usage(format!("{} has no searches with labels", module.name())));
        };
        if known.insert(label.to_owned(), search).is_some() {
            return Err(failed("the label is there twice".to_owned()));
        }
    }
    module.validate_json(&all).map_err(|error| Failure::usage(error.one_line()))?;
    Ok(all)
}

/// Takes global options from the front; returns how many words they were.
fn take_globals(rest: &[String], globals: &mut Globals) -> Result<usize, Failure> {
    let mut at = 0;
    while let Some(arg) = rest.get(at) {
        let Some(form) = known(arg) else { break };
        globals.take(arg, rest.get(at + 1).map(String::as_str))?;
        at += if form == Known::TakesNext { 2 } else { 1 };
    }
    Ok(at)
}

/// Hands the rest to the module, after taking long global options out of it.
///
/// A word after an option may be its value, so such words are left alone at
/// first and tried as options only when the module does not understand.
fn own_parameters(
    module: &dyn DynModule,
    own: &[String],
    globals: &mut Globals,
) -> Result<ParsedArgs, Failure> {
    // What the module understands as it stands is its own, `-json` of scribe, too.
    if let Ok(parsed) = module.parse_args(own) {
        return Ok(parsed);
    }
    let mut first_error = None;
    for greedy in [false, true] {
        let mut taken = globals.clone();
        let left = without_globals(own, &mut taken, greedy)?;
        match module.parse_args(&left) {
            Ok(parsed) => {
                *globals = taken;
                return Ok(parsed);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(explain(first_error, own))
}

fn without_globals(
    own: &[String],
    globals: &mut Globals,
    greedy: bool,
) -> Result<Vec<String>, Failure> {
    let mut left: Vec<String> = Vec::with_capacity(own.len());
    let mut at = 0;
    while let Some(arg) = own.get(at) {
        let may_be_value = left.last().is_some_and(|last| {
            matches!(split(last), Some((_, None))) && at > 0 && own.get(at - 1) == Some(last)
        });
        match known_long(arg) {
            Some(form) if greedy || !may_be_value => {
                globals.take(arg, own.get(at + 1).map(String::as_str))?;
                at += if form == Known::TakesNext { 2 } else { 1 };
            }
            _ => {
                left.push(arg.clone());
                at += 1;
            }
        }
    }
    Ok(left)
}

fn explain(error: Option<UsageError>, own: &[String]) -> Failure {
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    let global = own.iter().find(|arg| {
        known(arg).is_some()
            && split(arg).is_some_and(|(name, _)| message.contains(&format!("-{name}")))
    });
    let is_usage = message.starts_with("unexpected") || message.contains("word");
    let failure = Failure::new(if is_usage { code::USAGE } else { code::OTHER }, message);
    match global {
        Some(option) => {
            failure.hint(format!("{option} is an option of mig: put it right after the module"))
        }
        None => failure,
    }
}

fn stray_word(word: &str) -> Failure {
    Failure::usage(format!("unexpected word {word:?}"))
        .hint("quote values that contain blanks; options start with a dash")
}

/// The name an action gets from its command line: every word and a blank, cut
/// with dots once it is longer than 100 characters. The blank at the end is
/// part of the name, and signed.
fn action_name(args: &[String]) -> String {
    let mut name = String::new();
    let mut skip = false;
    for arg in args {
        // Paths of the investigator's own machine stay there.
        if std::mem::take(&mut skip) {
            continue;
        }
        match split(arg) {
            Some(("c" | "key" | "context" | "save", None)) => {
                skip = true;
                continue;
            }
            Some(("c" | "key" | "context" | "save", Some(_))) => continue,
            _ => {}
        }
        name.push_str(arg);
        name.push(' ');
        if name.chars().count() > 100 {
            name.push_str("...");
            break;
        }
    }
    // A separator of the signed string would make the signature ambiguous.
    for part in [";target=", ";validfrom=", ";expireafter=", ";operations="] {
        name = name.replace(part, &part.replace(';', ","));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::globals::Show;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn parsed(line: &str) -> Result<Invocation, Failure> {
        parse(&words(line), &mig_modules::registry())
    }

    fn launched(line: &str) -> (Value, Globals, String) {
        match parsed(line).unwrap() {
            Invocation::Module { parameters, globals, name, .. } => (parameters, *globals, name),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn stray_words_and_misplaced_options_are_errors() {
        for line in [
            "file -t x -path /etc passwd -name y",
            "file -p true -path /etc",
            "file -path /etc -e 60s",
            "fille -path /etc",
            "-path /etc",
            "-i",
            "-i file.json stray",
            "-i file.json -t x",
            "file -i x.json",
            "file -show some -path /etc",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        let late = parsed("file -path /etc -e 60s").unwrap_err();
        assert!(late.hint.unwrap().contains("right after the module"));
        assert_eq!(parsed("fille -path /etc").unwrap_err().hint.unwrap(), "did you mean file?");
    }

    #[test]
    fn global_options_end_at_the_first_unknown_one() {
        let (parameters, globals, _) =
            launched("file -t allonline -e 10m -show=all -path /etc -name -t");
        assert_eq!(globals.target.as_deref(), Some("allonline"));
        assert_eq!(globals.show, Show::All);
        assert_eq!(parameters["searches"]["s1"]["names"][0], "-t");
    }

    #[test]
    fn long_global_options_are_accepted_anywhere() {
        for line in [
            "file --json -path /etc -name x",
            "file -path /etc --json -name x",
            "file -path /etc -name x --json",
            "file -path /etc -matchany --json -name x",
        ] {
            let (parameters, globals, _) = launched(line);
            assert_eq!(globals.layout.given(), Some(mig_terminal::format::Format::Json), "{line}");
            assert_eq!(parameters["searches"]["s1"]["names"][0], "x", "{line}");
        }
        let (parameters, globals, _) = launched("file -path /etc -name --json");
        assert_eq!(parameters["searches"]["s1"]["names"][0], "--json");
        assert_eq!(globals.layout.given(), None);
    }

    #[test]
    fn several_searches_have_labels() {
        let registry = mig_modules::registry();
        let parsed = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            parse(&args, &registry)
        };
        for args in [
            &["file", "--search", "no label"][..],
            &["file", "--search", "a:"],
            &["file", "--search", "a: -name"],
            &["file", "--search", ": -path /etc"],
            &["file", "--search", "a:b: -path /etc"],
            &["file", "--search", "a: -path '/etc"],
            &["file", "--search", "a: -path /etc", "--search", "a : -path /usr"],
            &["file", "--search", "s1: -path /etc", "-path", "/etc"],
            &["netstat", "--search", "a: -lp 22"],
            &["-i", "act.json", "--search", "a: -path /etc"],
        ] {
            assert_eq!(parsed(args).unwrap_err().code, 2, "{args:?}");
        }
        for (args, labels) in [
            (
                &["file", "--search", "keys: -path '/a b' -name ^id_", "--search", "b: -path /x"][..],
                &["b", "keys"][..],
            ),
            (&["file", "-path", "/etc", "--search", "keys: -path /root"], &["keys", "s1"]),
            (&["memory", "--search", "sh: -name ^sh$"], &["sh"]),
        ] {
            let Invocation::Module { parameters, .. } = parsed(args).unwrap() else { panic!() };
            let searches = parameters["searches"].as_object().unwrap();
            assert_eq!(searches.keys().collect::<Vec<_>>(), labels, "{args:?}");
        }
        let line = ["file", "--search", "keys: -path '/a b' -name ^id_"];
        let Invocation::Module { parameters, .. } = parsed(&line).unwrap() else { panic!() };
        assert_eq!(parameters["searches"]["keys"]["paths"], serde_json::json!(["/a b"]));
        assert!(matches!(
            parsed(&["file", "--search", "a: -path /x", "-h"]).unwrap(),
            Invocation::ModuleHelp(_)
        ));
    }

    #[test]
    fn options_in_front_are_those_of_mig_and_no_part_of_the_name() {
        for line in [
            "-o json -t linux file -path /etc -name x",
            "--output=json file -t linux -path /etc -name x",
            "--json -o json run file -t linux -path /etc -name x --output json",
        ] {
            let (_, globals, name) = launched(line);
            assert_eq!(globals.layout.given(), Some(mig_terminal::format::Format::Json), "{line}");
            assert_eq!(globals.target.as_deref(), Some("linux"));
            assert!(name.starts_with("file "), "{name}");
        }
        for line in ["-o json file --csv -path /etc -name x", "-o json", "-o", "-o yaml file"] {
            assert_eq!(parsed(line).unwrap_err().code, 2, "{line}");
        }
        // To some words -o is a file.
        for line in ["-o json sign act.json", "-o=json sign act.json"] {
            let Invocation::Task(words) = parsed(line).unwrap() else { panic!("{line}") };
            assert!(words[..2] == ["sign", "act.json"] && words[2].starts_with("--output"));
        }
        assert!(matches!(parsed("-o json -i file.json").unwrap(), Invocation::File { .. }));
        // Not the modules' letters.
        let policy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), POLICY).unwrap();
        let line = format!("-o csv scribe -json -path {}", policy.path().display());
        let (parameters, globals, _) = launched(&line);
        assert_eq!(globals.layout.given(), Some(mig_terminal::format::Format::Csv));
        assert_eq!(parameters["jsonoutput"], true);
    }

    const POLICY: &str = r#"{
        "objects": [{ "object": "o", "raw": { "identifiers": [{ "identifier": "i", "value": "v" }] } }],
        "tests": [{ "test": "t", "object": "o", "exactmatch": { "value": "v" } }]
    }"#;

    #[test]
    fn no_module_has_an_option_that_is_accepted_anywhere() {
        let new = [
            "o",
            "output",
            "search",
            "columns",
            "sort",
            "no-header",
            "wide",
            "csv-safe",
            "quiet",
            "progress",
            "connect-timeout",
            "retry",
        ];
        for module in mig_modules::registry().iter() {
            let own = mig_terminal::manual::options(&module.help());
            for option in own {
                let name = option.trim_start_matches('-');
                assert!(!new.contains(&name), "{}: {option}", module.name());
            }
        }
    }

    #[test]
    fn the_first_module_parameter_keeps_its_value() {
        let (parameters, ..) = launched("file -path=/etc -name x");
        assert_eq!(parameters["searches"]["s1"]["paths"][0], "/etc");
    }

    #[test]
    fn options_of_a_module_may_be_spelled_like_global_ones_after_its_own() {
        let (parameters, globals, _) =
            launched("ping -e 10m -d 192.0.2.1 -dp 22 -p tcp -c 2 -t 0.5 --json");
        assert_eq!(
            parameters,
            serde_json::json!({ "destination": "192.0.2.1", "destinationport": 22,
                "protocol": "tcp", "count": 2, "timeout": 0.5 })
        );
        assert_eq!(globals.target, None);
        assert_eq!(globals.layout.given(), Some(mig_terminal::format::Format::Json));
    }

    #[test]
    fn names_are_the_words_with_a_blank_after_each() {
        let (_, _, name) = launched("file -path /etc -name ^passwd$");
        assert_eq!(name, "file -path /etc -name ^passwd$ ");
        let (_, _, name) = launched("file -c /home/me/.migrc -path /etc -name x");
        assert_eq!(name, "file -path /etc -name x ");
        let long = format!("file -path /{} -name a -name b", "x".repeat(120));
        let (_, _, name) = launched(&long);
        assert!(name.ends_with(" ...") && !name.contains("-name"), "{name}");
        let (_, _, name) = launched("file -path /etc -name a;target=b");
        assert!(!name.contains(";target="), "{name}");
    }

    #[test]
    fn words_beside_modules_are_never_modules() {
        let registry = mig_modules::registry();
        for word in WORDS.map(|word| word.name) {
            assert!(registry.get(word).is_none(), "{word}");
            assert_eq!(parsed(word).unwrap(), Invocation::Task(words(word)));
        }
        assert_eq!(launched("run file -path /etc -name x").2, "file -path /etc -name x ");
        assert!(parsed("run").is_err() && parsed("run sign").is_err());
    }

    #[test]
    fn help_is_asked_for_in_many_ways() {
        for line in ["help", "-h", "--help"] {
            assert_eq!(parsed(line).unwrap(), Invocation::Usage { code: 0 });
        }
        assert_eq!(parsed("").unwrap(), Invocation::Usage { code: 1 });
        for line in ["help file", "file", "file help", "file -h", "netstat"] {
            assert!(matches!(parsed(line).unwrap(), Invocation::ModuleHelp(_)), "{line}");
        }
        for line in ["version", "-V", "file -V"] {
            assert_eq!(parsed(line).unwrap(), Invocation::Version, "{line}");
        }
    }
}
