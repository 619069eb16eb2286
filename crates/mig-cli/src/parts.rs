//! Results for programs: an object for each answer of an operation, and one that
//! sums them up.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mig_terminal::failure::Failure;
use mig_terminal::text::compact;
use mig_types::{
    Action, ActionId, ActionStatus, AgentId, Command, CommandId, CommandStatus, Counters,
};
use serde::Serialize;
use serde_json::Value;

/// Raised when a field goes or means something else; not for one that is added.
const SCHEMA: u32 = 1;

const NOTHING: &Value = &Value::Null;

/// What one agent answered to one operation; with `operation` null the whole
/// answer of an agent that has none to any.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "result")]
pub(crate) struct Part<'a> {
    action: ActionId,
    command: CommandId,
    agent: Who<'a>,
    status: CommandStatus,
    operation: Option<usize>,
    module: Option<&'a str>,
    found: bool,
    elements: &'a Value,
    statistics: &'a Value,
    errors: Cow<'a, [String]>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Who<'a> {
    id: AgentId,
    name: &'a str,
}

/// The parts of a command, at least one.
pub(crate) fn of(command: &Command) -> impl Iterator<Item = Part<'_>> {
    let results = command.results.as_deref().unwrap_or_default();
    let operations = command.action.operations();
    let count = if results.is_empty() { 0 } else { results.len().max(operations.len()) };
    let answers = (0..count).map(move |index| {
        let part = Part {
            operation: Some(index),
            module: operations.get(index).map(|operation| operation.module.as_str()),
            ..without_answer(command)
        };
        match results.get(index) {
            Some(result) => Part {
                found: result.foundanything,
                elements: &result.elements,
                statistics: &result.statistics,
                errors: result.errors.as_deref().unwrap_or_default().into(),
                ..part
            },
            None => Part {
                errors: vec![format!("operation {index} did not return results")].into(),
                ..part
            },
        }
    });
    answers.chain((count == 0).then(|| without_answer(command)))
}

fn without_answer(command: &Command) -> Part<'_> {
    Part {
        action: command.action.id,
        command: command.id,
        agent: Who { id: command.agent.id, name: &command.agent.name },
        status: command.status,
        operation: None,
        module: None,
        found: false,
        elements: NOTHING,
        statistics: NOTHING,
        errors: Cow::Borrowed(&[]),
    }
}

/// What all parts come to. Commands that found something, found nothing, and did
/// not succeed are all there are.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub(crate) struct Summary<'a> {
    schema: u32,
    action: ActionId,
    status: Option<&'static str>,
    counters: Counters,
    /// Parts before this one.
    pub(crate) results: u64,
    pub(crate) found: u64,
    pub(crate) notfound: u64,
    /// Names of agents by the status of their commands.
    pub(crate) unsuccessful: BTreeMap<CommandStatus, &'a [String]>,
    /// Whether every agent that was asked is among the parts.
    pub(crate) complete: bool,
}

impl Summary<'_> {
    /// Of an action of which nothing is told yet.
    pub(crate) fn of(action: &Action) -> Self {
        Self {
            schema: SCHEMA,
            action: action.id,
            status: action.status.map(ActionStatus::as_str),
            counters: action.counters,
            results: 0,
            found: 0,
            notfound: 0,
            unsuccessful: BTreeMap::new(),
            complete: false,
        }
    }
}

/// One line of JSON.
///
/// # Errors
///
/// [`Failure`] when it cannot be written.
pub(crate) fn line<T: Serialize>(part: &T) -> Result<String, Failure> {
    compact(part).map_err(|error| Failure::other(format!("cannot write JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::{Agent, ModuleResult, Operation};
    use serde_json::json;

    fn command(status: CommandStatus, modules: &[&str], answers: usize) -> Command {
        let operation =
            |name: &&str| Operation { module: (*name).to_owned(), ..Operation::default() };
        let operations = modules.iter().map(operation).collect();
        let result = ModuleResult {
            foundanything: true,
            success: true,
            elements: json!({ "s1": ["\u{1b}[2J"] }),
            ..ModuleResult::default()
        };
        Command {
            id: CommandId::new(6_884_999_495_681).unwrap(),
            action: Action {
                id: ActionId::new(6_884_999_430_150).unwrap(),
                operations: Some(operations),
                ..Action::default()
            },
            agent: Agent {
                id: AgentId::new(6_884_999_362_561).unwrap(),
                name: "web1.example.net".to_owned(),
                ..Agent::default()
            },
            status,
            results: (answers > 0).then(|| vec![result; answers]),
            ..Command::default()
        }
    }

    fn lines(command: &Command) -> Vec<String> {
        of(command).map(|part| line(&part).unwrap()).collect()
    }

    #[test]
    fn an_answer_has_the_fields_that_were_promised() {
        assert_eq!(
            lines(&command(CommandStatus::Success, &["file"], 1)),
            [concat!(
                r#"{"type":"result","action":6884999430150,"command":6884999495681,"#,
                r#""agent":{"id":6884999362561,"name":"web1.example.net"},"status":"success","#,
                r#""operation":0,"module":"file","found":true,"#,
                r#""elements":{"s1":["\u001b[2J"]},"statistics":null,"errors":[]}"#
            )]
        );
    }

    #[test]
    fn no_agent_vanishes_for_want_of_an_answer() {
        let expired = lines(&command(CommandStatus::Expired, &["file", "pkg"], 0));
        assert_eq!(expired.len(), 1);
        let end = r#""status":"expired","operation":null,"module":null,"found":false,"elements":null,"statistics":null,"errors":[]}"#;
        assert!(expired[0].ends_with(end), "{}", expired[0]);

        let short = lines(&command(CommandStatus::Success, &["file", "pkg"], 1));
        assert_eq!(short.len(), 2);
        assert!(short[1].contains(r#""operation":1,"module":"pkg","found":false"#), "{}", short[1]);
        assert!(short[1].ends_with(r#""errors":["operation 1 did not return results"]}"#));

        // More answers than questions: none is hidden.
        let odd = lines(&command(CommandStatus::Success, &["file"], 2));
        assert!(odd[1].contains(r#""operation":1,"module":null,"found":true"#), "{}", odd[1]);
    }

    #[test]
    fn a_summary_says_which_schema_it_follows() {
        let action = Action { status: Some(ActionStatus::Invalid), ..Action::default() };
        let names = ["db4.example.net".to_owned()];
        let unsuccessful = [(CommandStatus::Timeout, &names[..])].into();
        let summary = Summary { found: 1, results: 2, unsuccessful, ..Summary::of(&action) };
        assert_eq!(
            line(&summary).unwrap(),
            concat!(
                r#"{"type":"summary","schema":1,"action":0,"status":"invalid","counters":{},"#,
                r#""results":2,"found":1,"notfound":0,"#,
                r#""unsuccessful":{"timeout":["db4.example.net"]},"complete":false}"#
            )
        );
    }
}
