//! Watching an action until it is over.
//!
//! A new API streams events. An API without that answers 404, and is asked
//! again and again instead, at first quickly. Both give the same events.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use mig_types::{Action, ActionId, ActionStatus, Command, CommandId, CommandStatus, wire};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tracing::debug;

use crate::api::{ApiClient, Body, ClientError, refusal, transport};
use crate::commands::CommandQuery;

/// Failures in all before giving up.
const MAX_FAILURES: u32 = 30;

/// An action is given this long beyond its end to settle.
const SETTLE: Duration = Duration::from_secs(10);

/// Longest line of a stream: a command with all its results.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// Something new about the action.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowEvent {
    /// Its status or counters changed.
    Action(Box<Action>),
    /// A command is over; each comes once.
    Command(Box<Command>),
    /// The API is there, and nothing happened.
    Heartbeat,
    /// The platform does not run it; why. Comes before the last event.
    Refused(String),
    /// Nothing more will happen; always the last event.
    Done(Box<Action>),
}

/// How often to ask an API that cannot stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowOptions {
    /// The usual time between two polls. The first ones are faster.
    pub poll: Duration,
    /// The wait after a failure.
    pub retry: Duration,
    /// Whether commands are wanted, or only the action.
    pub commands: bool,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self { poll: Duration::from_secs(2), retry: Duration::from_secs(1), commands: true }
    }
}

/// Follows one action. Dropping it stops watching; the action runs on.
pub struct Follower<'a> {
    client: &'a ApiClient,
    id: ActionId,
    options: FollowOptions,
    state: State,
    /// Where the stream continues after a lost connection.
    cursor: u64,
    failures: u32,
    /// Commands told already.
    told: HashMap<CommandId, CommandStatus>,
    pending: VecDeque<FollowEvent>,
}

enum State {
    Connect,
    Stream { response: Response, buffer: Vec<u8> },
    Poll { round: u32, last: Option<Box<Action>> },
    Done,
}

/// A line of the stream; exactly one of the first three is there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    action: Value,
    command: Value,
    heartbeat: bool,
    cursor: Option<u64>,
    done: bool,
    reason: String,
}

impl ApiClient {
    /// Follows an action: call [`Follower::next`] until it returns `None`.
    pub fn follow(&self, id: ActionId, options: FollowOptions) -> Follower<'_> {
        Follower {
            client: self,
            id,
            options,
            state: State::Connect,
            cursor: 0,
            failures: 0,
            told: HashMap::new(),
            pending: VecDeque::new(),
        }
    }
}

impl Follower<'_> {
    /// Waits for the next event; `None` after [`FollowEvent::Done`].
    ///
    /// Cancelling the wait loses no event.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the API refuses, or has failed 30 times.
    pub async fn next(&mut self) -> Result<Option<FollowEvent>, ClientError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            if matches!(self.state, State::Done) {
                return Ok(None);
            }
            if let Err(error) = self.advance().await {
                if !error.is_passing() {
                    return Err(error);
                }
                self.failures += 1;
                if self.failures >= MAX_FAILURES {
                    let failures = self.failures;
                    return Err(ClientError::Follow { failures, source: Box::new(error) });
                }
                debug!("following action {} goes on after a failure: {error}", self.id);
                if matches!(self.state, State::Stream { .. }) {
                    self.state = State::Connect;
                }
                tokio::time::sleep(self.options.retry).await;
            }
        }
    }

    /// One step: connect, read, or poll.
    async fn advance(&mut self) -> Result<(), ClientError> {
        match &mut self.state {
            State::Connect => self.connect().await,
            State::Stream { response, buffer } => {
                let url = response.url().clone();
                let chunk = response.chunk().await.map_err(|error| transport(error, &url))?;
                let ended = chunk.is_none();
                buffer.extend_from_slice(&chunk.unwrap_or_default());
                let lines = take_lines(buffer, ended);
                if buffer.len() > MAX_LINE {
                    return Err(ClientError::TooLarge { limit: MAX_LINE });
                }
                let teller = self.client.teller().await;
                for line in lines {
                    teller.answer(&line);
                    self.read_line(&line)?;
                }
                if ended && !matches!(self.state, State::Done) {
                    // The API was restarted, or a proxy lost patience.
                    self.state = State::Connect;
                    return Err(ClientError::Interrupted);
                }
                Ok(())
            }
            State::Poll { .. } => self.poll().await,
            State::Done => Ok(()),
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let path = format!("actions/{}/follow", self.id);
        let cursor = self.cursor.to_string();
        let query = [("cursor", cursor.as_str())];
        let response = self.client.send(Method::GET, &path, &query, &Body::None).await?;
        match response.status() {
            StatusCode::OK => {
                self.state = State::Stream { response, buffer: Vec::new() };
                Ok(())
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                // Either there is no such route or no such action; asking for
                // the action tells which.
                self.state = State::Poll { round: 0, last: None };
                Ok(())
            }
            status => Err(refusal(status, &self.client.body(response).await?)),
        }
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), ClientError> {
        if line.iter().all(u8::is_ascii_whitespace) || matches!(self.state, State::Done) {
            return Ok(());
        }
        let line: Line = wire::from_slice(line).map_err(ClientError::Answer)?;
        if !line.command.is_null() {
            let command = wire::from_value(line.command).map_err(ClientError::Answer)?;
            self.tell(command);
        }
        if !line.action.is_null() {
            let action = Box::new(wire::from_value(line.action).map_err(ClientError::Answer)?);
            if line.done {
                self.state = State::Done;
                if !line.reason.is_empty() {
                    self.pending.push_back(FollowEvent::Refused(line.reason));
                }
                self.pending.push_back(FollowEvent::Done(action));
            } else {
                self.pending.push_back(FollowEvent::Action(action));
            }
        }
        if line.heartbeat {
            self.pending.push_back(FollowEvent::Heartbeat);
        }
        self.cursor = line.cursor.unwrap_or(self.cursor);
        Ok(())
    }

    fn tell(&mut self, command: Command) {
        if !self.options.commands || !command.status.is_final() {
            return;
        }
        if self.told.insert(command.id, command.status) != Some(command.status) {
            self.pending.push_back(FollowEvent::Command(Box::new(command)));
        }
    }

    async fn poll(&mut self) -> Result<(), ClientError> {
        let State::Poll { round, .. } = &mut self.state else { return Ok(()) };
        if *round > 0 {
            tokio::time::sleep(delay(*round, self.options.poll)).await;
        }
        *round = round.saturating_add(1);
        let action = Box::new(self.client.action(self.id).await?);
        let over = is_over(&action, self.client.clock.now());
        let State::Poll { last, .. } = &mut self.state else { return Ok(()) };
        let changed = last
            .as_ref()
            .is_none_or(|last| last.status != action.status || last.counters != action.counters);
        if changed {
            *last = Some(action.clone());
            self.pending.push_back(FollowEvent::Action(action.clone()));
        }
        let done = usize::try_from(action.counters.done).unwrap_or(usize::MAX);
        // Pages can miss a row that moved between them, hence twice at the end.
        for _ in 0..=usize::from(over) {
            if self.options.commands && done > self.told.len() {
                for command in self.client.commands(&CommandQuery::of(self.id)).await? {
                    self.tell(command);
                }
            }
        }
        if over {
            self.state = State::Done;
            self.pending.push_back(FollowEvent::Done(action));
        }
        Ok(())
    }
}

