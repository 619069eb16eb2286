//! What Tab offers.

use std::collections::{BTreeMap, VecDeque};

use mig_client::search::{KEYS, Kind};
use rustyline::Context;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

/// Identifiers remembered of each kind.
const MAX_IDS: usize = 500;

/// Names offered from one directory.
const MAX_FILES: usize = 200;

/// Where the cursor is: which orders make sense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A question with an answer of its own.
    #[default]
    Nothing,
    /// A question for a file.
    File,
    Top,
    Action,
    Launcher,
    Command,
    Agent,
    Investigator,
    Manifest,
    Loader,
}

impl Scope {
    const fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Nothing | Self::File => &[],
            Self::Top => &[
                "action",
                "agent",
                "command",
                "create",
                "exit",
                "help",
                "history",
                "investigator",
                "loader",
                "manifest",
                "query",
                "search",
                "showcfg",
                "status",
            ],
            Self::Action => &[
                "command",
                "copy",
                "counters",
                "details",
                "exit",
                "help",
                "investigators",
                "json",
                "list",
                "r",
                "results",
                "times",
            ],
            Self::Launcher => &[
                "addoperation",
                "check",
                "compress",
                "deloperation",
                "details",
                "edit",
                "exit",
                "help",
                "json",
                "launch",
                "listagents",
                "load",
                "save",
                "setdescription",
                "setname",
                "settarget",
                "setthreat",
                "settimes",
                "sign",
                "times",
            ],
            Self::Command => &["exit", "help", "json", "r", "results"],
            Self::Agent => &["details", "exit", "help", "json", "lastactions", "r"],
            Self::Investigator => &[
                "apikey",
                "details",
                "exit",
                "help",
                "lastactions",
                "pubkey",
                "r",
                "setadmin",
                "setperms",
                "setstatus",
                "showperms",
            ],
            Self::Manifest => &[
                "disable", "entry", "exit", "fetch", "help", "json", "loaders", "r", "reset",
                "shasum", "sign",
            ],
            Self::Loader => &["disable", "enable", "exit", "expectenv", "help", "json", "key", "r"],
        }
    }
}

/// Knows what was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    pub(crate) scope: Scope,
    modules: Vec<String>,
    macros: Vec<String>,
    ids: BTreeMap<&'static str, VecDeque<String>>,
}

impl Helper {
    /// Knows these modules and macros from the start.
    pub(crate) fn new(modules: Vec<String>, macros: Vec<String>) -> Self {
        Self { modules, macros, ..Self::default() }
    }

    /// Remembers an identifier that was shown.
    pub(crate) fn saw(&mut self, kind: Kind, id: &str) {
        let ids = self.ids.entry(kind.as_str()).or_default();
        ids.retain(|known| known != id);
        ids.push_front(id.to_owned());
        ids.truncate(MAX_IDS);
    }

    /// What may stand where the cursor is, after `before` on its line.
    fn candidates(&self, before: &[&str], word: &str) -> Vec<String> {
        let fixed = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let seen = |kind: Kind| {
            let ids = self.ids.get(kind.as_str());
            ids.into_iter().flatten().cloned().collect::<Vec<_>>()
        };
        let Some(order) = before.first() else {
            return if self.scope == Scope::File {
                files(word)
            } else {
                fixed(self.scope.orders())
            };
        };
        match (self.scope, *order, before.len()) {
            (Scope::Top, "search", 1) => fixed(&Kind::ALL.map(Kind::as_str)),
            (Scope::Top, "search", 2) => fixed(&["where"]),
            (Scope::Top, "search", _) => search_words(before, word),
            (Scope::Top, "create", 1) => fixed(&["action", "investigator", "loader", "manifest"]),
            (Scope::Top, order, 1) => Kind::parse(order).map(seen).unwrap_or_default(),
            (Scope::Action, "command", 1) => seen(Kind::Command),
            (Scope::Action, "list" | "results", 1) => fixed(&["all", "found", "notfound"]),
            (Scope::Action, "list", _) => fixed(&["|", "grep", "-v"]),
            (Scope::Action, "results", 2) => fixed(&["text"]),
            (Scope::Launcher, "addoperation", 1) => self.modules.clone(),
            (Scope::Launcher, "settarget", _) => self.macros.clone(),
            (Scope::Launcher, "settimes", 1) => fixed(&["now"]),
            (Scope::Launcher, "compress", 1) | (Scope::Investigator, "setadmin", 1) => {
                fixed(&["true", "false"])
            }
            (Scope::Launcher, "launch", 1) => fixed(&["nofollow"]),
            (Scope::Launcher, "json", 1) => fixed(&["pack"]),
            (Scope::Launcher, "load" | "save", 1) | (Scope::Manifest, "fetch", 1) => files(word),
            (Scope::Command, "results", 1) => fixed(&["found"]),
            (Scope::Agent, "json", 1) => fixed(&["pretty"]),
            (Scope::Investigator, "setstatus" | "apikey", 1) => fixed(&["active", "disabled"]),
            (Scope::Investigator, "setperms", _) => {
                fixed(&["PermManifest", "PermLoader", "PermAdmin"])
            }
            _ => Vec::new(),
        }
    }
}

