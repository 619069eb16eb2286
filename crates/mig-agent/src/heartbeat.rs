//! Tells the schedulers that this agent lives, and what it knows of its host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_host::LocalHost;
use mig_host::environment::discover;
use mig_relay::{Message, RelayError, Route};
use mig_runtime::Shutdown;
use mig_types::{Agent, AgentMode, Environment, QueueLoc, Tags, Timestamp, wire};

use crate::backoff::{Backoff, jitter};
use crate::context::Context;
use crate::discovery::Discovery;
use crate::execute::Programs;

/// Written after every heartbeat, for whoever watches the agent from outside.
pub const OK_FILE: &str = "mig-agent.ok";

/// Longest wait before a heartbeat that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Time until what could not be found out is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_mins(1);
const LONGEST_RETRY: Duration = Duration::from_hours(1);

/// What the host is called and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    pub hostname: String,
    pub environment: Environment,
}

/// Looks at the host, and asks others about it.
#[derive(Clone)]
pub struct Lookout {
    /// What runs the modules that are reported.
    pub programs: Programs,
    /// Reported instead of the host's own name.
    pub hostname: Option<String>,
    pub discovery: Discovery,
}

impl Lookout {
    /// What there is to see, and whether all of it could be seen. What others
    /// cannot tell now stays as it was in `before`.
    pub async fn look(&self, before: Option<&Environment>) -> (Surroundings, bool) {
        let (programs, hostname) = (self.programs.clone(), self.hostname.clone());
        let look = move || Surroundings::discover(programs.available(), hostname.as_deref());
        let (seen, found) = tokio::join!(tokio::task::spawn_blocking(look), self.discovery.look());
        let is_complete = found.is_complete();
        // A look that panicked saw nothing.
        let mut surroundings = seen.unwrap_or_else(|_| Surroundings {
            hostname: String::new(),
            environment: before.cloned().unwrap_or_default(),
        });
        found.enter(&mut surroundings.environment, before);
        (surroundings, is_complete)
    }
}

impl Surroundings {
    /// Looks at the host. Blocks; never fails: what cannot be found out stays
    /// empty. `hostname` is reported instead of the host's own name.
    pub fn discover(modules: Vec<String>, hostname: Option<&str>) -> Self {
        let found = discover(&LocalHost::default());
        let environment = Environment {
            init: found.init,
            ident: found.ident,
            os: found.os.to_owned(),
            arch: found.arch.to_owned(),
            addresses: found.addresses,
            modules,
            ..Environment::default()
        };
        let hostname = hostname.map_or(found.hostname, str::to_owned);
        Self { hostname, environment }
    }
}

/// The record of an agent that has just started.
pub fn record(
    surroundings: Surroundings,
    queueloc: &QueueLoc,
    tags: Tags,
    mode: AgentMode,
    now: Timestamp,
) -> Agent {
    Agent {
        name: surroundings.hostname,
        queueloc: queueloc.as_str().to_owned(),
        mode,
        version: crate::VERSION.to_owned(),
        pid: i64::from(std::process::id()),
        starttime: now,
        heartbeatts: now,
        refreshts: now,
        environment: surroundings.environment,
        tags,
        ..Agent::default()
    }
}

/// Sends heartbeats until shutdown: one as soon as commands can arrive, for who
/// sees it may send some, then one every `every`, give or take a tenth, so that
/// a fleet does not beat in step.
pub async fn beat(context: Arc<Context>, every: Duration, rundir: PathBuf, shutdown: Shutdown) {
    let mut backoff = Backoff::new(every.min(LONGEST_PAUSE));
    let mut listening = context.listening.subscribe();
    tokio::select! {
        () = shutdown.requested() => return,
        _ = listening.wait_for(|listening| *listening) => {}
    }
    loop {
        let delay = match send(&context, every).await {
            Ok(()) => {
                backoff.reset();
                mark(&rundir.join(OK_FILE), context.clock.now());
                jitter(every, 10)
            }
            // The first try that succeeds is the heartbeat after a reconnection.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "heartbeat was not delivered"
                );
                backoff.delay()
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

async fn send(context: &Context, every: Duration) -> Result<(), RelayError> {
    let now = context.clock.now();
    let mut agent = context.record.borrow().clone();
    agent.starttime = now;
    agent.heartbeatts = now;
    if let Some(proxy) = context.relay.proxy() {
        agent.environment.isproxied = true;
        agent.environment.proxy = proxy;
    }
    let body = match wire::to_vec(&agent) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!("heartbeat cannot be written: {error}");
            return Ok(());
        }
    };
    tracing::debug!("heartbeat '{}'", String::from_utf8_lossy(&body));
    let message = Message { route: Route::Heartbeats, body: Bytes::from(body), ttl: every * 10 };
    context.relay.publish(vec![message]).await.pop().unwrap_or(Ok(()))
}

fn mark(path: &Path, now: Timestamp) {
    if let Err(error) = std::fs::write(path, format!("{now}\n")) {
        tracing::error!("cannot write {}: {error}", path.display());
    }
}

/// Looks at the host again every `every`, and sooner while something could not
/// be found out; what has changed goes into the next heartbeat.
pub async fn refresh(
    context: Arc<Context>,
    every: Option<Duration>,
    lookout: Lookout,
    mut is_complete: bool,
    shutdown: Shutdown,
) {
    let mut pause = FIRST_RETRY;
    loop {
        let delay = match (every, is_complete) {
            (None, true) => return,
            (Some(every), true) => every,
            (every, false) => {
                let delay = pause;
                pause = (pause * 2).min(LONGEST_RETRY);
                every.map_or(delay, |every| every.min(delay))
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(delay) => {}
        }
        let before = context.record.borrow().environment.clone();
        let (found, complete) = tokio::select! {
            () = shutdown.requested() => return,
            seen = lookout.look(Some(&before)) => seen,
        };
        if found.hostname.is_empty() {
            continue;
        }
        if complete {
            pause = FIRST_RETRY;
        }
        is_complete = complete;
        let now = context.clock.now();
        context.record.send_if_modified(|agent| update(agent, found, now));
    }
}

/// Takes over what is new; `refreshts` then says when.
fn update(agent: &mut Agent, found: Surroundings, now: Timestamp) -> bool {
    if agent.name == found.hostname && agent.environment == found.environment {
        return false;
    }
    agent.name = found.hostname;
    agent.environment = found.environment;
    agent.refreshts = now;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshts_moves_only_when_something_changed() {
        let start = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let later = start + Duration::from_mins(1);
        let old = Surroundings { hostname: "web1".into(), environment: Environment::default() };
        let queueloc = "linux.web1.x".parse().unwrap();
        let mut agent = record(old.clone(), &queueloc, Tags::new(), AgentMode::Daemon, start);
        assert!(!update(&mut agent, old.clone(), later));
        assert_eq!(agent.refreshts, start);
        let mut new = old;
        new.environment.addresses = vec!["10.0.0.1/8".into()];
        assert!(update(&mut agent, new, later));
        assert_eq!(agent.refreshts, later);
        assert_eq!(agent.environment.addresses, ["10.0.0.1/8"]);
    }

    #[test]
    fn finds_out_about_this_host() {
        let modules = vec!["file".to_owned()];
        let found = Surroundings::discover(modules.clone(), None);
        assert!(!found.hostname.is_empty());
        assert!(!found.environment.os.is_empty() && !found.environment.arch.is_empty());
        assert_eq!(found.environment.modules, modules);
    }
}
