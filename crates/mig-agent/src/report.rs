//! What an agent answers: the one place where endings become statuses.

use std::fmt;
use std::time::Duration;

use mig_types::{
    Agent, Command, CommandId, CommandStatus, ModuleResult, QueueLoc, Timestamp, wire,
};
use serde::Deserialize;
use serde_json::Value;

use crate::journal::{Outcome, Outgoing};

/// How long a result is kept after its action expired.
const GRACE: Duration = Duration::from_hours(6);

/// How one operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The module answered, with or without success of its own.
    Answered(ModuleResult),
    /// This build does not have the module.
    NotAvailable { module: String },
    /// The action expired before the operation's turn.
    Expired,
    /// A limit was reached.
    Killed(Limit),
    /// The module process failed to do its part.
    Broken(String),
}

/// The limit a module process ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Both in bytes.
    Memory {
        used: u64,
        limit: u64,
    },
    Time(Duration),
    /// In bytes.
    Output(usize),
    /// Processes and threads together.
    Processes(usize),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { used, limit } => {
                write!(f, "killed: memory {}/{} MB", used.div_ceil(1 << 20), limit >> 20)
            }
            Self::Time(limit) if limit.subsec_millis() == 0 => {
                write!(f, "killed: ran longer than {}s", limit.as_secs())
            }
            Self::Time(limit) => {
                write!(f, "killed: ran longer than {:.1}s", limit.as_secs_f64())
            }
            Self::Output(limit) => write!(f, "killed: output above {} MB", limit >> 20),
            Self::Processes(limit) => {
                write!(f, "killed: more than {limit} processes and threads")
            }
        }
    }
}

impl Ending {
    /// Adds that processes were killed which the module left behind. A limit that
    /// was reached says enough by itself.
    #[must_use]
    pub fn with_left_behind(self, count: usize) -> Self {
        let note = match count {
            0 => return self,
            1 => "killed: 1 process left behind".to_owned(),
            _ => format!("killed: {count} processes left behind"),
        };
        match self {
            Self::Answered(mut result) => {
                result.errors.get_or_insert_default().push(note);
                Self::Answered(result)
            }
            Self::Broken(reason) => Self::Broken(format!("{reason}; {note}")),
            other => other,
        }
    }

    /// The status it gives a command, and the result in its place.
    pub fn settle(self) -> (CommandStatus, ModuleResult) {
        let failed = |text: String| (CommandStatus::Failed, ModuleResult::failed(text));
        match self {
            Self::Answered(result) => (CommandStatus::Success, result),
            Self::NotAvailable { module } => failed(format!("module '{module}' is not available")),
            Self::Expired => failed("action expired before the operation was run".to_owned()),
            Self::Killed(limit @ Limit::Time(_)) => {
                (CommandStatus::Timeout, ModuleResult::failed(limit.to_string()))
            }
            Self::Killed(limit) => failed(limit.to_string()),
            Self::Broken(reason) => failed(reason),
        }
    }
}

/// The outcome of operations that ended one way or another: the first status
/// that is not success is the command's.
pub fn outcome(endings: Vec<Ending>) -> Outcome {
    let mut status = CommandStatus::Success;
    let results = endings
        .into_iter()
        .map(|ending| {
            let (own, result) = ending.settle();
            if status == CommandStatus::Success {
                status = own;
            }
            result
        })
        .collect();
    Outcome { status, results }
}

/// The outcome of a command that is not run: the reason, once per operation.
pub fn refusal(operations: usize, reason: &str) -> Outcome {
    // An action without operations still gets to know why.
    let results = vec![ModuleResult::failed(reason); operations.max(1)];
    Outcome { status: CommandStatus::Failed, results }
}

/// Makes answers.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub queueloc: QueueLoc,
    pub heartbeatfreq: Duration,
}

