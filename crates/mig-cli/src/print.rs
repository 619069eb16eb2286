//! Results as lines.

use std::collections::BTreeMap;

use mig_module::Registry;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::format::{Form, Format};
use mig_terminal::grid::{self, Field, Row, Rows};
use mig_terminal::listing;
use mig_terminal::output::{Output, Paint};
use mig_terminal::results::{self, Line};
use mig_terminal::text::{compact, seconds};
use mig_types::{Action, Command, CommandStatus};

use crate::globals::{Globals, Show};
use crate::render::Render;

/// One line of an answer, as a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    agent: String,
    status: &'static str,
    module: String,
    found: bool,
    line: String,
    command: String,
    finishtime: String,
    /// What went wrong, and not what was found.
    is_talk: bool,
}

impl Row for Answer {
    const FIELDS: &'static [Field] = &[
        Field::new("agent"),
        Field::new("status").expendable(2),
        Field::new("module").expendable(1),
        Field::new("found").expendable(3),
        Field::new("line"),
        Field::hidden("command").number(),
        Field::hidden("finishtime"),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "agent" => self.agent.clone(),
            "status" => self.status.to_owned(),
            "module" => self.module.clone(),
            "found" => self.found.to_string(),
            "line" => self.line.clone(),
            "command" => self.command.clone(),
            "finishtime" => self.finishtime.clone(),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.agent.clone()
    }
}

/// A command that waits for its place, which its first line tells.
struct Kept {
    command: Command,
    first: Answer,
}

impl Row for Kept {
    const FIELDS: &'static [Field] = Answer::FIELDS;

    fn cell(&self, field: &str) -> String {
        self.first.cell(field)
    }

    fn name(&self) -> String {
        self.first.name()
    }
}

/// Prints commands as they come and remembers what the summary needs.
pub(crate) struct Printer<'a> {
    registry: &'a Registry,
    show: Show,
    form: Form,
    rows: Rows,
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
    /// Lines that are printed at the end, in another order.
    held: Vec<Answer>,
}

impl<'a> Printer<'a> {
    /// # Errors
    ///
    /// [`Failure`] for columns that results do not have.
    pub(crate) fn new(registry: &'a Registry, globals: &Globals) -> Result<Self, Failure> {
        grid::check::<Answer>(&globals.form)?;
        Ok(Self {
            registry,
            show: globals.show,
            rows: Rows::new::<Answer>(&globals.form)?,
            form: globals.form.clone(),
            on_map: globals.render != Render::Text,
            shown: 0,
            found: 0,
            by_status: BTreeMap::new(),
            refusals: BTreeMap::new(),
            kept: Vec::new(),
            held: Vec::new(),
        })
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
        if self.on_map {
            if wanted && success {
                self.kept.push(command);
            }
            return Ok(());
        }
        let waits = self.form.sort.is_some();
        match self.form.format {
            Format::Json => self.kept.push(command),
            Format::NdJson if waits => self.kept.push(command),
            Format::NdJson => output.line(&compact(&command).unwrap_or_default())?,
            Format::Name if wanted && waits => self.held.push(about(&command)),
            Format::Name if wanted => output.line(&agent)?,
            Format::Name => {}
            Format::Table | Format::Csv => {
                self.head(output)?;
                let answers = if wanted { self.answers(&command) } else { Vec::new() };
                for answer in answers {
                    if waits {
                        self.held.push(answer);
                    } else if let Some(line) = self.rows.add(&answer) {
                        output.line(&line)?;
                    }
                }
            }
            Format::Text => {
                for answer in self.lines(&command, wanted) {
                    if waits { self.held.push(answer) } else { tell(&answer, output)? }
                }
            }
        }
        Ok(())
    }

    /// The line above all rows, even if none comes.
    fn head(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.rows.heading().map_or(Ok(()), |line| output.line(&line))
    }

    /// One row for each line, and one for a command without any.
    fn answers(&self, command: &Command) -> Vec<Answer> {
        let mut answers = Vec::new();
        let results = command.results.as_deref().unwrap_or_default();
        for (operation, result) in command.action.operations().iter().zip(results) {
            // Of this operation alone.
            let single = Command {
                action: Action { operations: Some(vec![operation.clone()]), ..Action::default() },
                results: Some(vec![result.clone()]),
                ..Command::default()
            };
            for line in results::lines(self.registry, &single, self.show == Show::Found) {
                let (line, is_talk) = match line {
                    Line::Data(text) if text == SUCCESS => continue,
                    Line::Data(text) => (text, false),
                    Line::Talk(text) => (text, true),
                };
                answers.push(Answer {
                    module: operation.module.clone(),
                    found: result.foundanything,
                    line,
                    is_talk,
                    ..about(command)
                });
            }
        }
        if command.status != CommandStatus::Success {
            answers.push(about(command));
        }
        answers
    }

