//! The file of rules.

mod encode;
mod field;
mod watch;

use std::io::{self, Read as _};
use std::path::Path;

use mig_host::fs::{Kind, metadata, open_file};
use mig_types::wire;
use serde::Deserialize;
use serde_json::Value;

use encode::{Action, List, Rule, op};

use crate::tables::Processor;
use crate::users::Users;

/// Largest file of rules.
const MAX_BYTES: u64 = 4 << 20;
/// Most rules of one file.
const MAX_RULES: usize = 10_000;

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    #[error("cannot read the rules of {path}")]
    Unreadable { path: String, source: io::Error },
    #[error("the rules of {path} have more than {MAX_BYTES} bytes")]
    TooLarge { path: String },
    #[error("{path} is no document of rules")]
    NoDocument { path: String, source: wire::WireError },
    #[error("{path} has more than {MAX_RULES} rules")]
    TooMany { path: String },
    #[error("rule {number} of {path}: {reason}")]
    Invalid { path: String, number: usize, reason: String },
}

/// What the kernel gets, and what was left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The number of a rule in the file, counted from 1, and its bytes.
    pub(crate) rules: Vec<(usize, Vec<u8>)>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    audit_rules: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Watch {
    path: String,
    permission: String,
    key: String,
    strict_path_check: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Calls {
    syscalls: Vec<Value>,
    actions: Vec<String>,
    fields: Vec<FieldOf>,
    key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldOf {
    name: String,
    op: String,
    value: Value,
}

/// What a path is now.
type Look<'l> = &'l dyn Fn(&str) -> io::Result<Kind>;

/// Reads a file of rules.
///
/// # Errors
///
/// Why not; nothing of it counts then.
pub(crate) fn load(path: &str, users: &Users) -> Result<Rules, RulesError> {
    let unreadable = |source| RulesError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = open_file(Path::new(path)).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(RulesError::TooLarge { path: path.to_owned() });
    }
    let look = |path: &str| metadata(Path::new(path), true).map(|found| found.kind);
    read(path, &bytes, users, &look)
}

fn read(path: &str, bytes: &[u8], users: &Users, look: Look<'_>) -> Result<Rules, RulesError> {
    let file: File = wire::from_slice(bytes)
        .map_err(|source| RulesError::NoDocument { path: path.to_owned(), source })?;
    if file.audit_rules.len() > MAX_RULES {
        return Err(RulesError::TooMany { path: path.to_owned() });
    }
    let mut rules = Rules::default();
    for (index, value) in file.audit_rules.into_iter().enumerate() {
        let number = index + 1;
        let invalid = |reason| RulesError::Invalid { path: path.to_owned(), number, reason };
        match rule(value, users, look).map_err(invalid)? {
            Ok(rule) => rules.rules.push((number, rule.to_bytes())),
            Err(warning) => rules.warnings.push(format!("rule {number}: {warning}")),
        }
    }
    Ok(rules)
}

/// A rule, or why it is skipped.
///
/// # Errors
///
/// Why the file is no good.
fn rule(value: Value, users: &Users, look: Look<'_>) -> Result<Result<Rule, String>, String> {
    let Some(keys) = value.as_object() else { return Err("is no object".to_owned()) };
    let is_watch = keys.keys().any(|key| key.eq_ignore_ascii_case("path"));
    let odd = |error: wire::WireError| format!("is not understood: {error}");
    if is_watch {
        watch(&wire::from_value(value).map_err(odd)?, look)
    } else {
        calls(&wire::from_value(value).map_err(odd)?, users).map(Ok)
    }
}

fn watch(given: &Watch, look: Look<'_>) -> Result<Result<Rule, String>, String> {
    let path = watch::checked(&given.path)?;
    let permissions = watch::permissions(&given.permission)?;
    let is_directory = match look(path) {
        Ok(kind) => kind == Kind::Directory,
        Err(error) => {
            let reason = format!("path {path}: {}", mig_host::fs::reason(&error));
            return if given.strict_path_check { Err(reason) } else { Ok(Err(reason)) };
        }
    };
    let mut rule = Rule::new(List::Exit, Action::Always);
    rule.add_every_call();
    let what = if is_directory { field::DIR } else { field::PATH };
    field::room(rule.add_text(what, path, op::EQUAL))?;
    field::room(rule.add_field(field::PERM, permissions, op::EQUAL))?;
    add_key(&mut rule, &given.key)?;
    Ok(Ok(rule))
}

fn calls(given: &Calls, users: &Users) -> Result<Rule, String> {
    let (list, action) = place(&given.actions)?;
    let mut rule = Rule::new(list, action);
    let texts: Vec<(String, &FieldOf)> =
        given.fields.iter().map(|field| (text(&field.value), field)).collect();
    // Names of calls are those of the processor the rule is about.
    let arch = texts.iter().find(|(_, field)| field.name == "arch" && field.op == "eq");
    let processor = match arch {
        Some((value, _)) => Processor::of_number(field::arch(value)?),
        None => Processor::own(),
    };
    for call in &given.syscalls {
        add_call(&mut rule, &text(call), processor)?;
    }
    for (value, field) in &texts {
        let given_field = field::Given { name: &field.name, op: &field.op, value };
        field::add(&mut rule, &given_field, !given.syscalls.is_empty(), users)?;
    }
    if !given.key.is_empty() && given.syscalls.is_empty() && !rule.has(&[field::PATH, field::DIR]) {
        return Err("a key needs a system call or a watch".to_owned());
    }
    add_key(&mut rule, &given.key)?;
    Ok(rule)
}

/// The list and the action, whose words come in any order.
fn place(words: &[String]) -> Result<(List, Action), String> {
    let (mut list, mut action) = (None, None);
    for word in words {
        match word.as_str() {
            "always" => action = Some(Action::Always),
            "never" => action = Some(Action::Never),
            "possible" => {
                return Err("the kernel knows no action possible any more; say always".to_owned());
            }
            // The kernel has no list of entries any more.
            "exit" | "entry" => list = Some(List::Exit),
            "task" => list = Some(List::Task),
            "user" => list = Some(List::User),
            "exclude" => list = Some(List::Exclude),
            other => return Err(format!("{other:?} in actions is neither an action nor a list")),
        }
    }
    let list = list.ok_or("actions names no list: exit, task, user or exclude")?;
    Ok((list, action.ok_or("actions names no action: always or never")?))
}

fn add_call(rule: &mut Rule, call: &str, processor: Option<Processor>) -> Result<(), String> {
    if call == "all" {
        rule.add_every_call();
        return Ok(());
    }
    let named = processor.and_then(|processor| processor.call_number(call));
    let Some(number) = named.or_else(|| call.parse().ok()) else {
        let of = processor.map_or("a processor without a table", |processor| processor.name);
        return Err(format!("system call {call:?} is not known on {of}"));
    };
    if rule.add_call(number) { Ok(()) } else { Err(format!("there is no system call {call}")) }
}

fn add_key(rule: &mut Rule, key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Ok(());
    }
    field::check_key(key)?;
    field::room(rule.add_text(field::KEY, key, op::EQUAL))
}