impl Reporter {
    /// The answer to `command`: the whole of it as received, with status and
    /// results, and with the address overwritten by this agent's own.
    ///
    /// # Errors
    ///
    /// When the command cannot be written as JSON.
    pub fn answer(
        &self,
        mut command: Command,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<Outgoing, wire::WireError> {
        self.queueloc.as_str().clone_into(&mut command.agent.queueloc);
        command.status = outcome.status;
        command.results = Some(outcome.results.clone());
        // Long enough for schedulers that are away for a while.
        let expires =
            (now + self.heartbeatfreq * 10).max(command.action.expireafter.min(far(now)) + GRACE);
        Ok(Outgoing { expires, body: wire::to_vec(&command)? })
    }

    /// The answer to a message that is no command but names one; `None` when
    /// there is nobody to answer.
    pub fn answer_malformed(&self, body: &[u8], reason: &str, now: Timestamp) -> Option<Outgoing> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Envelope {
            id: CommandId,
            agent: Agent,
        }
        let envelope: Envelope = wire::from_slice(body).ok()?;
        if envelope.id.is_unset() {
            return None;
        }
        let command = Command { id: envelope.id, agent: envelope.agent, ..Command::default() };
        self.answer(command, &refusal(1, reason), now).ok()
    }
}

/// No result is kept longer than this, whatever the action says.
fn far(now: Timestamp) -> Timestamp {
    now + Duration::from_hours(24 * 30)
}