    /// What the original prints of a command.
    fn lines(&self, command: &Command, wanted: bool) -> Vec<Answer> {
        let status = command.status;
        if status != CommandStatus::Success {
            let line = format!("command did not succeed. status={status}");
            let answer = Answer { line, is_talk: true, ..about(command) };
            return if self.show == Show::Found { Vec::new() } else { vec![answer] };
        }
        if !wanted {
            return Vec::new();
        }
        if self.form.sort.is_some() {
            // The module of each line counts.
            let mut answers = self.answers(command);
            if self.show != Show::Found {
                answers.push(Answer { line: SUCCESS.to_owned(), ..about(command) });
            }
            return answers;
        }
        let lines = results::lines(self.registry, command, self.show == Show::Found).into_iter();
        let answer = |line| match line {
            Line::Data(line) => Answer { line, ..about(command) },
            Line::Talk(line) => Answer { line, is_talk: true, ..about(command) },
        };
        lines.map(answer).collect()
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

    /// Prints what had to wait for the last command.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        if self.on_map {
            return Ok(());
        }
        self.head(output)?;
        let mut held = std::mem::take(&mut self.held);
        grid::sort(&mut held, &self.form)?;
        for answer in held {
            match self.form.format {
                Format::Text => tell(&answer, output)?,
                Format::Name => output.line(&printable(&answer.agent))?,
                _ => {
                    if let Some(line) = self.rows.add(&answer) {
                        output.line(&line)?;
                    }
                }
            }
        }
        if self.form.format == Format::Table {
            for line in self.rows.table(listing::width(&self.form)) {
                output.line(&line)?;
            }
        }
        if self.form.sort.is_some() {
            let kept = self.take_kept().into_iter();
            let first = |command: &Command| {
                self.answers(command).into_iter().next().unwrap_or_else(|| about(command))
            };
            let mut kept: Vec<Kept> =
                kept.map(|command| Kept { first: first(&command), command }).collect();
            grid::sort(&mut kept, &self.form)?;
            self.kept = kept.into_iter().map(|kept| kept.command).collect();
        }
        if self.form.format == Format::NdJson {
            for command in self.take_kept() {
                output.line(&compact(&command).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// What is said when all is printed.
    pub(crate) fn summary(&mut self, action: &Action, output: &mut Output) -> Result<(), Failure> {
        self.finish(output)?;
        if self.form.format == Format::Json && !self.on_map {
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

/// How the lines of a successful command end when all are shown.
const SUCCESS: &str = "command success";

/// A row about a command as a whole.
fn about(command: &Command) -> Answer {
    Answer {
        agent: command.agent.name.clone(),
        status: command.status.as_str(),
        command: command.id.to_string(),
        finishtime: seconds(command.finishtime),
        ..Answer::default()
    }
}

fn tell(answer: &Answer, output: &mut Output) -> Result<(), Failure> {
    let text = format!("{} {}", printable(&answer.agent), answer.line);
    if answer.is_talk {
        output.warn(&text);
        return Ok(());
    }
    output.line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::{Agent, ModuleResult, Operation};
    use serde_json::json;

    fn command(agent: &str, status: CommandStatus, found: bool) -> Command {
        let operation = Operation { module: "unknown".into(), ..Operation::default() };
        let result = ModuleResult {
            foundanything: found,
            elements: json!({ "a": "b,\"c\"" }),
            ..ModuleResult::default()
        };
        Command {
            agent: Agent { name: agent.into(), ..Agent::default() },
            action: Action { operations: Some(vec![operation]), ..Action::default() },
            results: Some(vec![result]),
            status,
            ..Command::default()
        }
    }

    #[test]
    fn each_line_is_a_row_and_a_failed_command_one_of_its_own() {
        let registry = mig_modules::registry();
        let mut globals = Globals::default();
        globals.show = Show::All;
        let printer = Printer::new(&registry, &globals).unwrap();
        let form = Form { format: Format::Csv, header: true, ..Form::default() };
        let mut rows = Rows::new::<Answer>(&form).unwrap();
        assert_eq!(rows.heading().as_deref(), Some("agent,status,module,found,line"));
        let mut lines = |command: &Command| {
            let answers = printer.answers(command);
            answers.iter().filter_map(|answer| rows.add(answer)).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(&command("web1", CommandStatus::Success, true)),
            [r#"web1,success,unknown,true,"{""a"":""b,\""c\""""}""#]
        );
        let failed = lines(&command("=web2", CommandStatus::Failed, false));
        assert_eq!(failed[1], "=web2,failed,,false,");
        assert_eq!(failed.len(), 2);
    }
}
