//! Watching an action and printing its results as they arrive.

use std::time::Duration;

use mig_client::{ApiClient, FollowEvent, FollowOptions};
use mig_module::Registry;
use mig_runtime::Shutdown;
use mig_types::{Action, ActionStatus, Counters, duration};
use tokio::time::Instant;

use crate::globals::{FailOn, Globals};
use crate::print::Printer;
use crate::render::{self, Render};
use mig_terminal::failure::{Failure, code};
use mig_terminal::output::{Output, Paint, columns};
use mig_terminal::progress;

/// Time between two drawings of the progress line.
const REDRAW: Duration = Duration::from_millis(200);

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Over,
    Interrupted,
    TimedOut,
}

struct Watch<'a> {
    printer: Printer<'a>,
    latest: Action,
    expected: u64,
    started: Instant,
    said: (Option<ActionStatus>, Counters),
    refused: Option<String>,
}

/// Follows a posted action to its end; the exit code is what the options ask.
pub(crate) async fn action(
    registry: &Registry,
    api: &ApiClient,
    posted: &Action,
    expected: u64,
    globals: &Globals,
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let mut watch = Watch {
        printer: Printer::new(registry, globals)?,
        latest: posted.clone(),
        expected,
        started: Instant::now(),
        said: (posted.status, posted.counters),
        refused: None,
    };
    let following = format!("Following action ID {}.", posted.id);
    output.paint(Paint::Blue, &output.links().action(&following, posted.id));
    let end = match watch.run(api, globals.timeout, output, shutdown).await {
        Ok(end) => end,
        Err(failure) => {
            // What came is shown; whoever reads no more is not written to again.
            if !failure.is_closed_pipe() {
                watch.printer.end(&watch.latest, false, output)?;
            }
            return Err(failure);
        }
    };
    let code = watch.conclude(end, globals, output)?;
    if globals.render != Render::Text {
        let commands = watch.printer.take_mapped();
        render::results(registry, api, &watch.latest, &commands, globals, output).await?;
    }
    Ok(code)
}

impl Watch<'_> {
    async fn run(
        &mut self,
        api: &ApiClient,
        timeout: Option<Duration>,
        output: &mut Output,
        shutdown: &Shutdown,
    ) -> Result<End, Failure> {
        let mut follower = api.follow(self.latest.id, FollowOptions::default());
        let deadline = timeout.map(|timeout| self.started + timeout);
        let mut redraw = tokio::time::interval(REDRAW);
        loop {
            let mut next = std::pin::pin!(follower.next());
            let event = loop {
                // The same wait goes on after a drawing: one begun anew each time
                // would never be over.
                tokio::select! {
                    event = &mut next => break event?,
                    () = shutdown.requested() => return Ok(End::Interrupted),
                    () = until(deadline) => return Ok(End::TimedOut),
                    _ = redraw.tick() => self.draw(false, output),
                }
            };
            match event {
                Some(FollowEvent::Command(command)) => self.printer.command(*command, output)?,
                Some(FollowEvent::Action(action)) => {
                    self.latest = *action;
                    self.tell(output);
                }
                Some(FollowEvent::Heartbeat) => {}
                Some(FollowEvent::Refused(reason)) => self.refused = Some(reason),
                Some(FollowEvent::Done(action)) => {
                    self.latest = *action;
                    return Ok(End::Over);
                }
                None => return Ok(End::Over),
            }
        }
    }

    fn total(&self) -> u64 {
        self.latest.counters.sent.max(self.expected)
    }

    fn draw(&self, over: bool, output: &mut Output) {
        if output.draws() {
            let (done, total) = (self.latest.counters.done, self.total());
            let line = progress::bar(done, total, self.started.elapsed(), over, columns());
            output.draw(&line);
        }
    }

    /// Where there is no terminal: one plain line for each change.
    fn tell(&mut self, output: &mut Output) {
        let now = (self.latest.status, self.latest.counters);
        if !output.tells() || now == self.said {
            return;
        }
        self.said = now;
        let status = self.latest.status.map_or("unknown", ActionStatus::as_str);
        let (done, total) = (self.latest.counters.done, self.total());
        let percent = progress::percent(done, total);
        output.say(&format!("status={status} {done}/{total} {percent:.1}%"));
    }

    fn conclude(
        &mut self,
        end: End,
        globals: &Globals,
        output: &mut Output,
    ) -> Result<u8, Failure> {
        let id = self.latest.id;
        match end {
            End::Over => {
                self.draw(true, output);
                output.keep_progress();
            }
            End::Interrupted => {
                output.keep_progress();
                let text = "stopped following action, but agents may still be running.";
                output.say(&format!("[notice] {text}"));
                output.say("fetching available results:");
                // What had arrived was shown as it came.
                output.say(&format!("hint: mig follow {id} goes on with it"));
            }
            End::TimedOut => {
                output.keep_progress();
                let text = "the time to follow is over, but agents may still be running.";
                output.say(&format!("[notice] {text}"));
            }
        }
        let counters = self.latest.counters;
        let percent = progress::percent(counters.done, self.total());
        let took = duration::format(self.started.elapsed());
        output.paint(Paint::Blue, &format!("{percent:.1}% done in {took}"));
        output.paint(Paint::Blue, &progress::counters(&counters));
        self.printer.summary(&self.latest, end == End::Over, output)?;
        if end == End::Over && self.latest.status == Some(ActionStatus::Invalid) {
            let reason = self.refused.as_deref().unwrap_or("no agent matched, or it had expired");
            let message = format!("action {id} was not run: {reason}");
            return Err(Failure::new(code::NO_AGENT, message));
        }
        Ok(self.exit_code(globals))
    }

    fn exit_code(&self, globals: &Globals) -> u8 {
        if globals.strict && self.printer.succeeded() < self.total() {
            return code::NOT_ALL;
        }
        match (globals.fail_on, self.printer.found_anything()) {
            (Some(FailOn::Found), true) | (Some(FailOn::Nothing), false) => code::FOUND,
            _ => 0,
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
