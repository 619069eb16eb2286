//! Results as lines.

use std::collections::BTreeMap;

use mig_module::Registry;
use mig_module::text::printable;
use mig_types::{Action, Command, CommandStatus, wire};

use crate::failure::Failure;
use crate::globals::{Format, Show};
use crate::output::{Output, Paint};

/// Prints commands as they come and remembers what the summary needs.
pub(crate) struct Printer<'a> {
    registry: &'a Registry,
    show: Show,
    format: Format,
    /// Commands that were shown.
    shown: u64,
    found: u64,
    /// Agents by status, for the lists at the end.
    by_status: BTreeMap<CommandStatus, Vec<String>>,
    /// Agents by the reason they gave for not doing it.
    refusals: BTreeMap<String, Vec<String>>,
    kept: Vec<Command>,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(registry: &'a Registry, show: Show, format: Format) -> Self {
        Self {
            registry,
            show,
            format,
            shown: 0,
            found: 0,
            by_status: BTreeMap::new(),
            refusals: BTreeMap::new(),
            kept: Vec::new(),
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
            Format::Json => {
                self.kept.push(command);
                Ok(())
            }
            Format::NdJson => output.line(&wire::to_string(&command).unwrap_or_default()),
            Format::Text if !success && self.show != Show::Found => {
                let status = command.status;
                output.say(&format!("{agent} command did not succeed. status={status}"));
                Ok(())
            }
            Format::Text if wanted && success => self.text(&command, &agent, output),
            Format::Text => Ok(()),
        }
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
        let found_only = self.show == Show::Found;
        let results = command.results.as_deref().unwrap_or_default();
        for (index, operation) in command.action.operations().iter().enumerate() {
            let Some(result) = results.get(index) else {
                if !found_only {
                    let text = format!("operation {index} did not return results");
                    output.say(&format!("{agent} [error] {text}"));
                }
                continue;
            };
            let Some(module) = self.registry.get(&operation.module) else {
                // A hit must never be invisible because this build is older.
                if !found_only || result.foundanything {
                    let text = wire::to_string(&result.elements).unwrap_or_default();
                    output.line(&format!("{agent} {}", printable(&text)))?;
                }
                continue;
            };
            match module.print(result, found_only) {
                Ok(lines) => {
                    for line in lines {
                        output.line(&format!("{agent} {line}"))?;
                    }
                }
                // One odd answer must not hide the others.
                Err(error) => output.say(&format!("{agent} [error] {}", error.one_line())),
            }
        }
        if !found_only {
            output.line(&format!("{agent} command success"))?;
        }
        Ok(())
    }

    /// What is said when all is printed.
    pub(crate) fn summary(&mut self, action: &Action, output: &mut Output) -> Result<(), Failure> {
        if self.format == Format::Json {
            let document = serde_json::json!({ "action": action, "commands": self.kept });
            output.line(&wire::to_string(&document).unwrap_or_default())?;
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
