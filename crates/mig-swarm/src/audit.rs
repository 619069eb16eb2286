//! Compares what a platform stored with the book of the swarm.

use std::collections::HashMap;

use mig_client::{ApiClient, ClientError, CommandQuery};
use mig_types::{ActionId, Command, Counters};
use serde::Serialize;

use crate::agent::token;
use crate::book::Book;
use crate::fate::Fate;
use crate::plan::Plan;

/// What differs; all zero on a platform that keeps its promises.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Audit {
    pub actions: u64,
    /// Rows of commands that were looked at.
    pub commands: u64,
    /// Answers the relay had confirmed and the platform does not show.
    pub lost: u64,
    /// Commands beyond the first for one agent and action.
    pub doubled: u64,
    /// Agents without a command, commands that never arrived, and commands
    /// without an end.
    pub unaccounted: u64,
    /// Answers that are not what this agent answered to this command.
    pub altered: u64,
    /// Actions whose counters do not add up to their commands.
    pub miscounted: u64,
}

impl Audit {
    pub const fn is_clean(&self) -> bool {
        self.actions > 0
            && self.lost == 0
            && self.doubled == 0
            && self.unaccounted == 0
            && self.altered == 0
            && self.miscounted == 0
    }

    fn add(&mut self, other: Self) {
        self.actions += other.actions;
        self.commands += other.commands;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.unaccounted += other.unaccounted;
        self.altered += other.altered;
        self.miscounted += other.miscounted;
    }
}

/// Reads all commands of the actions back and compares each with the book.
/// Each action was for the whole swarm.
///
/// # Errors
///
/// [`ClientError`] when the API does not answer.
pub async fn audit(
    api: &ApiClient,
    plan: &Plan,
    book: &Book,
    actions: &[ActionId],
) -> Result<Audit, ClientError> {
    let mut sum = Audit::default();
    for id in actions {
        let commands = api.commands(&CommandQuery::of(*id)).await?;
        let counters = api.action(*id).await?.counters;
        sum.add(compare(plan, book, *id, &commands, counters));
    }
    Ok(sum)
}

fn compare(
    plan: &Plan,
    book: &Book,
    action: ActionId,
    commands: &[Command],
    counters: Counters,
) -> Audit {
    let mut audit = Audit { actions: 1, commands: commands.len() as u64, ..Audit::default() };
    let mut rows: HashMap<&str, u64> = HashMap::with_capacity(commands.len());
    let mut counted = Counters::default();
    for command in commands {
        *rows.entry(command.agent.name.as_str()).or_default() += 1;
        counted.add(command.status, 1);
        let Some(entry) = book.entry(command.id) else {
            audit.unaccounted += 1;
            continue;
        };
        if !command.status.is_final() {
            // Also an answer that was confirmed and is not there.
            audit.unaccounted += 1;
            audit.lost += u64::from(entry.answered);
        } else if command.status != entry.fate.status() {
            audit.lost += 1;
        } else if entry.fate != Fate::Lose && !holds(command, &token(plan, entry.agent, command.id))
        {
            audit.altered += 1;
        }
    }
    audit.doubled = rows.values().map(|rows| rows - 1).sum();
    let missing = (0..plan.agents).filter(|n| !rows.contains_key(plan.agent_name(*n).as_str()));
    audit.unaccounted += missing.count() as u64;
    // Commands that agents have and the platform does not show.
    let arrived = book.of_action(action) as u64;
    audit.unaccounted += arrived.saturating_sub(commands.len() as u64);
    audit.miscounted = u64::from(counted != counters);
    audit
}

/// Whether a command's results carry the mark of its answer.
fn holds(command: &Command, token: &str) -> bool {
    let results = command.results.as_deref().unwrap_or_default();
    !results.is_empty()
        && results.iter().all(|result| {
            result.elements.get("swarm").and_then(|mark| mark.as_str()) == Some(token)
                || result.errors.as_deref().unwrap_or_default() == [token]
        })
}

#[cfg(test)]
mod tests {
    use mig_relay::RelayConfig;
    use mig_types::{Agent, CommandId, CommandStatus, ModuleResult};

    use super::*;

    /// Two agents, one answered command each.
    fn world() -> (Plan, Book, Vec<Command>) {
        let plan = Plan::new(RelayConfig::new("amqp://u:p@localhost/"), "swarm", 2);
        let book = Book::default();
        let commands = (0..2)
            .map(|number| {
                let id = CommandId::new(100 + number as u64).unwrap();
                let action = mig_types::Action { id: action(), ..mig_types::Action::default() };
                let agent = Agent { name: plan.agent_name(number), ..Agent::default() };
                let mut command = Command { id, action, agent, ..Command::default() };
                book.enter(&command, number, Fate::Succeed);
                book.answered(id);
                command.status = CommandStatus::Success;
                command.results = Some(vec![ModuleResult {
                    elements: serde_json::json!({ "swarm": token(&plan, number, id) }),
                    ..ModuleResult::default()
                }]);
                command
            })
            .collect();
        (plan, book, commands)
    }

    fn action() -> ActionId {
        ActionId::new(9).unwrap()
    }

    fn looked_at(change: impl FnOnce(&mut Vec<Command>, &mut Counters)) -> Audit {
        let (plan, book, mut commands) = world();
        let mut counters = Counters::default();
        counters.add(CommandStatus::Success, 2);
        change(&mut commands, &mut counters);
        compare(&plan, &book, action(), &commands, counters)
    }

    #[test]
    fn a_platform_that_tells_the_same_is_clean() {
        let audit = looked_at(|_, _| {});
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!((audit.actions, audit.commands), (1, 2));
    }

    #[test]
    fn every_kind_of_difference_is_counted() {
        let lost = looked_at(|c, _| c[0].status = CommandStatus::Expired);
        assert_eq!((lost.lost, lost.is_clean()), (1, false));
        let open = looked_at(|c, _| c[1].status = CommandStatus::Sent);
        assert_eq!((open.lost, open.unaccounted), (1, 1));
        let doubled = looked_at(|c, _| {
            let mut again = c[0].clone();
            again.id = CommandId::new(777).unwrap();
            c.push(again);
        });
        assert_eq!((doubled.doubled, doubled.unaccounted), (1, 1));
        let missing = looked_at(|c, _| drop(c.pop()));
        assert_eq!(missing.unaccounted, 2, "the agent, and the command it got");
        let swapped = looked_at(|c, _| {
            let other = c[1].results.clone();
            c[0].results = other;
        });
        assert_eq!(swapped.altered, 1);
        let emptied = looked_at(|c, _| c[0].results = None);
        assert_eq!(emptied.altered, 1);
        let miscounted = looked_at(|_, counters| counters.success = 1);
        assert_eq!(miscounted.miscounted, 1);
    }
}
