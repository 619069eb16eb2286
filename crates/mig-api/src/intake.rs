//! Stores heartbeats that arrive at the same time in one transaction.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mig_store::{HeartbeatOutcome, Store, StoreError};
use mig_types::{Agent, IdGenerator, Timestamp};
use tokio::sync::oneshot;

/// Heartbeats in one transaction.
const BATCH: usize = 1000;
/// Heartbeats that wait; beyond it agents are told to come back.
const MAX_WAITING: usize = 20_000;
/// The first heartbeat of a batch waits this long for others.
const LINGER: Duration = Duration::from_millis(25);

/// What became of one heartbeat.
pub(crate) type Outcome = Result<HeartbeatOutcome, Refusal>;

/// Why a heartbeat was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many heartbeats at once, try again")]
    Busy,
    /// The database holds no such value.
    #[error("{0}")]
    Unfit(String),
    #[error("heartbeat could not be stored")]
    Failed(String),
}

/// Collects heartbeats. Each caller waits for its own outcome; one of them
/// leads and stores what has gathered.
pub(crate) struct HeartbeatIntake {
    store: Arc<dyn Store>,
    ids: Arc<IdGenerator>,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    beat: Agent,
    reply: oneshot::Sender<Outcome>,
}

impl HeartbeatIntake {
    pub(crate) fn new(store: Arc<dyn Store>, ids: Arc<IdGenerator>) -> Arc<Self> {
        Arc::new(Self { store, ids, waiting: Mutex::default() })
    }

    /// Stores a checked heartbeat, heard `now`.
    pub(crate) async fn take(self: &Arc<Self>, beat: Agent, now: Timestamp) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let leads = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= MAX_WAITING {
                return Err(Refusal::Busy);
            }
            waiting.push(Waiting { beat, reply });
            waiting.len() == 1
        };
        if leads {
            // A task of its own: the others' heartbeats must not be lost when
            // the leader hangs up. It ends before the last request it serves.
            let intake = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                intake.flush(now).await;
            });
        }
        outcome.await.unwrap_or_else(|_| Err(Refusal::Failed("the batch was dropped".to_owned())))
    }

    /// Stores all that waits.
    async fn flush(&self, now: Timestamp) {
        let gathered = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        let mut rest = gathered;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(BATCH));
            self.store_batch(rest, now).await;
            rest = later;
        }
    }

    async fn store_batch(&self, batch: Vec<Waiting>, now: Timestamp) {
        let (beats, replies): (Vec<Agent>, Vec<_>) =
            batch.into_iter().map(|one| (one.beat, one.reply)).unzip();
        let outcomes = match self.store.upsert_heartbeats(&beats, &self.ids, now).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            // One of them spoils the transaction: find out which.
            Err(StoreError::Refused { .. } | StoreError::Failed { .. }) if beats.len() > 1 => {
                let mut outcomes = Vec::with_capacity(beats.len());
                for beat in &beats {
                    let one = std::slice::from_ref(beat);
                    let outcome = self.store.upsert_heartbeats(one, &self.ids, now).await;
                    outcomes.push(outcome.map_err(|error| refusal(&error)).and_then(single));
                }
                outcomes
            }
            Err(error) => vec![Err(refusal(&error)); beats.len()],
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Whoever hung up does not want to know.
            let _ = reply.send(outcome);
        }
    }
}

fn single(outcomes: Vec<HeartbeatOutcome>) -> Outcome {
    outcomes.into_iter().next().ok_or_else(|| Refusal::Failed("no outcome".to_owned()))
}

fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Refused { .. } => Refusal::Unfit(error.to_string()),
        other => Refusal::Failed(crate::problem::chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_store::Search;

    #[tokio::test]
    async fn heartbeats_at_once_share_a_transaction_and_get_their_own_outcome() {
        let store = mig_store::open_sqlite_memory().await.unwrap();
        let intake = HeartbeatIntake::new(Arc::clone(&store), Arc::new(IdGenerator::new(1)));
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let beats = (0..2500).map(|number| Agent {
            name: format!("web{number}"),
            queueloc: format!("linux.web{number}"),
            pid: 1,
            ..Agent::default()
        });
        let all = beats.map(|beat| {
            let intake = Arc::clone(&intake);
            async move { intake.take(beat, now).await.unwrap() }
        });
        let outcomes = futures_util::future::join_all(all).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, HeartbeatOutcome::New(_))));
        let page = mig_store::Page { limit: 10_000, offset: 0 };
        let rows = store.search_agents(&Search::default(), page).await.unwrap();
        assert_eq!(rows.len(), 2500);
        assert!(intake.waiting.lock().unwrap().is_empty());
    }
}
