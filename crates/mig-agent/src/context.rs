//! What the tasks of the agent share.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use mig_relay::Relay;
use mig_runtime::clock::Clock;
use mig_types::{Action, Agent, Fingerprint, QueueLoc, Timestamp};
use tokio::sync::{Notify, watch};

use crate::execute::Executor;
use crate::journal::{Journal, JournalError};
use crate::report::Reporter;
use crate::verify::Policy;

/// One agent at work.
pub struct Context {
    pub clock: Arc<dyn Clock>,
    pub relay: Arc<dyn Relay>,
    pub journal: Arc<Journal>,
    pub policy: Policy,
    pub reporter: Reporter,
    pub executor: Executor,
    /// This agent's own record, as the next heartbeat will carry it.
    pub record: watch::Sender<Agent>,
    pub history: History,
    /// Whether commands can arrive: the agent's queue is there and read.
    pub listening: watch::Sender<bool>,
    /// Messages that have come from the relay.
    pub arrived: watch::Sender<u64>,
    /// Something was put into the outbox.
    pub posted: Notify,
    /// There may be room for another command.
    pub room: Notify,
}

impl Context {
    pub fn queueloc(&self) -> &QueueLoc {
        &self.policy.queueloc
    }

    /// Works on the journal, away from the threads that must not block.
    pub async fn journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let journal = Arc::clone(&self.journal);
        match tokio::task::spawn_blocking(move || work(&journal)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(JournalError::Panicked { path: crate::journal::FILE.into() }),
        }
    }
}

/// The last actions that reached this agent, for its owner.
pub struct History {
    limit: usize,
    entries: Mutex<VecDeque<String>>,
}

impl History {
    pub fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::default() }
    }

    /// Notes what became of an action.
    pub fn note(&self, action: &Action, now: Timestamp, signers: &[Fingerprint], accepted: bool) {
        if self.limit == 0 {
            return;
        }
        let plain = |text: &str| -> String {
            text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
        };
        let modules: BTreeSet<String> = action
            .operations()
            .iter()
            .take(32)
            .map(|operation| plain(&operation.module.to_lowercase()))
            .collect();
        let modules: Vec<String> = modules.into_iter().collect();
        let signers: Vec<&str> = signers.iter().map(Fingerprint::as_str).collect();
        let line = format!(
            "{now} {} {} [{}] signed by [{}]",
            if accepted { "Accepted" } else { "Rejected" },
            plain(&action.name),
            modules.join(","),
            signers.join(","),
        );
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_back(line);
        while entries.len() > self.limit {
            entries.pop_front();
        }
    }

    /// One line per action, the oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_actions_on_one_line_each() {
        let history = History::new(2);
        for name in ["one", "two\nlines", "three"] {
            let action = Action { name: name.into(), ..Action::default() };
            history.note(&action, Timestamp::ZERO, &[], name != "three");
        }
        let lines = history.lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("Accepted two lines []"), "{lines:?}");
        assert!(lines[1].contains("Rejected three"), "{lines:?}");
    }
}
