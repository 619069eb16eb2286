//! Words beside modules: what was asked before, whose signatures an action
//! has, whether everything is in place.

mod agent;
mod candidates;
mod completions;
mod configure;
mod doctor;
mod manage;
mod order;
mod show;
mod sign;
mod target;

use std::path::Path;

use mig_module::Registry;
use mig_module::args::{self, Flag, Kind, Options, Outcome};
use mig_runtime::Shutdown;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::{self, Form, Format, Layout};
use mig_terminal::output::Output;
use mig_terminal::{Session, locate, wizard};

use crate::globals::Globals;

/// A word beside the modules.
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What `mig <word> -h` prints.
    pub(crate) usage: &'static str,
}

const fn word(name: &'static str, about: &'static str, usage: &'static str) -> Word {
    Word { name, about, usage }
}

/// The words and what they do. They win over modules of the same name;
/// `mig run <module>` always means the module.
pub(crate) const WORDS: [Word; 20] = [
    word("actions", "actions launched lately, or those a search finds", show::ACTIONS),
    word("action", "show, list, results, follow, export or launch", show::ACTION),
    word("results", "results of an earlier action", show::RESULTS),
    word("follow", "follow an action that runs", show::FOLLOW),
    word("agents", "agents a target or a search finds", show::AGENTS),
    word("agent", "show, list or actions", agent::AGENT),
    word("command", "show or list: what one agent answered to one action", agent::COMMAND),
    word("search", "whatever there is, by the conditions of mig-console", show::SEARCH),
    word("target", "check: whom an action would reach", target::USAGE),
    word("status", "the platform at a glance", show::STATUS),
    word("sign", "add a signature to an action file; who signed, what is missing", sign::SIGN),
    word("verify", "whether the signatures of an action file are good", sign::VERIFY),
    word("cancel", "why an action cannot be taken back", CANCEL),
    word("investigator", "list, show, pubkey, create or set", manage::investigator::USAGE),
    word("manifest", "list, show, create, sign, reset, disable, fetch", manage::manifest::USAGE),
    word("loader", "list, show, create, enable, disable, key", manage::loader::USAGE),
    word("config", "init, check, show, contexts or macros", configure::USAGE),
    word("doctor", "which step between you and the agents fails", doctor::USAGE),
    word("completions", "bash, zsh, fish, powershell or elvish", completions::USAGE),
    word("man", "the manual page, for man -l -", completions::MAN),
];

const CANCEL: &str = "\
usage: mig cancel <action id>

Nobody can take an action back: agents run it as soon as it reaches them, and there
is no message that stops them. It ends by itself when its validity is over, which
mig action <id> tells. What was not launched yet is stopped with ctrl-c while mig
counts down.

exit status: 2, always";

/// Options every word takes, beside those about the form of data.
const COMMON: [Flag; 11] = [
    ("c", Kind::Text),
    ("context", Kind::Text),
    ("key", Kind::Text),
    ("color", Kind::Text),
    ("no-color", Kind::Bool),
    ("quiet", Kind::Bool),
    ("v", Kind::Bool),
    ("vv", Kind::Bool),
    ("progress", Kind::Text),
    ("connect-timeout", Kind::Text),
    ("retry", Kind::Text),
];

pub(crate) async fn run(
    registry: &Registry,
    args: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let (word, rest) = args.split_first().ok_or_else(|| Failure::usage("no word was given"))?;
    match word.as_str() {
        "actions" => unless_interrupted(shutdown, show::actions(rest, output)).await,
        "action" => match verb(rest) {
            ("list", rest) => unless_interrupted(shutdown, show::actions(rest, output)).await,
            ("show", rest) => {
                unless_interrupted(shutdown, show::action(registry, rest, output)).await
            }
            ("export", rest) => unless_interrupted(shutdown, show::export(rest, output)).await,
            ("results", rest) => show::results(registry, rest, output, shutdown).await,
            ("follow", rest) => show::follow(registry, rest, output, shutdown).await,
            _ => unless_interrupted(shutdown, show::action(registry, rest, output)).await,
        },
        "results" => show::results(registry, rest, output, shutdown).await,
        "follow" => show::follow(registry, rest, output, shutdown).await,
        "agents" => show::agents(rest, output, shutdown).await,
        "agent" => agent::agent(rest, output, shutdown).await,
        "command" => unless_interrupted(shutdown, agent::command(registry, rest, output)).await,
        "search" => unless_interrupted(shutdown, show::any(rest, output)).await,
        "target" => unless_interrupted(shutdown, target::run(rest, output)).await,
        "investigator" => {
            unless_interrupted(shutdown, manage::investigator::run(rest, output)).await
        }
        "manifest" => unless_interrupted(shutdown, manage::manifest::run(rest, output)).await,
        "loader" => unless_interrupted(shutdown, manage::loader::run(rest, output)).await,
        "status" => show::status(rest, output, shutdown).await,
        "sign" => unless_interrupted(shutdown, sign::sign(rest, output)).await,
        "verify" => sign::verify(rest, output).await,
        "cancel" if asks_for_help(rest) => {
            output.line(CANCEL)?;
            Ok(0)
        }
        "cancel" => Err(Failure::usage(
            "nobody can take an action back: agents run it as soon as it reaches them",
        )
        .hint("it ends by itself when its validity is over; see mig action <id>")),
        "config" => configure::run(rest, output).await,
        "doctor" => doctor::run(rest, output).await,
        "completions" => completions::scripts(registry, rest, output),
        "man" => completions::manual(registry, rest, output),
        other => Err(Failure::usage(format!("unknown word {other}"))),
    }
}