/// Complete lines of `buffer`, which keeps the rest; all of it at the end.
fn take_lines(buffer: &mut Vec<u8>, ended: bool) -> Vec<Vec<u8>> {
    let complete = match buffer.iter().rposition(|byte| *byte == b'\n') {
        _ if ended => buffer.len(),
        Some(last) => last + 1,
        None => return Vec::new(),
    };
    let rest = buffer.split_off(complete);
    let lines = std::mem::replace(buffer, rest);
    lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// A quarter, half and whole second at first: most actions are quick.
fn delay(round: u32, usual: Duration) -> Duration {
    let first = Duration::from_millis(250) * 2u32.saturating_pow(round.min(10) - 1);
    first.min(usual)
}

/// Whether nothing more will happen to an action.
fn is_over(action: &Action, now: mig_types::Timestamp) -> bool {
    let counters = &action.counters;
    let answered = counters.done > 0 && counters.done >= counters.sent;
    match action.status {
        Some(status) if status.is_final() => true,
        // While commands are being made, "all of them" means nothing.
        Some(ActionStatus::Inflight) if answered => true,
        _ => now > action.expireafter + SETTLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Counters;
    use mig_types::Timestamp;

    #[test]
    fn an_action_is_over_by_status_counts_or_time() {
        use ActionStatus::{Completed, Inflight, Invalid, Pending, Preparing};
        let end = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        let second = Duration::from_secs(1);
        let counters = |sent, done| Counters { sent, done, ..Counters::default() };
        for (status, sent, done, late, over) in [
            (Some(Pending), 0, 0, 0, false),
            (Some(Preparing), 2, 2, 0, false),
            (Some(Inflight), 3, 2, 0, false),
            (Some(Inflight), 0, 0, 0, false),
            (Some(Inflight), 2, 2, 0, true),
            (Some(Completed), 0, 0, 0, true),
            (Some(Invalid), 0, 0, 0, true),
            (Some(Inflight), 3, 2, 10, false),
            (Some(Inflight), 3, 2, 11, true),
            (None, 0, 0, 11, true),
        ] {
            let action = Action {
                status,
                expireafter: end,
                counters: counters(sent, done),
                ..Action::default()
            };
            let now = end + second * late;
            assert_eq!(is_over(&action, now), over, "{status:?} {sent} {done} {late}");
        }
    }

    #[test]
    fn lines_are_taken_when_they_are_complete() {
        let mut buffer = b"a\nb\nc".to_vec();
        assert_eq!(take_lines(&mut buffer, false), [&b"a"[..], b"b", b""]);
        assert_eq!(buffer, b"c");
        assert!(take_lines(&mut buffer, false).is_empty());
        assert_eq!(take_lines(&mut buffer, true), [b"c"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn polls_are_faster_at_first() {
        let usual = Duration::from_secs(2);
        let millis: Vec<_> = (1..6).map(|round| delay(round, usual).as_millis()).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 2000]);
        assert_eq!(delay(u32::MAX, usual), usual);
    }
}
