//! What was asked and answered, and who is there.

use std::time::Duration;

use mig_client::search::{Kind as What, Search};
use mig_client::{CommandQuery, Found};
use mig_module::Registry;
use mig_module::args::{Flag, Kind, Options};
use mig_module::text::printable;
use mig_runtime::Shutdown;
use mig_terminal::failure::Failure;
use mig_terminal::format::Format;
use mig_terminal::output::Output;
use mig_terminal::text::{finished, moment, started};
use mig_terminal::{dashboard, grid, listing, progress, recent};
use mig_types::{Action, ActionId, ActionStatus, Counters, duration};

use super::order::{self, Order, find};
use super::{Words, id, of_results, open, unless_interrupted, words};
use crate::follow as following;
use crate::print::Printer;
use crate::recreate;
use crate::render::{self, Render};

pub(super) const ACTIONS: &str = "\
usage: mig actions [\"<conditions>\"] [-c <file>] [-o <format>] [--columns <a,b>]
                   [--sort <column>]

    mig actions                              the last hundred
    mig actions \"status=inflight limit=5\"
    mig actions \"name=*passwd* and investigatorname=ada*\"";

pub(super) async fn actions(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(line, &[], ACTIONS, &Format::ALL, output)? else { return Ok(0) };
    search(What::Action, &words, output).await
}

async fn search(what: What, words: &Words<'_>, output: &mut Output) -> Result<u8, Failure> {
    let session = open(&words.options, output).await?;
    let conditions = words.subject.unwrap_or_default();
    let search = Search::conditions(what, conditions, session.clock.now())
        .map_err(|error| Failure::usage(error.to_string()))?;
    find(&search, &session, &words.form, output).await
}

pub(super) const SEARCH: &str = "\
usage: mig search <action|command|agent|investigator|manifest|loader> [where <conditions>]
                  [-o <format>] [--columns <a,b>] [--sort <column>]

The search of mig-console, with all its conditions; what holds for one kind is told
when it does not for another.

    mig search command where agentname=web* and foundanything=true and after=2d
    mig search action \"name=*passwd*\" status=completed limit=5
    mig search loader agentname=web1.example.net";

pub(super) async fn any(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &[], SEARCH, order::any, output)? else { return Ok(0) };
    if order.words.is_empty() {
        return Err(Failure::usage(format!("what to search for is missing\n{SEARCH}")));
    }
    let session = open(&order.options, output).await?;
    let search = Search::parse(&order.words.join(" "), session.clock.now())
        .map_err(|error| order.misused(&error.to_string()))?;
    find(&search, &session, &order.form, output).await
}

/// Remembers actions for the completion of shells.
pub(super) fn note(found: &Found) {
    let name = |action: &Action| (action.id, action.name.clone());
    match found {
        Found::Actions(all) => recent::remember(all.iter().rev().map(name)),
        Found::Commands(all) => {
            recent::remember(all.iter().rev().map(|command| name(&command.action)));
        }
        _ => {}
    }
}