/// Values are written as numbers or as texts.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Go writes large numbers this way.
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.as_i64().is_none() && float.fract() == 0.0 => format!("{float}"),
            _ => number.to_string(),
        },
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// `/etc` is a directory, `/missing` is not there, everything else is a file.
    fn looked(path: &str) -> io::Result<Kind> {
        match path {
            "/etc" => Ok(Kind::Directory),
            "/missing" => Err(io::Error::from_raw_os_error(2)),
            _ => Ok(Kind::File),
        }
    }

    fn read_rules(rules: &Value) -> Result<Rules, String> {
        let users = Users::read("root:x:0:0::/:\nbob:x:1000:1::/:\n");
        let document = json!({ "audit_rules": rules, "delete": true, "rate": "500" });
        let bytes = serde_json::to_vec(&document).unwrap();
        read("/r.json", &bytes, &users, &looked).map_err(|error| error.to_string())
    }

    /// What `auditctl` 3.0.9 sent to a kernel of x86-64 for each of its command
    /// lines: command, the same rule for us, words that are not zero, texts.
    const SENT: &str = include_str!("../../tests/data/rules.txt");

    #[test]
    #[cfg(all(target_arch = "x86_64", target_endian = "little"))]
    fn rules_are_the_bytes_that_auditctl_sends() {
        let mut compared = 0;
        for entry in SENT.split("\nauditctl ") {
            let mut lines = entry.trim_start_matches("auditctl ").lines();
            let command = lines.next().unwrap();
            let rule: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            let mut words = [0_u32; 260];
            for word in lines.next().unwrap().split(' ') {
                let (at, value) = word.split_once('=').unwrap();
                let (first, last) = at.split_once('-').unwrap_or((at, at));
                let value = u32::from_str_radix(value, 16).unwrap();
                words[first.parse().unwrap()..=last.parse().unwrap()].fill(value);
            }
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend(hex::decode(lines.next().unwrap_or_default()).unwrap());
            let read = read_rules(&json!([rule])).unwrap();
            assert_eq!(read.rules, [(1, bytes)], "auditctl {command}");
            compared += 1;
        }
        assert_eq!(compared, 11);
    }

    #[test]
    fn names_of_calls_are_those_of_the_processor() {
        for (arch, call) in [("aarch64", 221), ("x86_64", 59), ("i386", 11)] {
            let fields = json!([{ "name": "arch", "op": "eq", "value": arch }]);
            let rule = |call: Value| json!([{ "syscalls": [call], "actions": ["exit", "always"], "fields": fields }]);
            let named = read_rules(&rule(json!("execve"))).unwrap();
            assert_eq!(named, read_rules(&rule(json!(call))).unwrap(), "{arch}");
        }
        let of_none = json!([{ "syscalls": ["open"], "actions": ["exit", "always"],
            "fields": [{ "name": "arch", "op": "eq", "value": "aarch64" }] }]);
        let told = read_rules(&of_none).unwrap_err();
        assert!(told.ends_with("system call \"open\" is not known on arm64"), "{told}");
    }

    #[test]
    fn a_watch_of_what_is_missing_is_skipped_unless_it_is_strict() {
        let watch = json!({ "path": "/missing", "permission": "w" });
        let rules = read_rules(&json!([watch, { "path": "/etc", "permission": "r" }])).unwrap();
        assert_eq!(rules.warnings, ["rule 1: path /missing: no such file or directory"]);
        assert_eq!(rules.rules.len(), 1);
        let told = read_rules(&json!([{ "Path": "/missing", "permission": "w",
            "strict_path_check": true }]));
        let told = told.unwrap_err();
        assert_eq!(told, "rule 1 of /r.json: path /missing: no such file or directory");
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_rule() {
        let good = json!({ "path": "/f", "permission": "w" });
        for (rule, reason) in [
            (json!(7), "is no object"),
            (json!({ "path": 7 }), "is not understood"),
            (json!({ "path": "f", "permission": "w" }), "has to be absolute"),
            (json!({ "path": "/f" }), "1 to 4 letters of rwxa"),
            (json!({ "path": "/f", "permission": "w", "key": "k".repeat(257) }), "257 bytes"),
            (json!({}), "names no list"),
            (json!({ "actions": ["exit"] }), "names no action"),
            (json!({ "actions": ["always"] }), "names no list"),
            (json!({ "actions": ["exit", "possible"] }), "no action possible"),
            (json!({ "actions": ["exit", "sometimes"] }), "\"sometimes\" in actions"),
            (json!({ "actions": ["exit", "always"], "syscalls": ["opn"] }), "system call \"opn\""),
            (json!({ "actions": ["exit", "always"], "syscalls": [2048] }), "no system call 2048"),
            (json!({ "actions": ["task", "always"], "key": "k" }), "a key needs"),
            (
                json!({ "actions": ["exit", "always"], "syscalls": ["read"],
                    "fields": vec![json!({ "name": "pid", "op": "eq", "value": 1 }); 64] }),
                "more than 63 fields",
            ),
            (
                json!({ "actions": ["exit", "always"], "syscalls": ["read"],
                    "fields": [{ "name": "pid", "op": "equals", "value": 1 }] }),
                "operator \"equals\" is not known",
            ),
        ] {
            let told = read_rules(&json!([good, rule])).unwrap_err();
            assert!(told.starts_with("rule 2 of /r.json: "), "{told}");
            assert!(told.contains(reason), "{rule}: {told}");
        }
        for document in ["", "[]", "{\"audit_rules\":7}"] {
            let users = Users::default();
            let told = read("/r.json", document.as_bytes(), &users, &looked).unwrap_err();
            assert!(told.to_string().contains("no document"), "{document}: {told}");
        }
    }

    #[test]
    fn numbers_may_be_written_as_go_writes_them() {
        for value in [json!(3_221_225_534_u32), json!(3.221_225_534e9), json!("0xc000003e")] {
            let rule = json!([{ "syscalls": ["execve"], "actions": ["exit", "always"],
                "fields": [{ "name": "arch", "op": "eq", "value": value }] }]);
            assert!(read_rules(&rule).is_ok(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_document_panics(text in "\\PC{0,80}", word in "[a-z_]{0,9}", value in "\\PC{0,9}") {
            let _ = read("/r", text.as_bytes(), &Users::default(), &looked);
            let _ = read_rules(&json!([{ "syscalls": [value], "actions": ["exit", "always"],
                "fields": [{ "name": word, "op": "eq", "value": value }] }]));
        }
    }
}
