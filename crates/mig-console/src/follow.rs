//! Watching an action that was launched here.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use mig_client::{FollowEvent, FollowOptions};
use mig_terminal::failure::Failure;
use mig_terminal::output::{Paint, columns};
use mig_terminal::progress;
use mig_types::{Action, ActionId, ActionStatus, duration};

use crate::console::Console;
use crate::screen::aside;

/// Time between two drawings of the progress line.
const REDRAW: Duration = Duration::from_millis(200);

/// Follows an action until it is over, or ctrl-c ends the following.
pub(crate) async fn action(console: &Console, id: ActionId, expected: u64) -> Result<(), Failure> {
    let screen = &console.screen;
    // From here on, and through everything drawn meanwhile.
    let mut interrupted = std::pin::pin!(console.interrupts.next());
    let following = screen.links_aside().action(&format!("Following action ID {id}."), id);
    aside(&screen.paint(Paint::Blue, &following));
    let options = FollowOptions { commands: false, ..FollowOptions::default() };
    let mut follower = console.api.follow(id, options);
    let mut line = ProgressLine::new(expected);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut refused = None;
    loop {
        let mut next = std::pin::pin!(follower.next());
        let event = loop {
            // The same wait goes on after a drawing: one begun anew each time would
            // never be over where the API is slow.
            tokio::select! {
                event = &mut next => break event,
                _ = redraw.tick() => line.draw(false),
                () = &mut interrupted => {
                    line.end();
                    aside(
                        "[notice] stopped following action, but agents may still be running.",
                    );
                    return Ok(());
                }
            }
        };
        match event {
            Ok(Some(FollowEvent::Action(action))) => line.latest = *action,
            Ok(Some(FollowEvent::Done(action))) => {
                line.latest = *action;
                break;
            }
            Ok(Some(FollowEvent::Refused(reason))) => refused = Some(reason),
            Ok(Some(FollowEvent::Heartbeat | FollowEvent::Command(_))) => {}
            Ok(None) => break,
            Err(error) => {
                line.end();
                return Err(error.into());
            }
        }
    }
    line.draw(true);
    line.end();
    let counters = line.latest.counters;
    let percent = progress::percent(counters.done, counters.sent.max(expected));
    let took = duration::format(line.began.elapsed());
    aside(&screen.paint(Paint::Blue, &format!("{percent:.1}% done in {took}")));
    aside(&screen.paint(Paint::Blue, &progress::counters(&counters)));
    if line.latest.status == Some(ActionStatus::Invalid) {
        let reason = refused.as_deref().unwrap_or("no agent matched, or it had expired");
        return Err(Failure::other(format!("action {id} was not run: {reason}")));
    }
    Ok(())
}

/// The progress, drawn where there is a terminal.
struct ProgressLine {
    latest: Action,
    expected: u64,
    began: Instant,
    terminal: bool,
    drawn: bool,
}

impl ProgressLine {
    fn new(expected: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { latest: Action::default(), expected, began: Instant::now(), terminal, drawn: false }
    }

    fn draw(&mut self, over: bool) {
        if !self.terminal {
            return;
        }
        let counters = self.latest.counters;
        let total = counters.sent.max(self.expected);
        let bar = progress::bar(counters.done, total, self.began.elapsed(), over, columns());
        let mut stderr = std::io::stderr().lock();
        // Nobody looks when it fails.
        let _ = write!(stderr, "\r{bar}\x1b[K").and_then(|()| stderr.flush());
        self.drawn = true;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}