/// The word after a word, and what follows it.
fn verb(line: &[String]) -> (&str, &[String]) {
    line.split_first().map_or(("", line), |(verb, rest)| (verb.as_str(), rest))
}

/// Ctrl-C ends what only reads, and says so in the exit code.
async fn unless_interrupted<T>(
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = shutdown.requested() => Err(Failure::new(code::INTERRUPTED, "interrupted")),
    }
}

/// Whether the options ask what a word does.
fn asks_for_help(line: &[String]) -> bool {
    line.iter().any(|word| ["-h", "-help", "--help"].contains(&word.as_str()))
}

/// One word in front, if there is one, and options after it.
struct Words<'a> {
    subject: Option<&'a str>,
    options: Options,
    form: Form,
}

/// Takes a line apart; `None` when help was asked for, and printed. `offers` are
/// the formats in which the word prints what it has.
fn words<'a>(
    line: &'a [String],
    own: &[Flag],
    usage: &str,
    offers: &[Format],
    output: &mut Output,
) -> Result<Option<Words<'a>>, Failure> {
    let (subject, rest) = match line.split_first() {
        Some((first, rest)) if !first.starts_with('-') || first == "-" => {
            (Some(first.as_str()), rest)
        }
        _ => (None, line),
    };
    if subject == Some("help") {
        output.line(usage)?;
        return Ok(None);
    }
    let Some(options) = options(own, rest, usage, output)? else { return Ok(None) };
    let form = form(&options, own, offers, output)?;
    Ok(Some(Words { subject, options, form }))
}

/// The options of a word; `None` when help was asked for, and printed.
fn options(
    own: &[Flag],
    rest: &[String],
    usage: &str,
    output: &mut Output,
) -> Result<Option<Options>, Failure> {
    let flags: Vec<Flag> = own.iter().chain(&COMMON).chain(&format::FLAGS).copied().collect();
    match args::parse_or_empty(&flags, rest) {
        Ok(Outcome::Help) => {
            output.line(usage)?;
            Ok(None)
        }
        Ok(Outcome::Options(options)) => {
            globals(&options)?.apply(output)?;
            Ok(Some(options))
        }
        Err(error) => Err(Failure::usage(format!("{error}\n{usage}"))),
    }
}

/// In which form the options want what comes in these.
fn form(
    options: &Options,
    own: &[Flag],
    offers: &[Format],
    output: &mut Output,
) -> Result<Form, Failure> {
    let is_short = own.iter().all(|(name, _)| *name != "o");
    Layout::read(options, is_short)?.form(offers, output)
}

/// The configuration the options name.
async fn open(options: &Options, output: &mut Output) -> Result<Session, Failure> {
    let path = options.text("c").map(Path::new);
    wizard::offer(locate(path, options.text("context")).as_deref(), output).await?;
    open_existing(options, output)
}

/// The configuration the options name, if it is there.
fn open_existing(options: &Options, output: &mut Output) -> Result<Session, Failure> {
    let path = options.text("c").map(Path::new);
    let (mut session, warnings) = Session::open(path, options.text("context"))?;
    for warning in warnings {
        output.say(&format!("[warning] {warning}"));
    }
    globals(options)?.equip(&mut session);
    Ok(session)
}

/// The identifier a word needs.
fn id<T: std::str::FromStr>(words: &Words<'_>, usage: &str) -> Result<T, Failure> {
    let id = words.subject.and_then(|subject| subject.parse().ok());
    id.ok_or_else(|| Failure::usage(format!("the id of an action is missing\n{usage}")))
}

/// Options of following and printing, as those of modules.
fn globals(options: &Options) -> Result<Globals, Failure> {
    let mut globals = Globals::default();
    for name in
        ["key", "show", "timeout", "color", "render", "progress", "connect-timeout", "retry"]
    {
        if let Some(value) = options.text(name) {
            globals.take(&format!("-{name}"), Some(value))?;
        }
    }
    for name in ["open", "no-color", "quiet", "v", "vv"] {
        if options.boolean(name, false) {
            globals.take(&format!("-{name}"), None)?;
        }
    }
    Ok(globals)
}

/// [`globals`] for a word that prints results in a form.
fn of_results(words: &Words<'_>, output: &mut Output) -> Result<Globals, Failure> {
    let mut globals = globals(&words.options)?;
    globals.layout = Layout::read(&words.options, true)?;
    globals.settle(output)?;
    Ok(globals)
}
