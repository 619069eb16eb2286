//! Keeps a task running until the stop is requested.

use std::future::Future;
use std::time::{Duration, Instant};

use mig_runtime::Shutdown;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::error::{Chain, SchedulerError};

/// Longest wait before a task is started again.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// A task that ran this long starts over with short waits.
const STABLE: Duration = Duration::from_mins(1);

/// Starts a task, and starts it again when it failed or panicked. Returns when
/// the task ended by itself or the stop was requested. Dropping it ends the
/// task, too.
pub(crate) async fn supervise<F, Fut>(name: &'static str, shutdown: Shutdown, mut start: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), SchedulerError>> + Send + 'static,
{
    let mut backoff = Backoff::new(MAX_WAIT);
    loop {
        let begun = Instant::now();
        let mut task = JoinSet::new();
        task.spawn(start());
        match task.join_next().await {
            None | Some(Ok(Ok(()))) => return,
            Some(Ok(Err(error))) => tracing::error!("{name} failed: {}", Chain(&error)),
            Some(Err(error)) => tracing::error!("{name} died: {error}"),
        }
        if begun.elapsed() >= STABLE {
            backoff.reset();
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(backoff.wait()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_or_panics_is_started_again() {
        let (_trigger, shutdown) = Shutdown::new();
        let starts = Arc::new(AtomicU32::new(0));
        let task = || {
            let start = starts.fetch_add(1, Ordering::SeqCst);
            async move {
                match start {
                    0 => Err(SchedulerError::ReservedName),
                    1 => panic!("a defect"),
                    _ => Ok(()),
                }
            }
        };
        supervise("task", shutdown, task).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_stop_is_not_delayed_by_the_wait() {
        let (trigger, shutdown) = Shutdown::new();
        trigger.request();
        let failing = || async { Err(SchedulerError::ReservedName) };
        supervise("task", shutdown, failing).await;
    }
}
