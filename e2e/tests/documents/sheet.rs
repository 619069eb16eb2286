//! `docs/guide/cheat-sheet.md`: every command in it is run, and must say what
//! stands there, but for dates, numbers and addresses.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use mig_e2e::operator::{repository, tool};
use mig_testkit::{AgentOptions, TestPlatform, binary};
use mig_types::{Acl, AclEntry};
use regex::Regex;

/// What begins a command, and whose it is.
const PROMPTS: [(&str, &str); 2] = [("$ ", "alice"), ("bob$ ", "bob")];

/// A platform with one agent, where `netstat` takes two signatures.
fn platform() -> anyhow::Result<TestPlatform> {
    let mut platform = TestPlatform::embedded()?;
    let mut acl = Acl::default();
    for (name, minimumweight) in [("default", 1), ("netstat", 2)] {
        let people = platform.investigators.iter().map(|person| person.weighing(1)).collect();
        acl.insert(name, AclEntry { minimumweight, investigators: people });
    }
    fs::write(platform.directory().join("acl.cfg"), serde_json::to_string(&acl)?)?;
    platform.start_agent(&AgentOptions {
        name: "web1".to_owned(),
        tags: vec![("operator".to_owned(), "it".to_owned())],
        acl,
        is_quiet: true,
        ..AgentOptions::default()
    })?;
    platform.wait_agents(1)?;
    Ok(platform)
}

/// What a command prints on both streams, in the order in which it comes.
fn run(platform: &TestPlatform, who: &str, line: &str) -> anyhow::Result<String> {
    let person = platform.investigator(who)?;
    let programs = binary("mig")?;
    let programs = programs.parent().context("no directory")?.display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = tool("bash");
    command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(platform.directory());
    command.env("PATH", format!("{programs}:{path}")).env("HOME", person.home());
    command.env("MIG_SIGNING_KEY", person.secret_key_file()).env("MIG_YES", "1");
    for name in ["MIG_CONFIG", "MIG_CONTEXT", "MIG_GEOIP_DB", "GNUPGHOME", "MIG_API_KEY"] {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    // What differs from machine to machine, in the words of the sheet.
    let api = platform.api_url();
    let home = person.home().display().to_string();
    let place = platform.directory().display().to_string();
    Ok(text
        .replace(&api, "https://mig.example.net/api/v1/")
        .replace(&home, "/home/ada")
        .replace(&place, "/home/ada"))
}

/// What differs from run to run, by the same words.
struct Plain(Vec<(Regex, &'static str)>);

impl Plain {
    fn new() -> anyhow::Result<Self> {
        let rules = [
            // How often somebody looked.
            (r"(?m)^status=.*\n", ""),
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC| UTC)?", "TIME"),
            (r"\b[0-9A-F]{40}\b", "KEY"),
            (r"\b[0-9A-F]{4}…[0-9A-F]{4}\b", "KEY"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
            (r"\b\d{9,}\b", "ID"),
            (r"done in -?[0-9.hmsµn]+", "done in PERIOD"),
            (r"size:\d+", "size:N"),
            (r"linux\.[^ ;]+\.[0-9a-z]+", "QUEUELOC"),
            (r"\d+\.\d+\.\d+(-[0-9a-z.]+)?", "VERSION"),
            (r" +", " "),
        ];
        let compiled = rules.map(|(rule, word)| Regex::new(rule).map(|rule| (rule, word)));
        Ok(Self(compiled.into_iter().collect::<Result<_, _>>()?))
    }

    fn of(&self, text: &str) -> String {
        let reduce = |text: String, (rule, word): &(Regex, &'static str)| {
            rule.replace_all(&text, *word).into_owned()
        };
        self.0.iter().fold(text.trim_end().to_owned(), reduce)
    }
}

/// Identifiers of actions, in their order.
fn ids(text: &str) -> anyhow::Result<Vec<String>> {
    let rule = Regex::new(r"\b\d{9,}\b")?;
    Ok(rule.find_iter(text).map(|found| found.as_str().to_owned()).collect())
}

/// One command of the sheet, and what it is said to print.
struct Entry<'a> {
    who: &'a str,
    /// As it is written, prompt included.
    prompt: &'a str,
    line: &'a str,
    printed: Vec<&'a str>,
}

/// A part of the sheet: text as it is, or a command.
enum Part<'a> {
    Text(&'a str),
    Entry(Entry<'a>),
}

fn parts(sheet: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut inside = false;
    for line in sheet.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            parts.push(Part::Text(line));
            continue;
        }
        let prompt = PROMPTS.iter().find(|(prompt, _)| inside && line.starts_with(prompt));
        match (prompt, parts.last_mut()) {
            (Some((prompt, who)), _) => {
                let command = line.get(prompt.len()..).unwrap_or_default();
                parts.push(Part::Entry(Entry { who, prompt, line: command, printed: Vec::new() }));
            }
            (None, Some(Part::Entry(entry))) => entry.printed.push(line),
            (None, _) => parts.push(Part::Text(line)),
        }
    }
    parts
}

pub(super) fn replayed(path: &Path, writes: bool) -> anyhow::Result<usize> {
    let (platform, plain) = (platform()?, Plain::new()?);
    let sheet = fs::read_to_string(path)?;
    // Identifiers of the sheet, and what they are in this run.
    let mut known: HashMap<String, String> = HashMap::new();
    let (mut text, mut commands, mut different) = (String::new(), 0, Vec::new());
    for part in parts(&sheet) {
        let entry = match part {
            Part::Text(line) => {
                text.extend([line, "\n"]);
                continue;
            }
            Part::Entry(entry) => entry,
        };
        commands += 1;
        let line =
            known.iter().fold(entry.line.to_owned(), |line, (old, new)| line.replace(old, new));
        let printed = run(&platform, entry.who, &line)?;
        let expected = entry.printed.join("\n");
        known.extend(ids(&expected)?.into_iter().zip(ids(&printed)?));
        if plain.of(&printed) == plain.of(&expected) {
            text.extend([entry.prompt, entry.line, "\n"]);
            entry.printed.iter().for_each(|line| text.extend([*line, "\n"]));
        } else {
            // The sheet's own identifiers, so that it tells one story.
            let told =
                known.iter().fold(printed.clone(), |told, (old, new)| told.replace(new, old));
            text.extend([entry.prompt, entry.line, "\n", &told]);
            different.push(format!(
                "{line}\n{}\n--- not\n{}",
                plain.of(&printed),
                plain.of(&expected)
            ));
        }
    }
    if writes {
        fs::write(path, text)?;
        return Ok(commands);
    }
    ensure!(different.is_empty(), "not what happens:\n{}", different.join("\n\n"));
    Ok(commands)
}

pub(super) fn path() -> std::path::PathBuf {
    repository().join("docs/guide/cheat-sheet.md")
}
