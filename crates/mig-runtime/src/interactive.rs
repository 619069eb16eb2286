//! The frame around a program that talks with a person: ctrl-c ends what it is
//! doing, not the program.

use std::future::Future;
use std::process::ExitCode;

use tokio::sync::watch;

use crate::run::{DRAIN, fail};

/// Tells of interrupts. Clones see the same ones.
#[derive(Debug, Clone)]
pub struct Interrupts(watch::Receiver<u64>);

impl Interrupts {
    /// Ends at the next interrupt; those before the call do not count, those
    /// between the call and its first poll do. Whoever waits in a loop makes one
    /// future before it: one made anew in each turn misses what came in between.
    pub fn next(&self) -> impl Future<Output = ()> + use<> {
        let mut seen = self.0.clone();
        seen.mark_unchanged();
        async move {
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Runs a program to its end and gives its exit code, as [`crate::run`] does,
/// except that SIGINT is only told to whoever waits for it. SIGTERM and SIGHUP
/// end the process.
pub fn run_interactive<F, Fut>(program: &str, main: F) -> ExitCode
where
    F: FnOnce(Interrupts) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(program, &anyhow::Error::new(error).context("cannot start")),
    };
    let outcome = runtime.block_on(async {
        let (count, interrupts) = watch::channel(0);
        let mut received = crate::signal::interrupts()?;
        let signals = tokio::spawn(async move {
            while received.recv().await.is_some() {
                count.send_modify(|count| *count += 1);
            }
        });
        let outcome = main(Interrupts(interrupts)).await;
        signals.abort();
        outcome
    });
    // A thread blocked in a system call must not keep the process alive.
    runtime.shutdown_timeout(DRAIN);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(program, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_interrupts_after_the_call_count() {
        let (count, receiver) = watch::channel(0u64);
        let interrupts = Interrupts(receiver);
        count.send_modify(|count| *count += 1);
        let waiting = interrupts.next();
        tokio::pin!(waiting);
        assert!(futures_now(waiting.as_mut()).await.is_none());
        count.send_modify(|count| *count += 1);
        waiting.await;
        // One that nobody has waited for yet.
        let waiting = interrupts.next();
        count.send_modify(|count| *count += 1);
        waiting.await;
        drop(count);
        let never = interrupts.next();
        tokio::pin!(never);
        assert!(futures_now(never.as_mut()).await.is_none());
    }

    /// What a future has to say now.
    async fn futures_now<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
