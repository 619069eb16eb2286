//! Alerts of persistent modules: to the module that delivers them, else to the
//! log. Nobody waits for a slow deliverer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mig_module::persist::{Message, Said};
use tokio::sync::mpsc;

use super::plain;

/// Between two complaints about alerts that were dropped.
const COMPLAIN_EVERY: Duration = Duration::from_mins(5);

/// Where alerts go at the moment.
#[derive(Debug, Default)]
pub(super) struct Alerts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    deliverer: Option<mpsc::Sender<Vec<u8>>>,
    dropped: u64,
    complained: Option<Instant>,
}

impl Alerts {
    /// From now on alerts go to `deliverer`; `None`: to the log.
    pub(super) fn deliver_to(&self, deliverer: Option<mpsc::Sender<Vec<u8>>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).deliverer = deliverer;
    }

    pub(super) fn raise(&self, module: &str, text: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(deliverer) = &state.deliverer else {
            tracing::warn!("[{module}] alert: {}", plain(&text));
            return;
        };
        // Unchanged: the text is a document of its own.
        let line = Message::from(Said::Alert(text)).to_line();
        if deliverer.try_send(line).is_ok() {
            return;
        }
        state.dropped += 1;
        if state.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            tracing::warn!(
                "{} alerts were dropped: they are not delivered fast enough",
                state.dropped
            );
            state.complained = Some(Instant::now());
            state.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_deliverer_loses_alerts_and_nobody_waits() {
        let alerts = Alerts::default();
        alerts.raise("m", "to the log".into());
        let (sender, mut receiver) = mpsc::channel(2);
        alerts.deliver_to(Some(sender));
        for text in ["100% %s", "{\"a\":1}", "three", "four"] {
            alerts.raise("m", text.into());
        }
        let line = receiver.try_recv().unwrap();
        assert_eq!(Message::read(&line).unwrap().said(), Said::Alert("100% %s".into()));
        assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_err());
        let state = alerts.0.lock().unwrap();
        assert_eq!(state.dropped, 1, "the first loss was complained about");
    }
}
