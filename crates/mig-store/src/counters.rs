//! How far actions are, remembered for those that are over.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mig_types::{Action, ActionId, ActionStatus, CommandStatus, Counters, Timestamp};

/// Actions remembered, at most: some megabytes.
const MAX: usize = 50_000;

/// In flight, counters are taken afresh this often; in between, what finished
/// since is added. Only a scheduler of 2019 on the same database changes
/// commands without leaving a sequence to be found by.
const RECOUNT: Duration = Duration::from_secs(5);

/// Counters of actions. Counting the commands of a page of actions again and
/// again would be most of its cost.
///
/// Of an action that is over: whoever changes a command's status changes `lastupdatetime`
/// of its action in the same transaction; a late result is therefore seen, because the
/// time remembered with the counters is another one.
#[derive(Debug, Default)]
pub(crate) struct CounterCache {
    over: Mutex<HashMap<ActionId, (Timestamp, Counters)>>,
    open: Mutex<HashMap<ActionId, Counted>>,
}

/// While its commands are being created, an action's are counted this often: there
/// is nothing to add up what was created since.
const RECOUNT_GROWING: Duration = Duration::from_secs(1);

/// Counters up to a finish sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    /// When all commands were counted.
    at: Instant,
    /// The action's status then.
    status: Option<ActionStatus>,
    /// The last finish sequence they include; 0 for none.
    pub(crate) seq: i64,
    pub(crate) counters: Counters,
}

impl Counted {
    /// All commands of an action, counted now.
    pub(crate) fn now(status: Option<ActionStatus>) -> Self {
        Self { at: Instant::now(), status, seq: 0, counters: Counters::default() }
    }

    /// Adds commands of one status; `seq` is their last.
    pub(crate) fn add(&mut self, status: CommandStatus, count: u64, seq: i64) {
        self.counters.add(status, count);
        self.seq = self.seq.max(seq);
    }

    /// Adds commands that were in flight and finished since. `None` when that
    /// cannot be: all must be counted.
    pub(crate) fn finish(&mut self, status: CommandStatus, count: u64, seq: i64) -> Option<()> {
        let inflight = self.counters.inflight.checked_sub(count)?;
        self.counters.add(status, count);
        self.counters.sent -= count;
        self.counters.inflight = inflight;
        self.seq = self.seq.max(seq);
        Some(())
    }
}

impl CounterCache {
    /// Fills in what is known; the ids of all other actions.
    pub(crate) fn fill(&self, actions: &mut [Action]) -> Vec<ActionId> {
        let known = lock(&self.over);
        let mut unknown = Vec::new();
        for action in actions {
            match known.get(&action.id) {
                Some((time, counters)) if is_over(action) && *time == action.lastupdatetime => {
                    action.counters = *counters;
                }
                _ => unknown.push(action.id),
            }
        }
        unknown
    }

    /// Remembers counters that were read after the action's row was.
    pub(crate) fn learn(&self, action: &Action) {
        if !is_over(action) {
            return;
        }
        let mut known = lock(&self.over);
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(action.id, (action.lastupdatetime, action.counters));
    }

    /// Counters of an action in flight that only miss what finished since. A
    /// command that expired may still be answered, and is then counted
    /// elsewhere: such an action is counted whole.
    pub(crate) fn counted(&self, action: &Action) -> Option<Counted> {
        let recount = recount(action)?;
        let counted = *lock(&self.open).get(&action.id)?;
        (counted.at.elapsed() < recount
            && counted.status == action.status
            && counted.counters.expired == 0)
            .then_some(counted)
    }

    /// Remembers counters of an action in flight.
    pub(crate) fn keep(&self, action: &Action, counted: Counted) {
        let mut open = lock(&self.open);
        if recount(action).is_none() {
            open.remove(&action.id);
            return;
        }
        if open.len() >= MAX {
            open.clear();
        }
        match open.get_mut(&action.id) {
            Some(known) if known.at <= counted.at && known.seq <= counted.seq => *known = counted,
            Some(_) => {}
            None => drop(open.insert(action.id, counted)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long counters of an action may be added to; `None` when they are not kept.
const fn recount(action: &Action) -> Option<Duration> {
    match action.status {
        Some(ActionStatus::Inflight) => Some(RECOUNT),
        Some(ActionStatus::Preparing) => Some(RECOUNT_GROWING),
        _ => None,
    }
}

fn is_over(action: &Action) -> bool {
    action.status.is_some_and(ActionStatus::is_final)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finished_since_is_added_to_what_was_counted() {
        let mut counted = Counted::now(Some(ActionStatus::Inflight));
        counted.add(CommandStatus::Sent, 5, 0);
        counted.add(CommandStatus::Success, 2, 2);
        counted.finish(CommandStatus::Failed, 1, 3).unwrap();
        let Counters { sent, done, inflight, success, failed, .. } = counted.counters;
        assert_eq!((sent, done, inflight, success, failed, counted.seq), (7, 3, 4, 2, 1, 3));
        assert!(counted.finish(CommandStatus::Success, 5, 8).is_none());

        let cache = CounterCache::default();
        let mut action = Action {
            id: ActionId::new(7).unwrap(),
            status: Some(ActionStatus::Inflight),
            ..Action::default()
        };
        cache.keep(&action, counted);
        assert_eq!(cache.counted(&action).unwrap().seq, 3);
        // An older count does not replace a newer one.
        cache.keep(&action, Counted { seq: 1, ..counted });
        assert_eq!(cache.counted(&action).unwrap().seq, 3);
        counted.add(CommandStatus::Expired, 1, 4);
        cache.keep(&action, counted);
        assert!(cache.counted(&action).is_none(), "an expired command may still be answered");
        action.status = Some(ActionStatus::Completed);
        assert!(cache.counted(&action).is_none());
    }

    #[test]
    fn only_an_unchanged_action_that_is_over_is_remembered() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let action = |status, time| Action {
            id: ActionId::new(7).unwrap(),
            status: Some(status),
            lastupdatetime: time,
            ..Action::default()
        };
        let counted = |status, time| Action {
            counters: Counters { sent: 3, ..Counters::default() },
            ..action(status, time)
        };
        let cache = CounterCache::default();
        cache.learn(&counted(ActionStatus::Inflight, now));
        let mut again = [action(ActionStatus::Inflight, now)];
        assert_eq!(cache.fill(&mut again), [again[0].id]);
        cache.learn(&counted(ActionStatus::Completed, now));
        let mut later =
            [action(ActionStatus::Completed, now + std::time::Duration::from_micros(1))];
        assert_eq!(cache.fill(&mut later), [later[0].id]);
        let mut same = [action(ActionStatus::Completed, now)];
        assert!(cache.fill(&mut same).is_empty());
        assert_eq!(same[0].counters.sent, 3);
    }
}
