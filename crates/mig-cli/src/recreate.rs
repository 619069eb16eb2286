//! The command line that would ask the same question again.

use std::time::Duration;

use mig_module::{DynModule, ParsedArgs, Registry, compress};
use mig_terminal::failure::Failure;
use mig_types::{Action, Operation, duration, wire};
use serde_json::Value;

use crate::launch::DEFAULT_TARGET;

/// What a client adds to the validity of an action.
const ALLOWANCE: Duration = Duration::from_mins(1);
/// The validity that nobody has to ask for.
const USUAL: Duration = Duration::from_mins(5);
/// Largest parameters unpacked, in bytes.
const MAX_PARAMETERS: usize = 64 * 1024 * 1024;

/// Where a parameter is, below those of its module, and the option it comes from.
type Place = (&'static str, &'static str);

const FILE: [Place; 19] = [
    ("/searches/s1/paths", "path"),
    ("/searches/s1/names", "name"),
    ("/searches/s1/contents", "content"),
    ("/searches/s1/sizes", "size"),
    ("/searches/s1/modes", "mode"),
    ("/searches/s1/mtimes", "mtime"),
    ("/searches/s1/md5", "md5"),
    ("/searches/s1/sha1", "sha1"),
    ("/searches/s1/sha2", "sha2"),
    ("/searches/s1/sha3", "sha3"),
    ("/searches/s1/options/maxdepth", "maxdepth"),
    ("/searches/s1/options/maxerrors", "maxerrors"),
    ("/searches/s1/options/matchlimit", "matchlimit"),
    ("/searches/s1/options/matchall", "matchall"),
    ("/searches/s1/options/macroal", "macroal"),
    ("/searches/s1/options/mismatch", "mismatch"),
    ("/searches/s1/options/returnsha256", "returnsha256"),
    ("/searches/s1/options/decompress", "decompress"),
    ("/searches/s1/options/containers", "containers"),
];

const NETSTAT: [Place; 7] = [
    ("/localmac", "lm"),
    ("/neighbormac", "nm"),
    ("/localip", "li"),
    ("/neighborip", "ni"),
    ("/connectedip", "ci"),
    ("/listeningport", "lp"),
    ("/namespaces", "namespaces"),
];

const PING: [Place; 5] = [
    ("/destination", "d"),
    ("/destinationport", "dp"),
    ("/protocol", "p"),
    ("/count", "c"),
    ("/timeout", "t"),
];

const PKG: [Place; 3] =
    [("/pkgmatch/matches", "name"), ("/vermatch", "version"), ("/containers", "containers")];

const SSHKEY: [Place; 2] = [("/paths", "path"), ("/maxdepth", "maxdepth")];

const TIMEDRIFT: [Place; 1] = [("/drift", "drift")];

const MEMORY: [Place; 8] = [
    ("/searches/s1/names", "name"),
    ("/searches/s1/libraries", "lib"),
    ("/searches/s1/bytes", "bytes"),
    ("/searches/s1/contents", "content"),
    ("/searches/s1/options/offset", "offset"),
    ("/searches/s1/options/maxlength", "maxlength"),
    ("/searches/s1/options/logfailures", "logfailures"),
    ("/searches/s1/options/matchall", "matchall"),
];

fn places(module: &str) -> &'static [Place] {
    match module {
        "file" => &FILE,
        "netstat" => &NETSTAT,
        "ping" => &PING,
        "pkg" => &PKG,
        "sshkey" => &SSHKEY,
        "timedrift" => &TIMEDRIFT,
        "memory" => &MEMORY,
        _ => &[],
    }
}