/// Keys of a search, their values where there are few of them, and `and`.
fn search_words(before: &[&str], word: &str) -> Vec<String> {
    let kind = before.get(1).and_then(|kind| Kind::parse(kind));
    if word.starts_with("status=") {
        let all = kind.map(Kind::statuses).unwrap_or_default();
        return all.iter().map(|status| format!("status={status}")).collect();
    }
    let mut words: Vec<String> = KEYS.iter().map(|key| format!("{key}=")).collect();
    words.push("and".to_owned());
    words
}

/// Files and folders that begin like this.
fn files(word: &str) -> Vec<String> {
    let (folder, shown) = match word.rsplit_once('/') {
        Some(("", _)) => ("/", "/".to_owned()),
        Some((folder, _)) => (folder, format!("{folder}/")),
        None => (".", String::new()),
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let end = if entry.path().is_dir() { "/" } else { "" };
        Some(format!("{shown}{name}{end}"))
    });
    named.filter(|name| name.starts_with(word)).take(MAX_FILES).collect()
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, word) = typed.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        let mut found = self.candidates(&before, word);
        found.retain(|candidate| candidate.starts_with(word));
        found.sort();
        let pair = |text: String| {
            // What is not finished yet gets no blank after it.
            let open = text.ends_with(['=', '/']);
            let replacement = if open { text.clone() } else { format!("{text} ") };
            Pair { display: text, replacement }
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {}

impl Validator for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::history::MemHistory;

    fn offered(helper: &Helper, line: &str) -> Vec<String> {
        let history = MemHistory::new();
        let context = Context::new(&history);
        let (_, pairs) = helper.complete(line, line.len(), &context).unwrap();
        pairs.into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn what_is_offered_fits_the_place() {
        let mut helper = Helper {
            scope: Scope::Top,
            modules: vec!["file".into(), "netstat".into()],
            macros: vec!["allonline".into()],
            ..Helper::default()
        };
        helper.saw(Kind::Action, "6884999430150");
        helper.saw(Kind::Action, "6884999430163");
        helper.saw(Kind::Action, "6884999430150");
        assert_eq!(offered(&helper, "in"), ["investigator "]);
        assert_eq!(offered(&helper, "action 68849994301"), ["6884999430150 ", "6884999430163 "]);
        assert!(offered(&helper, "agent ").is_empty());
        assert_eq!(offered(&helper, "search ag"), ["agent "]);
        assert_eq!(offered(&helper, "search agent wh"), ["where "]);
        assert_eq!(offered(&helper, "search agent where status=on"), ["status=online "]);
        assert_eq!(offered(&helper, "search agent where thr"), ["threatfamily="]);
        helper.scope = Scope::Launcher;
        assert_eq!(offered(&helper, "addoperation f"), ["file "]);
        assert_eq!(offered(&helper, "settarget a"), ["allonline "]);
        helper.scope = Scope::Investigator;
        assert_eq!(offered(&helper, "setperms PermManifest PermA"), ["PermAdmin "]);
        helper.scope = Scope::Nothing;
        assert!(offered(&helper, "y").is_empty());
    }

    #[test]
    fn files_are_offered_where_files_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ada.asc"), "").unwrap();
        std::fs::create_dir(folder.path().join("adams")).unwrap();
        let helper = Helper { scope: Scope::File, ..Helper::default() };
        let line = format!("{}/ada", folder.path().display());
        let at = folder.path().display();
        assert_eq!(offered(&helper, &line), [format!("{at}/ada.asc "), format!("{at}/adams/")]);
        assert!(offered(&helper, "/nonexistent/x").is_empty());
    }
}
