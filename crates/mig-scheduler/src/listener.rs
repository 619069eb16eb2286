//! Reads one of the two central queues: a batch at a time, acknowledged after
//! its effects are durable.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mig_relay::{Consumer, Delivery, Source};
use mig_runtime::Shutdown;
use mig_store::StoreError;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::error::{Chain, SchedulerError};
use crate::events::Event;
use crate::scheduler::Scheduler;
use crate::{collect, events, heartbeats};

/// Longest wait while the store is away.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Times a batch that the database refuses is tried as a whole.
const TRIES: u32 = 3;
/// Wait between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// How one queue is read.
pub(crate) struct Intake {
    pub(crate) source: Source,
    /// For log lines.
    pub(crate) name: &'static str,
    /// Messages in hand, at most.
    pub(crate) prefetch: u16,
    /// Messages in one transaction, at most.
    pub(crate) batch: usize,
    /// How long a batch waits to fill up when messages trickle …
    pub(crate) linger: Duration,
    /// … and when they pour: a transaction costs much the same for one as for
    /// many.
    pub(crate) busy_linger: Duration,
}

/// Messages that came together, from which on they pour.
const POURING: usize = 8;

/// Whether messages trickle or pour.
#[derive(Debug, Default)]
struct Flow {
    pours: bool,
}

impl Flow {
    /// How long the next batch may wait.
    const fn linger(&self, intake: &Intake) -> Duration {
        if self.pours { intake.busy_linger } else { intake.linger }
    }

    /// Learns from a batch.
    const fn saw(&mut self, count: usize) {
        self.pours = count >= POURING;
    }
}

impl Intake {
    async fn take(
        &self,
        scheduler: &Scheduler,
        batch: &[Delivery],
    ) -> Result<Vec<Event>, SchedulerError> {
        match self.source {
            Source::Heartbeats => heartbeats::take(scheduler, batch).await,
            _ => collect::take(scheduler, batch).await,
        }
    }
}

/// A batch whose effects are durable. It is acknowledged when workers have
/// heard of it: who dies before that gets it again, and they hear of it then.
struct Stored<'a> {
    tags: Vec<u64>,
    telling: BoxFuture<'a, ()>,
}

impl Stored<'_> {
    /// Acknowledged after the commit: a crash before that only delivers again,
    /// and what is delivered again changes nothing.
    async fn acknowledge(self, consumer: &mut dyn Consumer) {
        if let Err(error) = consumer.ack(&self.tags).await {
            let count = self.tags.len();
            tracing::warn!("{count} messages will be delivered again: {}", Chain(&error));
        }
    }
}

/// Waits until workers have heard of a stored batch; for ever without one.
async fn told(stored: &mut Option<Stored<'_>>) {
    match stored {
        Some(stored) => stored.telling.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Reads until the stop is requested; a batch in hand is finished first. While
/// the events of one batch go out, the next is stored.
///
/// # Errors
///
/// When the relay does not let us read: the caller starts over.
pub(crate) async fn listen(
    scheduler: &Scheduler,
    intake: &Intake,
    shutdown: &Shutdown,
) -> Result<(), SchedulerError> {
    let opened = tokio::select! {
        biased;
        () = shutdown.requested() => return Ok(()),
        opened = open(scheduler, intake) => opened,
    };
    let mut consumer = opened?;
    tracing::info!("{} reads its queue", intake.name);
    let mut flow = Flow::default();
    let mut stored: Option<Stored<'_>> = None;
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            () = told(&mut stored) => {
                if let Some(stored) = stored.take() {
                    stored.acknowledge(consumer.as_mut()).await;
                }
                continue;
            }
            batch = consumer.next_batch(intake.batch, flow.linger(intake)) => {
                batch.map_err(SchedulerError::relay("read a queue"))?
            }
        };
        flow.saw(batch.len());
        let before = stored.take();
        let (events, before) =
            tokio::join!(store(scheduler, intake, &batch, shutdown), finished(before));
        if let Some(before) = before {
            before.acknowledge(consumer.as_mut()).await;
        }
        let Some(events) = events else { return Ok(()) };
        let tags = batch.iter().map(|delivery| delivery.tag).collect();
        stored = Some(Stored { tags, telling: events::publish(scheduler, events).boxed() });
    }
    if let Some(stored) = finished(stored).await {
        stored.acknowledge(consumer.as_mut()).await;
    }
    Ok(())
}