/// Makes an answer fit the relay: first elements and statistics go, then the
/// action itself. `None` when there is nothing left to leave out.
pub fn shrink(body: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut command: Command = wire::from_slice(body).ok()?;
    let note = format!("result of {} bytes exceeds the relay's limit of {limit}", body.len());
    let results = command.results.get_or_insert_default();
    let mut order: Vec<(usize, usize)> = results
        .iter()
        .enumerate()
        .map(|(index, result)| (wire::to_vec(result).map_or(0, |json| json.len()), index))
        .collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = body.len();
    for (size, index) in order {
        if left < limit {
            break;
        }
        let result = results.get_mut(index)?;
        if result.elements.is_null() && result.statistics.is_null() {
            continue;
        }
        result.elements = Value::Null;
        result.statistics = Value::Null;
        result.errors.get_or_insert_default().push(format!("elements dropped: {note}"));
        left = left.saturating_sub(size);
    }
    let shorter = wire::to_vec(&command).ok()?;
    // Always shorter than before: a relay that counts otherwise is not asked
    // for ever.
    if shorter.len() < limit.min(body.len()) {
        return Some(shorter);
    }
    // What is left is the action, which the schedulers have, and errors.
    command.action.operations = None;
    for result in command.results.get_or_insert_default() {
        let errors = result.errors.get_or_insert_default();
        errors.clear();
        errors.push(format!("errors dropped: {note}"));
    }
    let shortest = wire::to_vec(&command).ok()?;
    (shortest.len() < limit.min(body.len())).then_some(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Operation;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn reporter() -> Reporter {
        Reporter {
            queueloc: "linux.web1.x".parse().unwrap(),
            heartbeatfreq: Duration::from_mins(5),
        }
    }

    #[test]
    fn the_first_status_that_is_not_success_sticks() {
        let ok = || Ending::Answered(ModuleResult::default());
        let slow = || Ending::Killed(Limit::Time(Duration::from_mins(5)));
        let missing = || Ending::NotAvailable { module: "x".into() };
        for (endings, status) in [
            (vec![ok(), ok()], CommandStatus::Success),
            (vec![ok(), slow(), missing()], CommandStatus::Timeout),
            (vec![missing(), slow(), ok()], CommandStatus::Failed),
            (vec![], CommandStatus::Success),
        ] {
            assert_eq!(outcome(endings).status, status);
        }
    }

    #[test]
    fn what_was_left_behind_is_told_unless_a_limit_says_more() {
        let ok = || Ending::Answered(ModuleResult { success: true, ..ModuleResult::default() });
        assert_eq!(ok().with_left_behind(0), ok());
        let (status, result) = ok().with_left_behind(2).settle();
        assert_eq!((status, result.success), (CommandStatus::Success, true));
        assert_eq!(result.errors.unwrap(), ["killed: 2 processes left behind"]);
        let broken = Ending::Broken("it broke".into()).with_left_behind(1);
        assert_eq!(broken, Ending::Broken("it broke; killed: 1 process left behind".into()));
        let killed = Ending::Killed(Limit::Time(Duration::from_mins(1)));
        assert_eq!(killed.clone().with_left_behind(3), killed);
    }

    #[test]
    fn limits_say_how_much_of_what() {
        for (limit, text) in [
            (Limit::Memory { used: 260 << 20, limit: 256 << 20 }, "killed: memory 260/256 MB"),
            (
                Limit::Memory { used: (256 << 20) + 1, limit: 256 << 20 },
                "killed: memory 257/256 MB",
            ),
            (Limit::Time(Duration::from_mins(5)), "killed: ran longer than 300s"),
            (Limit::Time(Duration::from_millis(1500)), "killed: ran longer than 1.5s"),
            (Limit::Processes(64), "killed: more than 64 processes and threads"),
            (Limit::Output(20 << 20), "killed: output above 20 MB"),
        ] {
            assert_eq!(limit.to_string(), text);
        }
        let text = "module 'x' is not available";
        let result = Ending::NotAvailable { module: "x".into() }.settle().1;
        assert_eq!(result, ModuleResult::failed(text));
    }

    #[test]
    fn an_answer_echoes_all_but_the_address() {
        let mut command = Command { id: CommandId::new(7).unwrap(), ..Command::default() };
        command.agent.name = "web1".into();
        command.agent.queueloc = "linux.other".into();
        command.agent.pid = 42;
        command.action.name = "n".into();
        let answer = reporter().answer(command.clone(), &refusal(2, "no"), now()).unwrap();
        let back: Command = wire::from_slice(&answer.body).unwrap();
        command.agent.queueloc = "linux.web1.x".into();
        command.status = CommandStatus::Failed;
        command.results = Some(vec![ModuleResult::failed("no"), ModuleResult::failed("no")]);
        assert_eq!(back, command);
        assert!(answer.body.starts_with(b"{") && answer.body.ends_with(b"}"));
        assert_eq!(answer.expires, now() + Duration::from_mins(50));
    }

    #[test]
    fn results_outlive_their_action_by_hours() {
        let mut command = Command::default();
        command.action.expireafter = now() + Duration::from_hours(2);
        let answer = reporter().answer(command.clone(), &refusal(1, "no"), now()).unwrap();
        assert_eq!(answer.expires, now() + Duration::from_hours(8));
        command.action.expireafter = Timestamp::NEVER;
        let answer = reporter().answer(command, &refusal(1, "no"), now()).unwrap();
        assert!(answer.expires < now() + Duration::from_hours(24 * 40));
    }

    #[test]
    fn only_what_names_a_command_is_answered() {
        for body in [&b"{"[..], b"[]", b"{}", b"{\"id\":0}", b"{\"id\":\"7\"}", b"null"] {
            assert_eq!(reporter().answer_malformed(body, "no", now()), None);
        }
        let body = br#"{"id":7,"agent":{"name":"web1","pid":9},"status":"nonsense"}"#;
        let answer = reporter().answer_malformed(body, "no", now()).unwrap();
        let back: Command = wire::from_slice(&answer.body).unwrap();
        assert_eq!((back.id.get(), back.agent.pid), (7, 9));
        assert_eq!(back.results, Some(vec![ModuleResult::failed("no")]));
    }

    #[test]
    fn what_is_too_large_loses_its_largest_elements_first() {
        let big = |n: usize| ModuleResult {
            success: true,
            elements: json!("x".repeat(n)),
            ..ModuleResult::default()
        };
        let command =
            Command { results: Some(vec![big(10), big(5000), big(20)]), ..Command::default() };
        let body = wire::to_vec(&command).unwrap();
        let back: Command = wire::from_slice(&shrink(&body, 3000).unwrap()).unwrap();
        let results = back.results.unwrap();
        assert_eq!(results[0], big(10));
        assert_eq!(results[1].elements, Value::Null);
        assert!(results[1].success);
        let text = &results[1].errors.as_ref().unwrap()[0];
        assert!(text.contains("exceeds the relay's limit of 3000"), "{text}");
        assert_eq!(results[2], big(20));
    }

    #[test]
    fn at_last_the_action_itself_is_left_out_and_then_nothing() {
        let mut command = Command::default();
        let parameters = json!("p".repeat(9000));
        command.action.operations = Some(vec![Operation { parameters, ..Operation::default() }]);
        command.results = Some(vec![ModuleResult::failed("e".repeat(9000))]);
        let body = wire::to_vec(&command).unwrap();
        let shorter = shrink(&body, 4000).unwrap();
        assert!(shorter.len() < 4000);
        assert_eq!(shrink(&shorter, 100), None);
        assert_eq!(shrink(b"nonsense", 100), None);
    }
}
