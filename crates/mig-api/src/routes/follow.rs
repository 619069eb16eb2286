//! Following an action as it happens: `GET …/actions/{id}/follow?cursor=n`.
//!
//! The answer is a stream of JSON lines:
//!
//! ```text
//! {"action":{…}}                the action, when it or its counters changed
//! {"command":{…},"cursor":n}    a command that reached a final status
//! {"heartbeat":true}            nothing happened for a while
//! {"done":true,"action":{…}}    last line: nothing will happen any more
//! ```
//!
//! The last line of an action that a scheduler refused has a `reason` as well.
//!
//! A reader that was cut off resumes with the last cursor it saw and loses
//! nothing; it may see a command twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use mig_runtime::Shutdown;
use mig_store::{Store, StoreError, StoreEvent};
use mig_types::{Action, ActionId, wire};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::collection::bare;
use crate::form::Form;
use crate::problem::Problem;
use crate::state::ApiState;

/// Commands taken from the store at once.
const BATCH: u32 = 100;
/// A lost event delays a line by no more than this.
const POLL: Duration = Duration::from_secs(2);
/// Silence after which the reader is told that the line is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Least time between two looks at the store for one reader: bursts of results
/// are read in batches, not one by one.
const PACE: Duration = Duration::from_millis(25);

pub(crate) async fn follow(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = Form::from_query(Some(&format!("id={id}")));
    let id: ActionId = form.id("id", "Action")?;
    let cursor = match Form::from_query(query.as_deref()).filled("cursor") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("cursor is not a number from an earlier line"))?,
    };
    // Before the first look, so that nothing falls between the two.
    let events = state.store().events();
    let action = state
        .store()
        .action(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("Action ID '{id}' not found")))?;
    let follower = Follower {
        store: state.store_handle(),
        shutdown: state.shutdown().clone(),
        events,
        id,
        cursor,
        lines: VecDeque::from([line(&json!({ "action": action }))]),
        last: action,
        looked: None,
        spoke: Instant::now(),
        done: false,
    };
    let body = Body::from_stream(stream::try_unfold(follower, Follower::next));
    Ok(bare(StatusCode::OK, "application/x-ndjson", body))
}

struct Follower {
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    events: broadcast::Receiver<StoreEvent>,
    id: ActionId,
    cursor: u64,
    lines: VecDeque<Bytes>,
    last: Action,
    looked: Option<Instant>,
    spoke: Instant,
    done: bool,
}

impl Follower {
    /// The next line, when there is one to send.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.spoke = Instant::now();
                return Ok(Some((line, self)));
            }
            if self.done {
                return Ok(None);
            }
            if let Some(looked) = self.looked
                && !self.wait(looked).await
            {
                return Ok(None);
            }
            self.look().await?;
        }
    }

    /// Waits for a reason to look again; false when the server is stopping.
    async fn wait(&mut self, looked: Instant) -> bool {
        let poll = looked + POLL;
        loop {
            let event = tokio::select! {
                () = self.shutdown.requested() => return false,
                () = tokio::time::sleep_until(poll) => return true,
                event = self.events.recv() => event,
            };
            match event {
                Ok(StoreEvent::Progress(id) | StoreEvent::CommandsReady(id)) if id == self.id => {}
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                // No more events: the timer alone decides.
                Err(broadcast::error::RecvError::Closed) => {
                    tokio::time::sleep_until(poll).await;
                    return true;
                }
            }
            tokio::time::sleep_until(looked + PACE).await;
            return true;
        }
    }

    /// Takes what is new in the store.
    async fn look(&mut self) -> Result<(), StoreError> {
        self.looked = Some(Instant::now());
        // The action first: if it is final now, all its commands are too, and
        // the loop below sees every one of them.
        let Some(action) = self.store.action(self.id).await? else {
            self.done = true;
            return Ok(());
        };
        loop {
            let (commands, cursor) = self.store.finished_since(self.id, self.cursor, BATCH).await?;
            let Some(last) = commands.len().checked_sub(1) else { break };
            for (index, command) in commands.iter().enumerate() {
                // Only the batch as a whole has a cursor; until its last line a
                // reader resumes at the one before.
                let seen = if index == last { cursor } else { self.cursor };
                self.lines.push_back(line(&json!({ "command": command, "cursor": seen })));
            }
            self.cursor = cursor;
            if commands.len() < BATCH as usize {
                break;
            }
        }
        if action.status.is_some_and(mig_types::ActionStatus::is_final) {
            let mut last = json!({ "done": true, "action": action });
            if let Some(reason) = self.store.reason(self.id).await? {
                last["reason"] = reason.into();
            }
            self.lines.push_back(line(&last));
            self.done = true;
        } else if action.counters != self.last.counters || action.status != self.last.status {
            self.lines.push_back(line(&json!({ "action": action })));
        } else if self.lines.is_empty() && self.spoke.elapsed() >= HEARTBEAT {
            self.lines.push_back(line(&json!({ "heartbeat": true })));
        }
        self.last = action;
        Ok(())
    }
}

fn line(value: &serde_json::Value) -> Bytes {
    let mut bytes = wire::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
