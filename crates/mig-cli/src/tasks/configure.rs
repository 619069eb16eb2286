//! `mig config`: the file every client reads.

use std::path::Path;

use mig_client::config::process_environment;
use mig_module::args::{Flag, Kind, Options};
use mig_module::text::printable;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::Format;
use mig_terminal::output::Output;
use mig_terminal::wizard::{self, Answers};
use mig_terminal::{Session, locate, settings};

use super::words;

pub(super) const USAGE: &str = "\
usage: mig config init [-url <url>] [-keyid <fingerprint>] [-home <dir>] [-c <file>]
       mig config check [-c <file>]
       mig config show [-c <file>]
       mig config contexts
       mig config macros [-c <file>]

    init      writes a new configuration; asks for what is missing on a terminal
    check     fails on what is only a warning elsewhere
    show      what is in force, secrets left out; as comments what config.toml or a
              variable in its place says (mig help migrc)
    contexts  names for --context: the files ~/.migrc-<name>
    macros    names for -t";

const FLAGS: [Flag; 3] = [("url", Kind::Text), ("keyid", Kind::Text), ("home", Kind::Text)];

pub(super) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(line, &FLAGS, USAGE, &Format::ONLY_TEXT, output)? else { return Ok(0) };
    settings::load()?;
    match words.subject {
        Some("init") => init(&words.options, output).await,
        Some("check") => check(&words.options, output),
        Some("show") => show(&words.options, output),
        Some("contexts") => contexts(output),
        Some("macros") => {
            let (session, _) = session(&words.options)?;
            session.config.macros.iter().try_for_each(|(name, _)| output.line(name))?;
            Ok(0)
        }
        _ => Err(Failure::usage(format!("config needs one of its words\n{USAGE}"))),
    }
}

fn session(options: &Options) -> Result<(Session, Vec<String>), Failure> {
    Session::open(options.text("c").map(Path::new), options.text("context"))
}

fn check(options: &Options, output: &mut Output) -> Result<u8, Failure> {
    let (session, warnings) = session(options)?;
    for warning in &warnings {
        output.line(warning)?;
    }
    if warnings.is_empty() {
        output.line(&format!("{} is in order", session.path.display()))?;
        // It was read before, and would not have come to this.
        if let Some(path) = settings::path().filter(|path| path.exists()) {
            output.line(&format!("{} is in order", path.display()))?;
        }
        return Ok(0);
    }
    Ok(code::USAGE)
}

fn show(options: &Options, output: &mut Output) -> Result<u8, Failure> {
    let (session, _) = session(options)?;
    let config = &session.config;
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| path.display().to_string())
    };
    output.line(&format!("# {}", session.path.display()))?;
    output.line(&format!("[api]\n\turl = \"{}\"", config.url))?;
    output.line(&format!("\tskipverifycert = {}", config.skipverifycert))?;
    output.line(&format!("[gpg]\n\thome = \"{}\"", path(&config.gpg_home)))?;
    output.line(&format!("\tkeyid = \"{}\"", config.keyid.as_deref().unwrap_or_default()))?;
    if config.apikey.is_some() {
        output.line("\tuseapikeyauth = ***")?;
    }
    output.line("[targets]")?;
    for (name, body) in config.macros.iter() {
        output.line(&format!("\tmacro = \"{name}:{}\"", body.replace('"', "\\\"")))?;
    }
    // Comments: the rest is a file that every client reads.
    if let Some(path) = settings::path() {
        output.line(&format!("# {}", path.display()))?;
    }
    for (key, value, by) in settings::in_force() {
        output.line(&format!("#\t{key} = {} ({by})", printable(&value)))?;
    }
    Ok(0)
}

fn contexts(output: &mut Output) -> Result<u8, Failure> {
    context_names()?.iter().try_for_each(|name| output.line(name))?;
    Ok(0)
}

/// What `--context` takes.
pub(super) fn context_names() -> Result<Vec<String>, Failure> {
    let home = process_environment("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Failure::usage("there is no home directory"))?;
    let entries = std::fs::read_dir(&home)
        .map_err(|error| Failure::other(format!("cannot read {home}: {error}")))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_prefix(".migrc-").map(str::to_owned))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    Ok(names)
}

async fn init(options: &Options, output: &mut Output) -> Result<u8, Failure> {
    let path = locate(options.text("c").map(Path::new), options.text("context"));
    let path = path.ok_or_else(|| Failure::usage("there is no home directory; use -c"))?;
    let answers = Answers {
        url: options.text("url"),
        keyid: options.text("keyid"),
        home: options.text("home"),
    };
    wizard::create(&path, answers, output).await?;
    Ok(0)
}
