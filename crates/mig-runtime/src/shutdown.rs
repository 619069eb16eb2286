//! The request to stop, handed to every task.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells when the program has been asked to stop. Clones see the same request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
    // Keeps the channel open: a trigger that is dropped asks for nothing.
    _open: Arc<watch::Sender<bool>>,
}

/// Asks for the stop. Dropping it asks for nothing.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A trigger and what it triggers.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, requested) = watch::channel(false);
        let sender = Arc::new(sender);
        (ShutdownTrigger(Arc::clone(&sender)), Self { requested, _open: sender })
    }

    /// Returns once the stop was requested, at once if it already was.
    pub async fn requested(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.requested.clone().wait_for(|requested| *requested).await;
    }

    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }
}

impl ShutdownTrigger {
    pub fn request(&self) {
        self.0.send_replace(true);
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
