//! A connection that is remade for ever, and what waits for it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::RelayError;
use crate::names::unavailable;

/// The first retry comes this soon, and at most so much later.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const FIRST_RETRY_SPREAD: Duration = Duration::from_millis(400);
/// Later ones start here and double …
const BACKOFF_FROM: Duration = Duration::from_secs(1);
/// … up to here.
const BACKOFF_TO: Duration = Duration::from_mins(5);
/// A connection that lived this long starts the back-off afresh.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Why a connection could not be made or was lost.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Credentials, permissions or certificates: only an operator can help.
    pub(crate) refused: bool,
    pub(crate) source: Arc<dyn Error + Send + Sync>,
}

impl Fault {
    pub(crate) fn away(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { refused: false, source: Arc::from(source.into()) }
    }

    pub(crate) fn refused(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { refused: true, source: Arc::from(source.into()) }
    }

    pub(crate) fn into_error(self, endpoint: &str) -> RelayError {
        let endpoint = endpoint.to_owned();
        let source: Option<Box<dyn Error + Send + Sync>> = Some(Box::new(Shared(self.source)));
        if self.refused {
            RelayError::Refused { endpoint, source }
        } else {
            RelayError::Unavailable { endpoint, source }
        }
    }
}

/// One error told to several waiters.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<dyn Error + Send + Sync>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Makes connections of one kind.
#[async_trait]
pub(crate) trait Connector: Send + Sync + 'static {
    type Session: Send + Sync + 'static;

    /// Makes one attempt, bounded in time.
    async fn connect(&self) -> Result<Self::Session, Fault>;

    /// Waits for the end of a session and tells why it ended.
    async fn ended(&self, session: &Self::Session) -> Fault;

    /// Ends a session in an orderly way, bounded in time.
    async fn close(&self, session: &Self::Session);
}

/// What the supervisor tells.
enum State<S> {
    /// Not connected. `attempts` counts failures, so that each is told once.
    Down {
        attempts: u64,
        fault: Option<Fault>,
    },
    Up(Arc<S>),
    Closed,
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Down { attempts, fault } => {
                Self::Down { attempts: *attempts, fault: fault.clone() }
            }
            Self::Up(session) => Self::Up(Arc::clone(session)),
            Self::Closed => Self::Closed,
        }
    }
}

/// A connection kept up by a task of its own until closed or dropped.
pub(crate) struct Link<S> {
    endpoint: String,
    state: watch::Receiver<State<S>>,
    stop: watch::Sender<bool>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl<S: Send + Sync + 'static> Link<S> {
    /// Starts connecting in the background.
    pub(crate) fn start<C: Connector<Session = S>>(endpoint: String, connector: C) -> Arc<Self> {
        let (told, state) = watch::channel(State::Down { attempts: 0, fault: None });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(supervise(endpoint.clone(), connector, told, stopped));
        Arc::new(Self { endpoint, state, stop, task: std::sync::Mutex::new(Some(task)) })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The session now up, if any.
    pub(crate) fn current(&self) -> Option<Arc<S>> {
        match &*self.state.borrow() {
            State::Up(session) => Some(Arc::clone(session)),
            State::Down { .. } | State::Closed => None,
        }
    }

    /// Waits for a session until `deadline`. A refusal is told at once, an
    /// absence when the time is up.
    pub(crate) async fn session(&self, deadline: Instant) -> Result<Arc<S>, RelayError> {
        let mut told = 0;
        match tokio::time::timeout_at(deadline, self.wait(&mut told, true)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.absence()),
        }
    }

    /// Waits for a session for ever. Each refusal newer than `told` is
    /// returned once; absences are waited out.
    pub(crate) async fn session_whenever(&self, told: &mut u64) -> Result<Arc<S>, RelayError> {
        self.wait(told, false).await
    }

    async fn wait(&self, told: &mut u64, old_refusals: bool) -> Result<Arc<S>, RelayError> {
        let mut state = self.state.clone();
        loop {
            match state.borrow_and_update().clone() {
                State::Up(session) => return Ok(session),
                State::Closed => return Err(unavailable(&self.endpoint, "the relay was closed")),
                State::Down { attempts, fault: Some(fault) }
                    if fault.refused && (old_refusals || attempts > *told) =>
                {
                    *told = attempts;
                    return Err(fault.into_error(&self.endpoint));
                }
                State::Down { .. } => {}
            }
            if state.changed().await.is_err() {
                return Err(unavailable(&self.endpoint, "the relay was closed"));
            }
        }
    }

