//! Results as lines.

use std::collections::{BTreeMap, HashSet};

use mig_module::Registry;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::format::{Form, Format};
use mig_terminal::grid::{self, Field, Row, Rows};
use mig_terminal::listing;
use mig_terminal::output::{Output, Paint};
use mig_terminal::results::{self, Line};
use mig_terminal::text::seconds;
use mig_types::{Action, ActionStatus, Agent, Command, CommandId, CommandStatus};

use crate::globals::{Globals, Show};
use crate::parts::{self, Summary};
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

/// Lines of JSON that wait for their place, which the first answer tells.
struct Kept {
    lines: Vec<String>,
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
    /// Commands that were told.
    told: HashSet<CommandId>,
    /// Commands that expired: an agent may answer all the same.
    expired: BTreeMap<CommandId, Command>,
    /// Commands that were shown.
    shown: u64,
    found: u64,
    /// Lines of JSON, without the last one.
    parts: u64,
    /// Agents by status, for the lists at the end.
    by_status: BTreeMap<CommandStatus, Vec<String>>,
    /// Agents by the reason they gave for not doing it.
    refusals: BTreeMap<String, Vec<String>>,
    /// Commands for a map.
    mapped: Vec<Command>,
    kept: Vec<Kept>,
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
            told: HashSet::new(),
            expired: BTreeMap::new(),
            shown: 0,
            found: 0,
            parts: 0,
            by_status: BTreeMap::new(),
            refusals: BTreeMap::new(),
            mapped: Vec::new(),
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

    /// Whether every agent that an action was sent to has been told.
    fn has_all_of(&self, action: &Action) -> bool {
        let (told, sent) = (self.told.len() as u64, action.counters.sent);
        match action.status {
            Some(status) if status.is_final() => told >= sent,
            // Before that, commands are still being made.
            Some(ActionStatus::Inflight) => sent > 0 && told >= sent,
            _ => false,
        }
    }

    /// One command that is over. What comes again is not told again, unless it
    /// had only expired.
    pub(crate) fn command(&mut self, command: Command, output: &mut Output) -> Result<(), Failure> {
        if command.status == CommandStatus::Expired {
            if !self.told.contains(&command.id) {
                self.expired.insert(command.id, small(command));
            }
            return Ok(());
        }
        self.expired.remove(&command.id);
        self.tell(command, output)
    }

