//! How far actions are, remembered for those that are over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mig_types::{Action, ActionId, ActionStatus, Counters, Timestamp};

/// Actions remembered, at most: some megabytes.
const MAX: usize = 50_000;

/// Counters of actions that are over. Counting the commands of a page of
/// actions again and again would be most of its cost.
///
/// Whoever changes a command's status changes `lastupdatetime` of its action in
/// the same transaction; a late result is therefore seen, because the time
/// remembered with the counters is another one.
#[derive(Debug, Default)]
pub(crate) struct CounterCache(Mutex<HashMap<ActionId, (Timestamp, Counters)>>);

impl CounterCache {
    /// Fills in what is known; the ids of all other actions.
    pub(crate) fn fill(&self, actions: &mut [Action]) -> Vec<ActionId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(action.id, (action.lastupdatetime, action.counters));
    }
}

fn is_over(action: &Action) -> bool {
    action.status.is_some_and(ActionStatus::is_final)
}

#[cfg(test)]
mod tests {
    use super::*;

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