    /// Why there is no session, in an error.
    pub(crate) fn absence(&self) -> RelayError {
        match &*self.state.borrow() {
            State::Down { fault: Some(fault), .. } => fault.clone().into_error(&self.endpoint),
            _ => RelayError::Unavailable { endpoint: self.endpoint.clone(), source: None },
        }
    }

    /// Ends the connection and waits for the task that kept it.
    pub(crate) async fn close(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

async fn supervise<C: Connector>(
    endpoint: String,
    connector: C,
    told: watch::Sender<State<C::Session>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut attempts = 0_u64;
    let mut failures = 0_u32;
    loop {
        let attempt = tokio::select! {
            attempt = connector.connect() => attempt,
            () = asked(&mut stopped) => break,
        };
        let fault = match attempt {
            Ok(session) => {
                let session = Arc::new(session);
                let since = Instant::now();
                told.send_replace(State::Up(Arc::clone(&session)));
                tracing::info!(relay = %endpoint, "connected to the relay");
                let fault = tokio::select! {
                    fault = connector.ended(&session) => fault,
                    () = asked(&mut stopped) => {
                        connector.close(&session).await;
                        break;
                    }
                };
                if since.elapsed() >= HEALTHY_AFTER {
                    failures = 0;
                }
                tracing::warn!(relay = %endpoint, reason = %chain(&*fault.source), "lost the relay");
                // A refusal that ends a session says nothing about the next attempt.
                Fault { refused: false, ..fault }
            }
            Err(fault) => {
                let reason = chain(&*fault.source);
                if fault.refused {
                    tracing::error!(relay = %endpoint, %reason, "the relay refuses us");
                } else if failures == 0 {
                    tracing::warn!(relay = %endpoint, %reason, "the relay is away; trying for ever");
                } else {
                    tracing::debug!(relay = %endpoint, %reason, "the relay is still away");
                }
                fault
            }
        };
        attempts += 1;
        told.send_replace(State::Down { attempts, fault: Some(fault) });
        let pause = pause(failures, random_fraction());
        failures = failures.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked(&mut stopped) => break,
        }
    }
    told.send_replace(State::Closed);
}

/// Waits until told to stop, or until nobody is left to tell.
pub(crate) async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// An error and its sources in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// How long to wait after the `failures`-th failure in a row; `fraction` of
/// one spreads those who lost the same relay at the same moment.
fn pause(failures: u32, fraction: f64) -> Duration {
    if failures == 0 {
        return FIRST_RETRY + FIRST_RETRY_SPREAD.mul_f64(fraction);
    }
    let doublings = (failures - 1).min(16);
    let full = BACKOFF_FROM.saturating_mul(1 << doublings).min(BACKOFF_TO);
    full.mul_f64(0.5 + fraction / 2.0).max(BACKOFF_FROM)
}

/// A random number from 0 to 1.
fn random_fraction() -> f64 {
    // Without randomness there is no spread, and nothing else is lost.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn pauses_start_fast_then_grow_from_one_second_to_five_minutes() {
        for fraction in [0.0, 0.5, 1.0] {
            let first = pause(0, fraction);
            assert!(first >= FIRST_RETRY && first <= FIRST_RETRY + FIRST_RETRY_SPREAD);
            for failures in 1..100 {
                let pause = pause(failures, fraction);
                assert!(pause >= BACKOFF_FROM && pause <= BACKOFF_TO, "{failures} {pause:?}");
            }
        }
        assert_eq!(pause(50, 1.0), BACKOFF_TO);
        assert_eq!(pause(u32::MAX, 0.0), BACKOFF_TO / 2);
    }

    /// Refuses twice, then connects; sessions end when told to.
    struct Flaky(AtomicU64);

    #[async_trait]
    impl Connector for Flaky {
        type Session = u64;

        async fn connect(&self) -> Result<u64, Fault> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(Fault::refused("wrong password")),
                attempt => Ok(attempt),
            }
        }

        async fn ended(&self, _session: &u64) -> Fault {
            std::future::pending().await
        }

        async fn close(&self, _session: &u64) {}
    }

    #[tokio::test]
    async fn each_refusal_is_told_once_and_then_waited_out() {
        let link = Link::start("x".to_owned(), Flaky(AtomicU64::new(0)));
        let mut told = 0;
        for _ in 0..2 {
            let refusal = link.session_whenever(&mut told).await;
            assert!(matches!(refusal, Err(RelayError::Refused { .. })));
        }
        assert_eq!(*link.session_whenever(&mut told).await.unwrap(), 2);
        link.close().await;
        assert!(matches!(
            link.session_whenever(&mut told).await,
            Err(RelayError::Unavailable { .. })
        ));
    }
}
