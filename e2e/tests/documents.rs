//! Documents that are made from the programs: the reference of their command
//! lines, manual pages, completions, and the transcripts of the cheat sheet.
//!
//! With `MIG_WRITE_REFERENCE` set they are written instead of compared, which is
//! what `cargo xtask reference` does.

#![cfg(test)]

#[path = "documents/sheet.rs"]
mod sheet;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use mig_e2e::operator::{program, repository, tool};
use mig_terminal::manual::{Page, options};

/// Programs beside `mig`, in the order of the reference.
const PROGRAMS: [&str; 10] = [
    "mig-console",
    "mig-action-generator",
    "mig-action-verifier",
    "mig-agent-search",
    "mig-agent",
    "mig-api",
    "mig-scheduler",
    "mig-standalone",
    "mig-demo",
    "mig-swarm",
];

const HEAD: &str = "\
# Command line reference

What every program says of itself. Made by `cargo xtask reference` from the programs;
a test fails when they say something else. The same texts as manual pages are in
`docs/reference/man`, completions for shells in `docs/reference/completions`:
`mig completions bash|zsh|fish` prints those of `mig`.
";

/// What a program prints when it is asked that.
fn said(name: &str, args: &[&str]) -> anyhow::Result<String> {
    let mut command = program(name, Path::new("/"))?;
    // Neither a terminal's width nor anybody's configuration.
    command.args(args).env_clear().env("HOME", "/nonexistent");
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{name} {args:?} ended with {}: {text}", output.status);
    ensure!(!text.trim().is_empty(), "{name} {args:?} says nothing");
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

/// First words of the indented lines below a heading of `mig help`.
fn listed(usage: &str, heading: &str) -> anyhow::Result<Vec<String>> {
    let mut lines = usage.lines().skip_while(|line| !line.starts_with(heading));
    lines.next().with_context(|| format!("no {heading} in {usage}"))?;
    let block = lines.take_while(|line| line.starts_with("    "));
    Ok(block.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// What a program is for, from its help: the first sentence that is no usage.
fn summary(help: &str) -> anyhow::Result<String> {
    let line = help
        .lines()
        .find(|line| {
            let usage = line.to_lowercase().starts_with("usage:");
            !usage && !line.is_empty() && !line.starts_with(' ')
        })
        .with_context(|| format!("no description in {help}"))?;
    let sentence = line.split(['.', ':']).next().unwrap_or(line);
    let mut letters = sentence.chars();
    let first = letters.next().context("an empty line")?;
    Ok(first.to_lowercase().chain(letters).collect())
}

fn chapter(text: &mut String, level: &str, title: &str, help: &str) {
    let _ = write!(text, "\n{level} {title}\n\n```text\n{help}```\n");
}

/// Every document by its path below `docs/reference`.
fn documents() -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut reference = HEAD.to_owned();
    let usage = said("mig", &["help"])?;
    chapter(&mut reference, "##", "mig", &usage);
    for word in listed(&usage, "words beside modules")? {
        chapter(&mut reference, "###", &format!("mig {word}"), &said("mig", &[&word, "-h"])?);
    }
    for module in listed(&usage, "modules (")? {
        let title = format!("mig {module}");
        chapter(&mut reference, "###", &title, &said("mig", &["help", &module])?);
    }
    for topic in ["targets", "migrc", "output"] {
        chapter(
            &mut reference,
            "###",
            &format!("mig help {topic}"),
            &said("mig", &["help", topic])?,
        );
    }
    for (page, name) in [
        ("mig.1", "mig"),
        ("mig-console.1", "mig-console"),
        ("mig-targets.7", "targets"),
        ("migrc.5", "migrc"),
    ] {
        all.insert(format!("man/{page}"), said("mig", &["man", name])?);
    }
    let (mut bash, mut fish, mut zsh) = (String::new(), String::new(), String::from("#compdef"));
    for name in PROGRAMS {
        let help = said(name, &["--help"])?;
        chapter(&mut reference, "##", name, &help);
        let version = env!("CARGO_PKG_VERSION");
        let page = Page::new(name, 1, version, &summary(&help)?).section("DESCRIPTION", &help);
        // Unless it has one with more in it.
        let own = all.entry(format!("man/{name}.1"));
        own.or_insert_with(|| page.see_also(&["mig(1)"]));
        let options = options(&help);
        let _ = writeln!(bash, "complete -o default -W \"{}\" {name}", options.join(" "));
        for option in options {
            let option = match option.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-o {}", option.trim_start_matches('-')),
            };
            let _ = writeln!(fish, "complete -c {name} {option}");
        }
        let _ = write!(zsh, " {name}");
    }
    let _ = write!(zsh, "\nautoload -U +X bashcompinit && bashcompinit\n{bash}");
    all.insert("cli.md".to_owned(), reference);
    all.insert("completions/programs.bash".to_owned(), bash);
    all.insert("completions/programs.fish".to_owned(), fish);
    all.insert("completions/_programs".to_owned(), zsh);
    Ok(all)
}

#[test]
fn the_reference_is_what_the_programs_say() -> anyhow::Result<()> {
    let place = repository().join("docs/reference");
    let writes = std::env::var_os("MIG_WRITE_REFERENCE").is_some();
    let mut stale = Vec::new();
    for (name, text) in documents()? {
        let path = place.join(&name);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if writes {
            fs::create_dir_all(path.parent().context("no directory")?)?;
            fs::write(&path, text)?;
        } else {
            stale.push(name);
        }
    }
    if !stale.is_empty() {
        bail!("not what the programs say; cargo xtask reference writes them: {stale:?}");
    }
    Ok(())
}

#[test]
fn completions_are_what_a_shell_takes() -> anyhow::Result<()> {
    let script = repository().join("docs/reference/completions/programs.bash");
    let asked = format!(
        "source {}; complete -p mig-console mig-api; compgen -W \"$(complete -p mig-api | sed \
         's/.*-W .\\(.*\\). mig-api/\\1/')\" -- --add",
        script.display()
    );
    let answer = tool("bash").args(["-c", &asked]).output()?;
    let said = String::from_utf8_lossy(&answer.stdout);
    ensure!(answer.status.success(), "{answer:?}");
    ensure!(said.lines().last() == Some("--add-investigator"), "{answer:?}");
    ensure!(said.contains("-context") && said.contains("mig-console"), "{answer:?}");
    Ok(())
}

#[test]
fn the_cheat_sheet_is_what_happens() -> anyhow::Result<()> {
    let writes = std::env::var_os("MIG_WRITE_REFERENCE").is_some();
    let commands = sheet::replayed(&sheet::path(), writes)?;
    ensure!(commands > 20, "{commands} commands");
    Ok(())
}
