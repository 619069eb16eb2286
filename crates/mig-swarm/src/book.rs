//! What the swarm saw and did, to compare a platform with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mig_types::{ActionId, Command, CommandId, CommandStatus};
use serde::Serialize;

use crate::fate::Fate;

/// One command as the swarm knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) action: ActionId,
    /// Number of the agent.
    pub(crate) agent: usize,
    pub(crate) fate: Fate,
    /// Whether the relay has confirmed the answer.
    pub(crate) answered: bool,
}

/// Counts of a swarm.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Heartbeats the relay confirmed.
    pub heartbeats: u64,
    /// Different commands received.
    pub commands: u64,
    /// Commands received again.
    pub repeated: u64,
    /// Answers the relay confirmed, by status.
    pub succeeded: u64,
    pub failed: u64,
    /// Commands taken and not answered, as planned.
    pub lost: u64,
    /// Commands for another agent, or with signatures that do not hold.
    pub refused: u64,
    /// Messages that are no command.
    pub unreadable: u64,
}

/// The book of a fleet; shared by all its agents.
#[derive(Debug, Default)]
pub struct Book {
    commands: Mutex<HashMap<CommandId, Entry>>,
    heartbeats: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    unreadable: AtomicU64,
}

/// What to do with a command that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Not seen before.
    New,
    /// Seen, but its answer did not reach the relay.
    Unanswered,
    /// Done with.
    Settled,
}

impl Book {
    /// Enters a command.
    pub(crate) fn enter(&self, command: &Command, agent: usize, fate: Fate) -> Entered {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let entered = match commands.get(&command.id) {
            None => Entered::New,
            Some(entry) if entry.answered || entry.fate == Fate::Lose => Entered::Settled,
            Some(_) => Entered::Unanswered,
        };
        if entered == Entered::New {
            let action = command.action.id;
            commands.insert(command.id, Entry { action, agent, fate, answered: false });
        } else {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    pub(crate) fn answered(&self, id: CommandId) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = commands.get_mut(&id) {
            entry.answered = true;
        }
    }

    pub(crate) fn heartbeats(&self, count: u64) {
        self.heartbeats.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn entry(&self, id: CommandId) -> Option<Entry> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Commands of an action that arrived.
    pub(crate) fn of_action(&self, action: ActionId) -> usize {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.values().filter(|entry| entry.action == action).count()
    }

    /// The actions agents have heard of, in any order, each once.
    pub fn actions(&self) -> Vec<ActionId> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: std::collections::BTreeSet<_> =
            commands.values().map(|entry| entry.action).collect();
        ids.into_iter().collect()
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            heartbeats: self.heartbeats.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            ..Tally::default()
        };
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        tally.commands = commands.len() as u64;
        for entry in commands.values() {
            match entry.fate {
                Fate::Lose => tally.lost += 1,
                Fate::Succeed if entry.answered => tally.succeeded += 1,
                Fate::Fail if entry.answered => tally.failed += 1,
                Fate::Succeed | Fate::Fail => {}
            }
        }
        tally
    }
}

impl Fate {
    /// The status a platform ends up with.
    pub(crate) const fn status(self) -> CommandStatus {
        match self {
            Self::Succeed => CommandStatus::Success,
            Self::Fail => CommandStatus::Failed,
            Self::Lose => CommandStatus::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_once_however_often_it_comes() {
        let book = Book::default();
        let command = Command { id: CommandId::new(7).unwrap(), ..Command::default() };
        assert_eq!(book.enter(&command, 3, Fate::Succeed), Entered::New);
        assert_eq!(book.enter(&command, 3, Fate::Succeed), Entered::Unanswered);
        book.answered(command.id);
        assert_eq!(book.enter(&command, 3, Fate::Succeed), Entered::Settled);
        let lost = Command { id: CommandId::new(8).unwrap(), ..Command::default() };
        assert_eq!(book.enter(&lost, 4, Fate::Lose), Entered::New);
        assert_eq!(book.enter(&lost, 4, Fate::Lose), Entered::Settled);
        let tally = book.tally();
        assert_eq!((tally.commands, tally.repeated), (2, 3));
        assert_eq!((tally.succeeded, tally.failed, tally.lost), (1, 0, 1));
    }
}
