//! Results of all commands of an action.

use std::collections::BTreeMap;

use mig_client::{CommandQuery, Commands};
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::output::Paint;
use mig_terminal::results::{self, Line};
use mig_types::{Action, ActionId, Command, CommandStatus};

use crate::console::Console;
use crate::screen::aside;

/// Which results are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    All,
    Found,
    NotFound,
}

impl Show {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::All, Self::Found, Self::NotFound].into_iter().find(|show| show.as_str() == word)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Found => "found",
            Self::NotFound => "notfound",
        }
    }

    const fn foundanything(self) -> Option<bool> {
        match self {
            Self::All => None,
            Self::Found => Some(true),
            Self::NotFound => Some(false),
        }
    }
}

/// Commands of an action that `show` means, one after the other.
pub(crate) fn commands(console: &Console, action: ActionId, show: Show) -> Commands<'_> {
    let query = CommandQuery { foundanything: show.foundanything(), ..CommandQuery::of(action) };
    console.api.each_command(query)
}

/// Prints the results of an action, agent by agent.
pub(crate) async fn print(console: &Console, action: &Action, show: Show) -> Result<(), Failure> {
    let mut found = commands(console, action.id, show);
    let mut count = 0_usize;
    while let Some(command) = console.call(found.next()).await? {
        one(console, &command, Some(&printable(&command.agent.name)), show == Show::Found);
        if console.screen.is_gone() {
            return Ok(());
        }
        count += 1;
    }
    let have = if count > 1 { "agents have" } else { "agent has" };
    let text = format!("{count} {have} {} results", show.as_str());
    aside(&console.screen.paint(Paint::Red, &text));
    if show == Show::All {
        return Ok(());
    }
    let failed = action.counters.sent.saturating_sub(action.counters.success);
    if failed == 0 {
        return Ok(());
    }
    let mut others: BTreeMap<CommandStatus, Vec<String>> = BTreeMap::new();
    let mut all = commands(console, action.id, Show::All);
    while let Some(command) = console.call(all.next()).await? {
        others.entry(command.status).or_default().push(printable(&command.agent.name));
    }
    for status in [
        CommandStatus::Cancelled,
        CommandStatus::Expired,
        CommandStatus::Failed,
        CommandStatus::Timeout,
    ] {
        if let Some(agents) = others.get(&status) {
            let text = format!("{status}: {}", agents.join(", "));
            aside(&console.screen.paint(Paint::Magenta, &text));
        }
    }
    Ok(())
}

/// Prints the results of one command, each line after its agent's name.
pub(crate) fn one(console: &Console, command: &Command, agent: Option<&str>, found_only: bool) {
    let prefix = agent.map_or(String::new(), |agent| format!("{agent} "));
    if command.status != CommandStatus::Success {
        if !found_only {
            let text = format!("{prefix}command did not succeed. status={}", command.status);
            aside(&text);
            for reason in command.results.iter().flatten().filter_map(|one| one.errors.as_ref()) {
                for reason in reason {
                    aside(&format!("{prefix}[error] {}", printable(reason)));
                }
            }
        }
        return;
    }
    for line in results::lines(&console.registry, command, found_only) {
        match line {
            Line::Data(text) => console.say(&format!("{prefix}{text}")),
            Line::Talk(text) => aside(&format!("{prefix}{text}")),
        }
    }
}
