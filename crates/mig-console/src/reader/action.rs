//! An action: what was asked, and what came back.

use mig_client::search::Kind;
use mig_module::compress;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::output::Paint;
use mig_terminal::progress;
use mig_terminal::text::{finished, moment, right, started};
use mig_types::{Action, ActionId, ActionStatus, Command, duration};
use regex::Regex;

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::results::{self, Show};
use crate::screen::aside;
use crate::top::json;
use crate::{launcher, reader};
use mig_terminal::dashboard::names;
use mig_terminal::orders;

/// Most of compressed parameters that is unpacked to be shown, in bytes.
const MAX_PARAMETERS: usize = 64 * 1024 * 1024;

const NAME: &str = "action reader";

pub(crate) async fn run(console: &mut Console, id: ActionId) -> Result<(), Failure> {
    let mut action = console.call(console.api.action(id)).await?;
    console.saw(Kind::Action, &id);
    console.enter(NAME);
    console.say(&format!("Action: '{}'.", printable(&action.name)));
    let by = printable(&names(&action));
    console.say(&format!("Launched by '{by}' on '{}'.", started(action.starttime)));
    console.say(&format!("Status '{}'.", status(&action)));
    aside(&progress::counters(&action.counters));
    let prompt = format!("action {}>", id.get() % 1000);
    let mode = Mode { prompt: &prompt, paint: Paint::BoldRed, scope: Scope::Action };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut action).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(console: &mut Console, order: &Order, action: &mut Action) -> Result<Next, Failure> {
    match order.verb() {
        "command" => reader::command::run(console, order.id()?).await?,
        "copy" => {
            order.alone()?;
            // The launcher may lead to another reader, and so on.
            Box::pin(launcher::run(console, Some(action))).await?;
            return Ok(Next::Leave);
        }
        "counters" => {
            *action = console.call(console.api.action(action.id)).await?;
            aside(&progress::counters(&action.counters));
        }
        "details" => console.say(&details(action)),
        "investigators" => {
            for one in &action.investigators {
                let name = printable(&one.name);
                console.say(&format!("{name} - Key ID: {}", printable(&one.pgpfingerprint)));
            }
        }
        "json" => console.say(&json(&shown(action))?),
        "list" => list(console, order, action).await?,
        "r" => {
            *action = console.call(console.api.action(action.id)).await?;
            console.say("reloaded");
        }
        "results" => show_results(console, order, action).await?,
        "times" => console.say(&times(action)),
        "help" => console.say(orders::ACTION),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

fn status(action: &Action) -> &'static str {
    action.status.map_or("unknown", ActionStatus::as_str)
}

/// The action with parameters that can be read. What is sent stays as it is.
pub(crate) fn shown(action: &Action) -> Action {
    let mut action = action.clone();
    for operation in action.operations.iter_mut().flatten() {
        if let Ok(parameters) = compress::decompress_parameters(operation, MAX_PARAMETERS) {
            operation.parameters = parameters;
        }
    }
    action
}

pub(crate) fn times(action: &Action) -> String {
    format!(
        "Valid from   '{}' until '{}'\nStarted on   '{}'\nLast updated '{}'\nFinished on  '{}'",
        moment(action.validfrom),
        moment(action.expireafter),
        started(action.starttime),
        moment(action.lastupdatetime),
        finished(action.finishtime)
    )
}

fn details(action: &Action) -> String {
    let (description, threat) = (&action.description, &action.threat);
    let operations = action.operations();
    let modules: Vec<String> = operations.iter().map(|one| format!("{}; ", one.module)).collect();
    let counters = &action.counters;
    let signers: Vec<String> = action
        .investigators
        .iter()
        .map(|one| format!("{} - keyid: {}", one.name, one.pgpfingerprint))
        .collect();
    let ran = action.lastupdatetime.signed_nanos_since(action.starttime);
    let ran = match started(action.starttime).as_str() {
        "not started yet" => "0s".to_owned(),
        _ => duration::format_signed(ran),
    };
    let mut lines = vec![
        String::new(),
        format!("ID             {}", action.id),
        format!("Name           {}", action.name),
        format!("Target         {}", action.target),
        format!(
            "Desc           author '{} <{}>'; revision '{}';",
            description.author, description.email, description.revision
        ),
        format!("               url '{}'", description.url),
        format!(
            "Threat         type '{}'; level '{}'; family '{}'; reference '{}'",
            threat.kind, threat.level, threat.family, threat.reference
        ),
        format!("Status         {}", status(action)),
        format!(
            "Times          valid from {} until {}",
            moment(action.validfrom),
            moment(action.expireafter)
        ),
        format!(
            "               started {}; last updated {}; finished {}",
            started(action.starttime),
            moment(action.lastupdatetime),
            finished(action.finishtime)
        ),
        format!("               duration: {ran}"),
        format!("Investigators  {}", signers.first().map_or("", String::as_str)),
    ];
    lines.extend(signers.into_iter().skip(1));
    lines.push(format!("Operations     count={} => {}", operations.len(), modules.concat()));
    lines.push(format!(
        "Counters       sent={}; done={}; in flight={}",
        counters.sent, counters.done, counters.inflight
    ));
    lines.push(format!(
        "               success={}; cancelled={}; expired={}; failed={}; timeout={}",
        counters.success, counters.cancelled, counters.expired, counters.failed, counters.timeout
    ));
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

async fn show_results(console: &Console, order: &Order, action: &Action) -> Result<(), Failure> {
    let usage = || Failure::usage("must be 'results [all|found|notfound] [text]'");
    let (show, render) = match order.rest()[..] {
        [] => (Show::All, "text"),
        [show] => (Show::parse(show).ok_or_else(usage)?, "text"),
        [show, render] => (Show::parse(show).ok_or_else(usage)?, render),
        _ => return Err(usage()),
    };
    match render {
        "text" => {}
        "map" => aside("[notice] there is no map in this build, here is the text"),
        _ => return Err(usage()),
    }
    let current = console.call(console.api.action(action.id)).await?;
    results::print(console, &current, show).await
}

async fn list(console: &mut Console, order: &Order, action: &Action) -> Result<(), Failure> {
    let (show, filters) = list_words(&order.rest())?;
    let mut found = results::commands(console, action.id, show);
    let (mut count, mut rows) = (0_usize, Vec::new());
    while let Some(command) = console.call(found.next()).await? {
        count += 1;
        let text = row(&command);
        if filters.iter().all(|filter| filter.passes(&text)) {
            rows.push((command.id, command.agent.id, text));
        }
    }
    console.say(&".".repeat(count / 50 + 1));
    if !rows.is_empty() {
        console.screen.row("---- Command ID ----    ---- Agent Name & ID----");
    }
    for (_, _, row) in &rows {
        console.screen.row(row);
    }
    let what = match show {
        Show::All => "have returned",
        Show::Found => "have found things",
        Show::NotFound => "have found nothing",
    };
    console.say(&format!("{} agents {what}", rows.len()));
    for (command, agent, _) in rows.iter().rev() {
        console.saw(Kind::Command, command);
        console.saw(Kind::Agent, agent);
    }
    Ok(())
}

fn row(command: &Command) -> String {
    let id = right(&command.id.to_string(), 20);
    format!("{id}    {} [{}]", printable(&command.agent.name), command.agent.id)
}

/// One `| grep [-v] <expression>`.
#[derive(Debug)]
struct Filter {
    expression: Regex,
    inverted: bool,
}

impl Filter {
    fn passes(&self, row: &str) -> bool {
        self.expression.is_match(row) != self.inverted
    }
}

fn list_words(words: &[&str]) -> Result<(Show, Vec<Filter>), Failure> {
    let mut stages = words.split(|word| *word == "|");
    let show = match stages.next() {
        None | Some([]) => Show::All,
        Some([word]) => Show::parse(word).ok_or_else(|| {
            Failure::usage(format!("unknown word '{word}', must be all, found or notfound"))
        })?,
        Some([_, word, ..]) => return Err(Failure::usage(format!("unknown word '{word}'"))),
    };
    let filters = stages.map(|stage| {
        let (expression, inverted) = match stage {
            ["grep", "-v", expression] => (expression, true),
            ["grep", expression] if *expression != "-v" => (expression, false),
            _ => {
                let stage = stage.join(" ");
                let message = format!("Invalid filter '{stage}': must be 'grep [-v] <expression>'");
                return Err(Failure::usage(message));
            }
        };
        let expression = Regex::new(expression).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            Failure::usage(format!("Invalid filter '{expression}': {reason}"))
        })?;
        Ok(Filter { expression, inverted })
    });
    Ok((show, filters.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_refused_unless_they_make_sense() {
        for line in [
            "some",
            "found extra",
            "| sort",
            "| grep",
            "| grep a b",
            "| grep (",
            "found | grep -v",
            "found |",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(list_words(&words).unwrap_err().code, 2, "{line}");
        }
    }

    #[test]
    fn every_stage_must_pass() {
        let words = ["found", "|", "grep", "web[12]", "|", "grep", "-v", "db"];
        let (show, filters) = list_words(&words).unwrap();
        assert_eq!(show, Show::Found);
        let passes = |row: &str| filters.iter().all(|filter| filter.passes(row));
        assert!(passes("web1.example.net"));
        assert!(!passes("web3") && !passes("web1.db"));
        assert_eq!(list_words(&[]).unwrap().0, Show::All);
    }

    #[test]
    fn details_are_those_of_the_original() {
        let action: Action =
            mig_types::wire::from_slice(include_bytes!("../../tests/samples/action.json")).unwrap();
        let expected = include_str!("../../tests/samples/action-details.txt");
        assert_eq!(details(&action), expected.trim_end_matches('\n'));
        let expected = include_str!("../../tests/samples/action-times.txt");
        assert_eq!(times(&action), expected.trim_end());
        let expected = include_str!("../../tests/samples/action-json.txt");
        assert!(json(&shown(&action)).unwrap().starts_with(expected.trim_end()));
    }
}