/// The line, for a shell.
///
/// # Errors
///
/// [`Failure`] when no line says the same.
pub(crate) fn command(registry: &Registry, action: &Action) -> Result<String, Failure> {
    let cannot = |why: &str| {
        Failure::other(format!("no command line asks the same: {why}"))
            .hint(format!("mig action export {} prints a file for mig -i", action.id))
    };
    let [operation] = action.operations() else {
        return Err(cannot("it has more than one operation, or none"));
    };
    let module = registry.get(&operation.module).ok_or_else(|| cannot("the module is unknown"))?;
    let parameters = parameters(operation).map_err(|_| cannot("its parameters are damaged"))?;
    let own =
        options(module, &parameters).ok_or_else(|| cannot("its parameters have no options"))?;
    let mut words = vec!["mig".to_owned(), operation.module.clone()];
    let mut global = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if action.target != DEFAULT_TARGET {
        global("-t", action.target.clone());
    }
    let validity = action.expireafter.since(action.validfrom).saturating_sub(ALLOWANCE);
    if validity != USUAL && !validity.is_zero() {
        global("-e", duration::format(validity));
    }
    // Otherwise it is made of the line.
    if !action.name.starts_with(&format!("{} ", operation.module)) {
        global("-n", action.name.clone());
    }
    if operation.is_compressed || operation.want_compressed {
        words.push("-z".to_owned());
    }
    words.extend(own);
    Ok(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

fn parameters(operation: &Operation) -> Result<Value, compress::CompressError> {
    if operation.is_compressed {
        return compress::decompress_parameters(operation, MAX_PARAMETERS);
    }
    Ok(operation.parameters.clone())
}

/// The fewest options from which the module makes these parameters.
fn options(module: &dyn DynModule, parameters: &Value) -> Option<Vec<String>> {
    let wanted = wire::to_string(parameters).ok()?;
    let makes = |groups: &[Vec<String>]| {
        let Ok(ParsedArgs::Params(made)) = module.parse_args(&groups.concat()) else {
            return false;
        };
        wire::to_string(&made).is_ok_and(|made| made == wanted)
    };
    let mut groups: Vec<Vec<String>> = places(module.name())
        .iter()
        .filter_map(|(place, option)| Some(given(option, parameters.pointer(place)?)))
        .collect();
    if !makes(&groups) {
        return None;
    }
    let mut at = 0;
    while at < groups.len() {
        let group = groups.remove(at);
        if !makes(&groups) {
            groups.insert(at, group);
            at += 1;
        }
    }
    Some(groups.concat())
}

/// An option for each value that is there.
fn given(option: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(|value| given(option, value)).collect(),
        // What is empty is what nobody asked for.
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![format!("-{option}"), text.clone()],
        Value::Number(number) => vec![format!("-{option}"), number.to_string()],
        Value::Bool(on) => vec![format!("-{option}={on}")],
        _ => Vec::new(),
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Invocation, parse};
    use mig_types::Timestamp;

    /// The action of a line, as the client makes it.
    fn action(words: &[&str]) -> Action {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = parse(&words, &mig_modules::registry()).unwrap();
        let Invocation::Module { module, parameters, globals, name } = parsed else {
            panic!("{words:?}")
        };
        let mut operations = vec![Operation { module, parameters, ..Operation::default() }];
        operations[0].want_compressed = globals.compress;
        let mut action = Action {
            name,
            target: globals.target.unwrap_or_else(|| DEFAULT_TARGET.to_owned()),
            operations: Some(operations),
            ..Action::default()
        };
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        mig_client::launch::set_times(&mut action, now, globals.validity);
        crate::launch::squeeze(&mut action).unwrap();
        action
    }

    #[test]
    fn what_no_line_can_say_is_refused_with_another_way() {
        let registry = mig_modules::registry();
        let mut labelled = action(&["file", "-path", "/etc", "-name", "x"]);
        let operations = labelled.operations.as_mut().unwrap();
        let searches = operations[0].parameters["searches"].as_object_mut().unwrap();
        let search = searches.remove("s1").unwrap();
        searches.insert("other".into(), search);
        let mut two = action(&["pkg", "-name", "x"]);
        two.operations.as_mut().unwrap().push(Operation::default());
        for action in [labelled, two, Action::default()] {
            let failure = command(&registry, &action).unwrap_err();
            assert!(failure.hint.unwrap().contains("mig action export"));
        }
    }

    #[test]
    fn a_line_says_the_same_in_the_fewest_words() {
        let registry = mig_modules::registry();
        for (words, line) in [
            (
                &["file", "-path", "/etc", "-name", "^passwd$", "-maxdepth", "1000"][..],
                "mig file -path /etc -name '^passwd$'",
            ),
            (
                &[
                    "file",
                    "-t",
                    "name='a'",
                    "-e",
                    "1h",
                    "-z",
                    "-path",
                    "/a b",
                    "-content",
                    "it's",
                    "-matchany",
                    "-mismatch",
                    "name",
                    "-maxdepth",
                    "3",
                ],
                "mig file -t 'name='\\''a'\\''' -e 1h0m0s -z -path '/a b' -content 'it'\\''s' \
                 -maxdepth 3 -matchall=false -mismatch name",
            ),
            (&["netstat", "-lp", "22", "-lp", "80"], "mig netstat -lp 22 -lp 80"),
            (
                &["ping", "-d", "192.0.2.1", "-p", "tcp", "-dp", "22"],
                "mig ping -d 192.0.2.1 -dp 22 -p tcp",
            ),
            (&["pkg", "-name", "^bash$", "-version", "!5"], "mig pkg -name '^bash$' -version '!5'"),
            (&["timedrift", "-drift", "60s"], "mig timedrift -drift 60s"),
            (&["timedrift"], "mig timedrift"),
            (&["sshkey", "-path", "/root"], "mig sshkey -path /root"),
            (&["memory", "-name", "x", "-logfailures"], "mig memory -name x -logfailures=true"),
            (&["timedrift", "-n", "a name"], "mig timedrift -n 'a name'"),
        ] {
            let made = command(&registry, &action(words));
            assert_eq!(made.unwrap_or_else(|error| format!("{error:?}")), line, "{words:?}");
        }
    }
}