/// The batch, after workers have heard of it.
async fn finished(stored: Option<Stored<'_>>) -> Option<Stored<'_>> {
    let mut stored = stored?;
    stored.telling.as_mut().await;
    Some(stored)
}

/// Makes sure that the queue exists and starts reading it.
async fn open(scheduler: &Scheduler, intake: &Intake) -> Result<Box<dyn Consumer>, SchedulerError> {
    scheduler.relay().declare().await.map_err(SchedulerError::relay("declare the queues"))?;
    let consumer = scheduler.relay().consume(intake.source.clone(), intake.prefetch).await;
    consumer.map_err(SchedulerError::relay("read a queue"))
}

/// Stores a batch, waiting out an absent store; what workers are to hear of it.
/// `None` when the stop was requested first: then nothing is acknowledged and
/// the relay delivers again.
async fn store(
    scheduler: &Scheduler,
    intake: &Intake,
    batch: &[Delivery],
    shutdown: &Shutdown,
) -> Option<Vec<Event>> {
    let mut backoff = Backoff::new(MAX_WAIT);
    loop {
        match intake.take(scheduler, batch).await {
            Ok(events) => return Some(events),
            Err(error) => tracing::warn!("{} waits: {}", intake.name, Chain(&error)),
        }
        tokio::select! {
            () = shutdown.requested() => return None,
            () = sleep(backoff.wait()) => {}
        }
    }
}

/// Calls the store with all items, and one by one when it refuses them
/// together, so that one poisonous item does not hold up the queue for ever.
///
/// # Errors
///
/// [`StoreError::Unavailable`] only; every other failure stands in the list.
pub(crate) async fn isolate<'a, T, O, F, Fut>(
    items: &'a [T],
    mut call: F,
) -> Result<Vec<Result<O, StoreError>>, StoreError>
where
    F: FnMut(&'a [T]) -> Fut,
    Fut: Future<Output = Result<Vec<O>, StoreError>>,
{
    let mut refusal = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            // Two writers in each other's way look like a refusal, too.
            sleep(PAUSE).await;
        }
        match call(items).await {
            Ok(outcomes) => return Ok(outcomes.into_iter().map(Ok).collect()),
            Err(error @ StoreError::Unavailable { .. }) => return Err(error),
            Err(error) => refusal = Some(error),
        }
    }
    if let ([_], Some(error)) = (items, refusal) {
        return Ok(vec![Err(error)]);
    }
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items.chunks(1) {
        outcomes.extend(isolate_one(item, &mut call).await?);
    }
    Ok(outcomes)
}

async fn isolate_one<'a, T, O, F, Fut>(
    item: &'a [T],
    call: &mut F,
) -> Result<Vec<Result<O, StoreError>>, StoreError>
where
    F: FnMut(&'a [T]) -> Fut,
    Fut: Future<Output = Result<Vec<O>, StoreError>>,
{
    let mut tries = 0;
    loop {
        match call(item).await {
            Ok(outcomes) => return Ok(outcomes.into_iter().map(Ok).collect()),
            Err(error @ StoreError::Unavailable { .. }) => return Err(error),
            Err(error) if tries + 1 == TRIES => return Ok(vec![Err(error)]),
            Err(_) => tries += 1,
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_waits_longer_only_while_messages_pour() {
        let intake = &collect::INTAKE;
        let mut flow = Flow::default();
        assert_eq!(flow.linger(intake), intake.linger);
        flow.saw(POURING);
        assert_eq!(flow.linger(intake), intake.busy_linger);
        flow.saw(1);
        assert_eq!(flow.linger(intake), intake.linger);
    }

    fn refused() -> StoreError {
        StoreError::Failed { source: "bad value".into() }
    }

    #[tokio::test]
    async fn one_poisonous_item_does_not_take_the_others_with_it() {
        let items = [1, 2, 3, 4];
        let call = |part: &[i32]| {
            let outcome = if part.contains(&3) {
                Err(refused())
            } else {
                Ok(part.iter().map(|n| n * 10).collect::<Vec<_>>())
            };
            async move { outcome }
        };
        let outcomes = isolate(&items, call).await.unwrap();
        let values: Vec<Option<i32>> = outcomes.into_iter().map(Result::ok).collect();
        assert_eq!(values, [Some(10), Some(20), None, Some(40)]);
    }

    #[tokio::test]
    async fn a_passing_refusal_is_tried_again_as_a_whole() {
        let mut calls = Vec::new();
        let outcomes = isolate(&[1, 2], |part: &[i32]| {
            calls.push(part.len());
            let outcome = if calls.len() == 1 { Err(refused()) } else { Ok(part.to_vec()) };
            async move { outcome }
        });
        assert_eq!(outcomes.await.unwrap().len(), 2);
        assert_eq!(calls, [2, 2]);
    }

    #[tokio::test]
    async fn an_absent_store_is_the_callers_affair() {
        let away = |_: &[i32]| async {
            Err::<Vec<i32>, _>(StoreError::Unavailable { source: "gone".into() })
        };
        assert!(matches!(isolate(&[1, 2], away).await, Err(StoreError::Unavailable { .. })));
    }
}