pub(super) const ACTION: &str = "\
usage: mig action [show] <id> [-o <format>] [--columns <a,b>] [--as-command]
       mig action list [\"<conditions>\"] [-o <format>] [--columns <a,b>] [--sort <column>]
       mig action results | follow <id> <options>
       mig action export <id>
       mig action launch <file> <global options>

    mig action 6884999430150           who signed it, its times and counters
    mig action 6884999430150 --as-command   the line that asks the same again
    mig action list status=inflight    the same as mig actions
    mig action results 6884999430150   the same as mig results
    mig action export 6884999430150    the signed action, as -s printed it
    mig action launch action.json      the same as mig -i action.json";

pub(super) async fn action(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
) -> Result<u8, Failure> {
    let flags = [("as-command", Kind::Bool)];
    let Some(words) = words(line, &flags, ACTION, &Format::ALL, output)? else { return Ok(0) };
    let id: ActionId = id(&words, ACTION)?;
    listing::check(What::Action, &words.form)?;
    let session = open(&words.options, output).await?;
    let action = session.api_with_any_key("cmd")?.action(id).await?;
    recent::remember([(action.id, action.name.clone())]);
    if words.options.boolean("as-command", false) {
        output.line(&printable(&recreate::command(registry, &action)?))?;
        return Ok(0);
    }
    let pages = output.links_of_data();
    let text = || {
        let lines = described(&action).into_iter().map(|line| printable(&line));
        Ok(pages.action(&lines.collect::<Vec<_>>().join("\n"), action.id))
    };
    order::single(&action, &words.form, text, output)?;
    Ok(0)
}

/// The signed action, as `-s` prints it.
pub(super) async fn export(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(line, &[], ACTION, &Format::FILE, output)? else { return Ok(0) };
    let id: ActionId = id(&words, ACTION)?;
    let session = open(&words.options, output).await?;
    let stored = session.api_with_any_key("cmd")?.action(id).await?;
    // What the platform added is none of the investigators'.
    let action = Action {
        id: ActionId::default(),
        status: None,
        investigators: Vec::new(),
        counters: Counters::default(),
        starttime: Action::default().starttime,
        finishtime: Action::default().finishtime,
        lastupdatetime: Action::default().lastupdatetime,
        ..stored
    };
    crate::launch::print(&action, output)
}

fn described(action: &Action) -> Vec<String> {
    let mut lines = vec![
        format!("id        {}", action.id),
        format!("name      {}", action.name),
        format!("target    {}", action.target),
        format!("status    {}", action.status.map_or("unknown", ActionStatus::as_str)),
        format!("valid     {} until {}", moment(action.validfrom), moment(action.expireafter)),
        format!("started   {}", started(action.starttime)),
        format!("finished  {}", finished(action.finishtime)),
        format!("counters  {}", progress::counters(&action.counters)),
    ];
    let modules = action.operations().iter().map(|operation| operation.module.as_str());
    lines.push(format!("modules   {}", modules.collect::<Vec<_>>().join(", ")));
    let signers = action.investigators.iter();
    lines.extend(signers.map(|one| format!("signed by {} {}", one.pgpfingerprint, one.name)));
    lines
}

pub(super) const RESULTS: &str = "\
usage: mig results <action id> [-show found|notfound|all] [-o <format>] [--columns <a,b>]
                   [--sort <column>] [-render text|map|geojson] [--open] [-c <file>]

A table, json, and what is sorted comes when all results are there; everything else
line by line. mig help output says what there is.";

const RESULTS_FLAGS: [Flag; 4] =
    [("show", Kind::Text), ("timeout", Kind::Text), ("render", Kind::Text), ("open", Kind::Bool)];

pub(super) async fn results(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let Some(words) = words(line, &RESULTS_FLAGS, RESULTS, &Format::ALL, output)? else {
        return Ok(0);
    };
    let id: ActionId = id(&words, RESULTS)?;
    let globals = of_results(&words, output)?;
    let asking = async {
        let api = open(&words.options, output).await?.api_with_any_key("cmd")?;
        let action = api.action(id).await?;
        Ok((api, action))
    };
    let (api, action) = unless_interrupted(shutdown, asking).await?;
    recent::remember([(action.id, action.name.clone())]);
    let mut printer = Printer::new(registry, &globals)?;
    let printing = async {
        let mut commands = api.each_command(CommandQuery::of(id)).expecting(action.counters.sent);
        while let Some(command) = commands.next().await? {
            // What still runs has no results yet.
            if command.status.is_final() {
                printer.command(command, output)?;
            }
        }
        Ok(())
    };
    if let Err(failure) = unless_interrupted(shutdown, printing).await {
        if !failure.is_closed_pipe() {
            printer.end(&action, false, output)?;
        }
        return Err(failure);
    }
    printer.summary(&action, true, output)?;
    if globals.render != Render::Text {
        let commands = printer.take_mapped();
        let drawing = render::results(registry, &api, &action, &commands, &globals, output);
        unless_interrupted(shutdown, drawing).await?;
    }
    Ok(0)
}

pub(super) const FOLLOW: &str = "\
usage: mig follow <action id> [-show found|notfound|all] [-o <format>] [--columns <a,b>]
                  [--sort <column>] [-render text|map|geojson] [--open]
                  [--timeout <duration>] [--progress auto|plain|none] [-c <file>]";

pub(super) async fn follow(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let Some(words) = words(line, &RESULTS_FLAGS, FOLLOW, &Format::ALL, output)? else {
        return Ok(0);
    };
    let id: ActionId = id(&words, FOLLOW)?;
    let globals = of_results(&words, output)?;
    let session = open(&words.options, output).await?;
    let api = session.api_with_any_key("cmd")?;
    let action = api.action(id).await?;
    let expected = action.counters.sent;
    following::action(registry, &api, &action, expected, &globals, output, shutdown).await
}

pub(super) const AGENTS: &str = "\
usage: mig agents [\"<conditions>\"] [-t <target>] [--watch <duration>] [-o <format>]
                  [--columns <a,b>] [--sort <column>] [-c <file>]

    mig agents                         all that were seen
    mig agents \"name=web* status=idle\"
    mig agents -t \"tags->>'operator'='it'\"   whom an action would reach";

pub(super) async fn agents(
    line: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let flags = [("t", Kind::Text), ("watch", Kind::Text)];
    let Some(words) = words(line, &flags, AGENTS, &Format::ALL, output)? else { return Ok(0) };
    listing::check(What::Agent, &words.form)?;
    if words.subject.is_some() && words.options.has("t") {
        return Err(Failure::usage("conditions and -t exclude each other"));
    }
    let every = period(&words.options)?;
    loop {
        match words.options.text("t") {
            Some(target) => {
                let session = open(&words.options, output).await?;
                let target = session.config.macros.expand(target);
                let api = session.api_with_any_key("cmd")?;
                let agents = crate::launch::evaluate(&api, &target).await?;
                output.say(&format!("{} agents match {}", agents.len(), printable(&target)));
                listing::found(Found::Agents(agents), &words.form, output)?;
            }
            None => drop(search(What::Agent, &words, output).await?),
        }
        if !again(every, shutdown).await {
            return Ok(0);
        }
    }
}

pub(super) const STATUS: &str = "usage: mig status [--watch <duration>] [-o <format>] [-c <file>]";

pub(super) async fn status(
    line: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let flags = [("watch", Kind::Text)];
    let Some(words) = words(line, &flags, STATUS, &Format::UNNAMED, output)? else {
        return Ok(0);
    };
    grid::check::<dashboard::Figure>(&words.form)?;
    let session = open(&words.options, output).await?;
    let api = session.api_with_any_key("cmd")?;
    let every = period(&words.options)?;
    loop {
        match words.form.format {
            Format::Json | Format::NdJson => {
                let text = api.get_text("dashboard").await?;
                output.line(text.trim_end())?;
            }
            Format::Text => {
                let (answer, room) = (api.dashboard().await?, listing::width(&words.form));
                let (lines, actions) = dashboard::block(&answer, room, |_, text| text.to_owned());
                let pages = output.links_of_data();
                for line in lines {
                    output.line(&dashboard::linked(line, &actions, &pages))?;
                }
            }
            _ => {
                let mut figures = dashboard::figures(&api.dashboard().await?);
                grid::sort(&mut figures, &words.form)?;
                listing::print(&figures, &words.form, output)?;
            }
        }
        if !again(every, shutdown).await {
            return Ok(0);
        }
    }
}

fn period(options: &Options) -> Result<Option<Duration>, Failure> {
    let Some(text) = options.text("watch") else { return Ok(None) };
    let period = duration::parse_period(text)
        .map_err(|error| Failure::usage(format!("--watch: {error}")))?;
    // A platform is asked at most once a second.
    Ok(Some(period.max(Duration::from_secs(1))))
}

/// Waits for the next round, if there is one.
async fn again(every: Option<Duration>, shutdown: &Shutdown) -> bool {
    let Some(every) = every else { return false };
    tokio::select! {
        () = tokio::time::sleep(every) => true,
        () = shutdown.requested() => false,
    }
}
