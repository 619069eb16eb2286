//! Results as lines.

use std::collections::BTreeMap;

use mig_module::Registry;
use mig_module::text::printable;
use mig_terminal::results::{self, Line};
use mig_terminal::text::compact;
use mig_types::{Action, Command, CommandStatus};

use crate::globals::{Format, Globals, Show};
use crate::render::Render;
use mig_terminal::failure::Failure;
use mig_terminal::output::{Output, Paint};

/// Prints commands as they come and remembers what the summary needs.
pub(crate) struct Printer<'a> {
    registry: &'a Registry,
    show: Show,
    format: Format,
    /// Commands are kept for a map instead of being printed.
    on_map: bool,
    /// Commands that were shown.
    shown: u64,
    found: u64,
    /// Agents by status, for the lists at the end.
    by_status: BTreeMap<CommandStatus, Vec<String>>,
    /// Agents by the reason they gave for not doing it.
    refusals: BTreeMap<String, Vec<String>>,
    kept: Vec<Command>,
    /// Whether the heading of a table was printed.
    headed: bool,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(registry: &'a Registry, globals: &Globals) -> Self {
        Self {
            registry,
            show: globals.show,
            format: globals.format,
            on_map: globals.render != Render::Text,
            shown: 0,
            found: 0,
            by_status: BTreeMap::new(),
            refusals: BTreeMap::new(),
            kept: Vec::new(),
            headed: false,
        }
    }

    /// Whether anything was found anywhere.
    pub(crate) const fn found_anything(&self) -> bool {
        self.found > 0
    }

    /// Agents that succeeded.
    pub(crate) fn succeeded(&self) -> u64 {
        self.by_status.get(&CommandStatus::Success).map_or(0, |names| names.len() as u64)
    }

    /// One command that is over.
    pub(crate) fn command(&mut self, command: Command, output: &mut Output) -> Result<(), Failure> {
        let agent = printable(&command.agent.name);
        self.by_status.entry(command.status).or_default().push(agent.clone());
        let results = command.results.as_deref().unwrap_or_default();
        let hit = results.iter().any(|result| result.foundanything);
        let miss = results.iter().any(|result| !result.foundanything);
        let success = command.status == CommandStatus::Success;
        self.found += u64::from(success && hit);
        let wanted = match self.show {
            Show::Found => success && hit,
            Show::NotFound => success && miss,
            Show::All => true,
        };
        self.shown += u64::from(wanted);
        if command.status == CommandStatus::Failed {
            self.refusal(&command, &agent);
        }
        match self.format {
            _ if self.on_map => {
                if wanted && success {
                    self.kept.push(command);
                }
                Ok(())
            }
            Format::Json => {
                self.kept.push(command);
                Ok(())
            }
            Format::Csv => self.csv(&command, wanted, output),
            Format::NdJson => output.line(&compact(&command).unwrap_or_default()),
            Format::Text if !success && self.show != Show::Found => {
                let status = command.status;
                output.say(&format!("{agent} command did not succeed. status={status}"));
                Ok(())
            }
            Format::Text if wanted && success => self.text(&command, &agent, output),
            Format::Text => Ok(()),
        }
    }

    /// One row for each line, and one for a command without any.
    fn csv(&mut self, command: &Command, wanted: bool, out: &mut Output) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.headed, true) {
            out.line("agent,status,module,found,line")?;
        }
        if !wanted {
            return Ok(());
        }
        let results = command.results.as_deref().unwrap_or_default();
        let status = command.status.as_str();
        for (operation, result) in command.action.operations().iter().zip(results) {
            let found = if result.foundanything { "true" } else { "false" };
            // Of this operation alone.
            let single = Command {
                action: Action { operations: Some(vec![operation.clone()]), ..Action::default() },
                results: Some(vec![result.clone()]),
                ..Command::default()
            };
            for line in results::lines(self.registry, &single, self.show == Show::Found) {
                let text = match line {
                    Line::Data(text) if text == "command success" => continue,
                    Line::Data(text) | Line::Talk(text) => text,
                };
                let cells = [&command.agent.name, status, &operation.module, found, &text];
                out.line(&row(&cells))?;
            }
        }
        if command.status != CommandStatus::Success {
            out.line(&row(&[&command.agent.name, status, "", "false", ""]))?;
        }
        Ok(())
    }

    /// The commands for a map.
    pub(crate) fn take_kept(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.kept)
    }

    fn refusal(&mut self, command: &Command, agent: &str) {
        let mut reasons: Vec<&String> =
            command.results.iter().flatten().filter_map(|r| r.errors.as_ref()).flatten().collect();
        reasons.dedup();
        for reason in reasons {
            let agents = self.refusals.entry(printable(reason)).or_default();
            if agents.last().is_none_or(|last| last != agent) {
                agents.push(agent.to_owned());
            }
        }
    }

    fn text(&self, command: &Command, agent: &str, output: &mut Output) -> Result<(), Failure> {
        for line in results::lines(self.registry, command, self.show == Show::Found) {
            match line {
                Line::Data(text) => output.line(&format!("{agent} {text}"))?,
                Line::Talk(text) => output.say(&format!("{agent} {text}")),
            }
        }
        Ok(())
    }

    /// What is said when all is printed.
    pub(crate) fn summary(&mut self, action: &Action, output: &mut Output) -> Result<(), Failure> {
        if self.format == Format::Json && !self.on_map {
            let document = serde_json::json!({ "action": action, "commands": self.kept });
            output.line(&compact(&document).unwrap_or_default())?;
        }
        let have = if self.shown > 1 { "agents have" } else { "agent has" };
        let show = self.show.as_str();
        output.paint(Paint::Red, &format!("{} {have} {show} results", self.shown));
        if self.show != Show::All {
            for status in [
                CommandStatus::Cancelled,
                CommandStatus::Expired,
                CommandStatus::Failed,
                CommandStatus::Timeout,
            ] {
                if let Some(agents) = self.by_status.get(&status) {
                    output.paint(Paint::Magenta, &format!("{status}: {}", agents.join(", ")));
                }
            }
        }
        for (reason, agents) in &self.refusals {
            let count = agents.len();
            let word = if count == 1 { "agent" } else { "agents" };
            output.paint(Paint::Magenta, &format!("{count} {word}: {reason}"));
        }
        Ok(())
    }
}

/// Cells as RFC 4180 wants them.
fn row(cells: &[&str]) -> String {
    let cell = |text: &&str| {
        let text = printable(text);
        // A spreadsheet must not take a foreign text for a formula.
        let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
        if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        assert_eq!(
            row(&["web1", "a,b", "say \"x\"", "=1+1"]),
            "web1,\"a,b\",\"say \"\"x\"\"\",'=1+1"
        );
        assert_eq!(row(&["a\nb", ""]), "a\\nb,");
    }
}
