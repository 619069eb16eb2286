//! What may stand at the end of a line, for shells that ask each time.

use mig_module::Registry;
use mig_terminal::{Session, recent};

use super::completions::{FORMATS, VALUES, firsts, followers, split};
use super::{WORDS, configure};
use crate::globals;

/// Candidates for the last of the words behind `mig`.
pub(super) fn of(registry: &Registry, line: &[String]) -> Vec<String> {
    let Some((current, before)) = line.split_last() else { return Vec::new() };
    let mut words = match (value_of(before), before.first()) {
        (Some(values), _) => values,
        (None, None) => texts(&firsts(registry)),
        (None, Some(first)) => behind(registry, first),
    };
    words = words.iter().flat_map(|word| expanded(word)).collect();
    words.retain(|word| word.starts_with(current.as_str()));
    words
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What the option in front takes, if it is one that takes something.
fn value_of(before: &[String]) -> Option<Vec<String>> {
    let (name, None) = globals::split(before.last()?)? else { return None };
    match name {
        "o" if before.first().is_none_or(|first| first != "sign") => Some(split(FORMATS)),
        "context" => Some(configure::context_names().unwrap_or_default()),
        // A file: the shell's own affair.
        "o" | "c" | "key" | "save" => Some(Vec::new()),
        _ => VALUES.iter().find(|(known, _)| *known == name).map(|(_, values)| split(values)),
    }
}

/// What may follow the first word.
fn behind(registry: &Registry, first: &str) -> Vec<String> {
    let options = || globals::names().map(|name| format!("-{name}"));
    let follower = followers(registry).into_iter().find(|(name, _)| *name == first);
    match follower {
        Some((name, own)) if WORDS.iter().any(|word| word.name == name) => own,
        Some((_, own)) => options().chain(own).collect(),
        None if first == "help" => {
            let topics = ["targets", "migrc", "output"];
            texts(&firsts(registry)).into_iter().chain(texts(&topics)).collect()
        }
        None if first.starts_with('-') => options().chain(texts(&firsts(registry))).collect(),
        None => options().collect(),
    }
}

/// A word, or what the scripts of other shells run in its place.
fn expanded(word: &str) -> Vec<String> {
    if !word.starts_with("$(") {
        return vec![word.to_owned()];
    }
    if word.contains("config macros") {
        let session = Session::open(None, None).ok();
        let macros = session.iter().flat_map(|(session, _)| session.config.macros.iter());
        return macros.map(|(name, _)| name.to_owned()).collect();
    }
    recent::recent().into_iter().rev().map(|(id, _)| id).collect()
}

/// The script that has PowerShell ask. Each word has a mark in front: it would drop
/// one that is empty.
pub(super) const POWERSHELL: &str = "\
Register-ArgumentCompleter -Native -CommandName mig -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { \"=$_\" })
    if ($wordToComplete -eq '') { $words += '=' }
    mig completions for @words 2>$null | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_)
    }
}";

/// The script that has Elvish ask.
pub(super) const ELVISH: &str = "\
set edit:completion:arg-completer[mig] = {|@words|
    mig completions for (each {|word| put '='$word } $words[1..]) 2>/dev/null
}";

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        of(&mig_modules::registry(), &words)
    }

    #[test]
    fn a_line_is_completed_by_what_stands_before() {
        for (line, expected) in [
            ("net", &["netstat"][..]),
            ("file -show not", &["notfound"]),
            ("file -retur", &["-returnsha256"]),
            ("results 7 -o nd", &["ndjson"]),
            ("loader en", &["enable"]),
            ("help outp", &["output"]),
            ("sign act.json -o ", &[]),
            ("file -c ", &[]),
            ("file -show=no", &[]),
            ("nosuch --no-fol", &[]),
            ("nosuch -no-fol", &["-no-follow"]),
        ] {
            assert_eq!(candidates(line), expected, "{line}");
        }
        assert!(candidates("").contains(&"run".to_owned()));
        assert!(candidates("-o json fi").contains(&"file".to_owned()));
        assert_eq!(of(&mig_modules::registry(), &[]), [""; 0]);
    }
}
