//! The request to stop, handed to every task.

use std::sync::Arc;

use tokio::sync::watch;

/// What a request says that gives no reason: it came by a signal.
const INTERRUPT: &str = "interrupt";

/// Tells when the program has been asked to stop. Clones see the same request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<Option<&'static str>>,
    // Keeps the channel open: a trigger that is dropped asks for nothing.
    open: Arc<watch::Sender<Option<&'static str>>>,
}

/// Asks for the stop. Dropping it asks for nothing.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger(Arc<watch::Sender<Option<&'static str>>>);

impl Shutdown {
    /// A trigger and what it triggers.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, requested) = watch::channel(None);
        let sender = Arc::new(sender);
        (ShutdownTrigger(Arc::clone(&sender)), Self { requested, open: sender })
    }

    /// Returns once the stop was requested, at once if it already was.
    pub async fn requested(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.requested.clone().wait_for(Option::is_some).await;
    }

    pub fn is_requested(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the stop was requested, if it was: what was said first.
    pub fn reason(&self) -> Option<&'static str> {
        *self.requested.borrow()
    }

    /// Another trigger of the same request, for somebody else who may ask.
    pub fn trigger(&self) -> ShutdownTrigger {
        ShutdownTrigger(Arc::clone(&self.open))
    }
}

impl ShutdownTrigger {
    /// Asks as a signal does.
    pub fn request(&self) {
        self.request_because(INTERRUPT);
    }

    /// Asks and says why; the first reason stays.
    pub fn request_because(&self, reason: &'static str) {
        self.0.send_if_modified(|requested| {
            let is_first = requested.is_none();
            requested.get_or_insert(reason);
            is_first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_request_even_late() {
        let (trigger, shutdown) = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        trigger.request();
        waiting.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.clone().is_requested());
    }

    #[test]
    fn the_first_reason_stays() {
        let (trigger, shutdown) = Shutdown::new();
        assert_eq!(shutdown.reason(), None);
        shutdown.clone().trigger().request_because("the roof burns");
        trigger.request();
        assert_eq!(shutdown.reason(), Some("the roof burns"));
        let (trigger, shutdown) = Shutdown::new();
        trigger.request();
        assert_eq!(shutdown.reason(), Some("interrupt"));
    }

    #[tokio::test]
    async fn a_dropped_trigger_requests_nothing() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        assert!(!shutdown.is_requested());
        let wait = shutdown.requested();
        tokio::pin!(wait);
        let pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::future::Future::poll(wait.as_mut(), cx).is_pending())
        });
        assert!(pending.await);
    }
}