    fn tell(&mut self, command: Command, output: &mut Output) -> Result<(), Failure> {
        if !self.told.insert(command.id) {
            return Ok(());
        }
        self.by_status.entry(command.status).or_default().push(command.agent.name.clone());
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
            self.refusal(&command);
        }
        if self.on_map {
            if wanted && success {
                self.mapped.push(command);
            }
            return Ok(());
        }
        let waits = self.form.sort.is_some();
        match self.form.format {
            Format::Json | Format::NdJson => {
                let mut lines = Vec::new();
                for part in parts::of(&command) {
                    self.parts += 1;
                    let line = parts::line(&part)?;
                    if waits || self.form.format == Format::Json {
                        lines.push(line);
                    } else {
                        output.line(&line)?;
                    }
                }
                if !lines.is_empty() {
                    self.kept.push(Kept { lines, first: self.first(&command) });
                }
            }
            Format::Name if wanted && waits => self.held.push(about(&command)),
            Format::Name if wanted => output.line(&printable(&command.agent.name))?,
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
                    if waits { self.held.push(answer) } else { show(&answer, output)? }
                }
            }
        }
        Ok(())
    }

    /// What tells a command's place among others.
    fn first(&self, command: &Command) -> Answer {
        let first = || self.answers(command).into_iter().next();
        let first = self.form.sort.is_some().then(first).flatten();
        first.unwrap_or_else(|| about(command))
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
    pub(crate) fn take_mapped(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.mapped)
    }

    fn refusal(&mut self, command: &Command) {
        let agent = printable(&command.agent.name);
        let mut reasons: Vec<&String> =
            command.results.iter().flatten().filter_map(|r| r.errors.as_ref()).flatten().collect();
        reasons.dedup();
        for reason in reasons {
            let agents = self.refusals.entry(printable(reason)).or_default();
            if agents.last().is_none_or(|last| *last != agent) {
                agents.push(agent.clone());
            }
        }
    }

    /// Prints what had to wait for the last command.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        for command in std::mem::take(&mut self.expired).into_values() {
            self.tell(command, output)?;
        }
        if self.on_map {
            return Ok(());
        }
        self.head(output)?;
        let mut held = std::mem::take(&mut self.held);
        grid::sort(&mut held, &self.form)?;
        for answer in held {
            match self.form.format {
                Format::Text => show(&answer, output)?,
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
        grid::sort(&mut self.kept, &self.form)
    }

    /// Prints what had to wait, and for programs what it comes to. Nothing more comes
    /// of the action; `over` says that this is not for somebody's leaving early.
    pub(crate) fn end(
        &mut self,
        action: &Action,
        over: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.finish(output)?;
        if self.on_map || !matches!(self.form.format, Format::Json | Format::NdJson) {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept).into_iter().flat_map(|kept| kept.lines);
        let summary = parts::line(&self.sum(action, over))?;
        if self.form.format == Format::Json {
            let results = kept.collect::<Vec<_>>().join(",");
            return output.line(&format!(r#"{{"results":[{results}],"summary":{summary}}}"#));
        }
        for line in kept {
            output.line(&line)?;
        }
        output.line(&summary)
    }

    fn sum(&self, action: &Action, over: bool) -> Summary<'_> {
        let mut summary = Summary::of(action);
        summary.results = self.parts;
        summary.found = self.found;
        summary.notfound = self.succeeded() - self.found;
        summary.complete = over && self.has_all_of(action);
        for (status, names) in &self.by_status {
            if *status != CommandStatus::Success {
                summary.unsuccessful.insert(*status, names);
            }
        }
        summary
    }

    /// What is said when all is printed.
    pub(crate) fn summary(
        &mut self,
        action: &Action,
        over: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.end(action, over, output)?;
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
                    let names: Vec<String> = agents.iter().map(|name| printable(name)).collect();
                    output.paint(Paint::Magenta, &format!("{status}: {}", names.join(", ")));
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

/// A command that waits, with no more than it will be asked for: they may be many.
fn small(command: Command) -> Command {
    let Command { id, action, agent, status, results, starttime, finishtime } = command;
    let results = results.filter(|results| !results.is_empty());
    let operations = action.operations.filter(|_| results.is_some());
    let action = Action { id: action.id, operations, ..Action::default() };
    let agent = Agent { id: agent.id, name: agent.name, ..Agent::default() };
    Command { id, action, agent, status, results, starttime, finishtime }
}

fn show(answer: &Answer, output: &mut Output) -> Result<(), Failure> {
    let text = format!("{} {}", printable(&answer.agent), answer.line);
    if answer.is_talk {
        output.warn(&text);
        return Ok(());
    }
    output.line(&text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use mig_terminal::format::Sort;
    use mig_types::{ModuleResult, Operation};
    use proptest::prelude::*;
    use serde_json::{Value, json};

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

    /// Commands of random statuses and answers, each with an identifier of its own.
    fn commands() -> impl Strategy<Value = Vec<Command>> {
        let answers = prop::collection::vec(any::<bool>(), 0..3);
        let one = (0..CommandStatus::ALL.len(), 0_usize..3, answers, "[a-z\u{1b}\u{9b}\n]{0,3}");
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let command = |(at, (status, operations, answers, name)): (
                u64,
                (usize, usize, Vec<bool>, String),
            )| {
                let operation = Operation { module: "file".into(), ..Operation::default() };
                let result = |found: &bool| ModuleResult {
                    foundanything: *found,
                    errors: Some(vec![name.clone()]),
                    ..ModuleResult::default()
                };
                let status: CommandStatus = CommandStatus::ALL[status];
                Command {
                    id: CommandId::new(at + 1).unwrap(),
                    agent: Agent { name: name.clone(), ..Agent::default() },
                    action: Action {
                        operations: Some(vec![operation; operations]),
                        ..Action::default()
                    },
                    // An agent that has not answered yet is none of the printer's.
                    status: if status.is_final() { status } else { CommandStatus::Expired },
                    results: Some(answers.iter().map(result).collect()),
                    ..Command::default()
                }
            };
            (0..).zip(all).map(command).collect()
        })
    }

    /// What is printed of commands as they come, and the action at the end.
    fn printed(format: Format, sort: bool, told: &[Command], action: &Action) -> String {
        let registry = mig_modules::registry();
        let mut globals = Globals::default();
        globals.form.format = format;
        globals.form.sort = sort.then(|| Sort { column: "agent".to_owned(), descending: false });
        let mut printer = Printer::new(&registry, &globals).unwrap();
        let mut output = Output::kept();
        for command in told {
            printer.command(command.clone(), &mut output).unwrap();
        }
        printer.end(action, true, &mut output).unwrap();
        output.take_data()
    }

    proptest! {
        #[test]
        fn every_command_is_told_once_and_counted_once(
            commands in commands(),
            again in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            sort in any::<bool>(),
        ) {
            let mut action =
                Action { status: Some(ActionStatus::Completed), ..Action::default() };
            for command in &commands {
                action.counters.add(command.status, 1);
            }
            // Some come again, and some had expired before they came.
            let mut told = Vec::new();
            for index in again.iter().filter(|_| !commands.is_empty()) {
                let command = index.get(&commands).clone();
                let expired = Command { status: CommandStatus::Expired, results: None, ..command };
                told.push(expired);
            }
            told.extend(commands.iter().cloned());
            let again = again.iter().filter(|_| !commands.is_empty());
            told.extend(again.map(|index| index.get(&commands).clone()));

            let text = printed(Format::NdJson, sort, &told, &action);
            let mut lines: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let summary = lines.pop().unwrap();
            prop_assert_eq!(&summary["type"], "summary");
            prop_assert_eq!(&summary["complete"], true);
            prop_assert_eq!(&summary["results"], lines.len());
            let mut unsuccessful = 0;
            for names in summary["unsuccessful"].as_object().unwrap().values() {
                unsuccessful += names.as_array().unwrap().len();
            }
            let counted = |name: &str| usize::try_from(summary[name].as_u64().unwrap()).unwrap();
            prop_assert_eq!(counted("found") + counted("notfound") + unsuccessful, commands.len());

            // Each operation of each command once, and no command without a line.
            let key = |line: &Value| (line["command"].as_u64().unwrap(), line["operation"].as_u64());
            let keys: BTreeSet<_> = lines.iter().map(key).collect();
            prop_assert_eq!(keys.len(), lines.len());
            let parts = |command: &Command| {
                let answers = command.results.as_deref().unwrap().len();
                if answers == 0 { 1 } else { answers.max(command.action.operations().len()) }
            };
            prop_assert_eq!(lines.len(), commands.iter().map(parts).sum::<usize>());
            let told: BTreeSet<u64> = keys.iter().map(|(command, _)| *command).collect();
            prop_assert_eq!(told.len(), commands.len());
            for line in &lines {
                prop_assert_eq!(&line["type"], "result");
                let id = usize::try_from(line["command"].as_u64().unwrap()).unwrap();
                let command = &commands[id - 1];
                prop_assert_eq!(&line["status"], command.status.as_str());
                prop_assert_eq!(&line["agent"]["name"], &command.agent.name);
                let answers = command.results.as_deref().unwrap();
                prop_assert_eq!(line["operation"].is_null(), answers.is_empty());
            }

            // One document has the same parts.
            let document: Value =
                serde_json::from_str(&printed(Format::Json, sort, &commands, &action)).unwrap();
            prop_assert_eq!(&document["summary"], &summary);
            let mut results = document["results"].as_array().unwrap().clone();
            let text = |line: &Value| line.to_string();
            results.sort_by_key(text);
            lines.sort_by_key(text);
            prop_assert_eq!(results, lines);
        }
    }

    #[test]
    fn who_leaves_early_has_not_everything() {
        let command = |id, status| Command {
            id: CommandId::new(id).unwrap(),
            ..command("web1", status, true)
        };
        let both = [command(1, CommandStatus::Success), command(2, CommandStatus::Expired)];
        let one = &both[..1];
        for (status, told, sent, over, complete) in [
            (Some(ActionStatus::Completed), &both[..], 2, true, true),
            (Some(ActionStatus::Completed), &both, 2, false, false),
            (Some(ActionStatus::Completed), one, 2, true, false),
            (Some(ActionStatus::Inflight), one, 1, true, true),
            (Some(ActionStatus::Inflight), &[], 0, true, false),
            (Some(ActionStatus::Preparing), one, 1, true, false),
            (Some(ActionStatus::Invalid), &[], 0, true, true),
            (None, one, 1, true, false),
        ] {
            let mut action = Action { status, ..Action::default() };
            action.counters.sent = sent;
            let registry = mig_modules::registry();
            let mut printer = Printer::new(&registry, &Globals::default()).unwrap();
            for command in told {
                printer.command(command.clone(), &mut Output::kept()).unwrap();
            }
            printer.finish(&mut Output::kept()).unwrap();
            assert_eq!(printer.sum(&action, over).complete, complete, "{status:?} {sent} {over}");
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
