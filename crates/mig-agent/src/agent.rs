//! The daemon: puts the parts together and takes them apart again.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use mig_runtime::clock::Clock;
use mig_runtime::clock::SystemClock;
use mig_runtime::{Shutdown, ShutdownTrigger};
use mig_types::AgentMode;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::checkin::{self, CheckIn, Ended};
use crate::config::{AgentConfig, Unverifiable, half_the_cores};
use crate::context::{Context, History};
use crate::discovery::Discovery;
use crate::execute::child::Sandboxing;
use crate::execute::{Cages, Executor, Programs};
use crate::heartbeat::{self, Lookout};
use crate::identity::Identity;
use crate::journal::{Bounds, Journal, JournalError, is_disk_trouble};
use crate::report::Reporter;
use crate::run::Job;
use crate::trust::Trust;
use crate::verify::Policy;
use crate::{outbox, persist, reach, receive, run, socket, thrift};

/// Time between two looks for actions that need not be remembered any more.
const FORGET_EVERY: std::time::Duration = std::time::Duration::from_hours(1);
/// Expired actions are remembered a while longer: the clock may be set back.
const REMEMBER_AFTER: std::time::Duration = std::time::Duration::from_hours(24 * 7);

/// Longest wait for a disk.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_mins(1);

/// What a check-in has beside the time of one operation.
const CHECKIN_SLACK: std::time::Duration = std::time::Duration::from_secs(10);

/// Tells the log what the kernel can do, once.
fn say_how_modules_are_confined(sandboxing: Sandboxing) {
    if sandboxing == Sandboxing::Off {
        tracing::warn!("modules run without a sandbox: agent.modulesandbox is off");
        return;
    }
    let sandbox = mig_sandbox::probe();
    if sandbox.is_complete() {
        tracing::info!("modules run in a sandbox: {sandbox}");
    } else if sandboxing == Sandboxing::Require {
        tracing::error!("modules do not run: agent.modulesandbox is require, but {sandbox}");
    } else {
        tracing::warn!("modules run with a part of the sandbox only: {sandbox}");
    }
}

/// Runs the agent until shutdown.
///
/// # Errors
///
/// When it cannot start: keys, access list, run directory, journal or address
/// of the relay are not usable. Later only when the journal fails for good. That
/// the relay is away, or a disk full or read-only, is no error: it is waited for.
pub async fn serve(config: AgentConfig, shutdown: Shutdown) -> anyhow::Result<()> {
    serve_by(config, Arc::new(SystemClock), shutdown).await
}

/// [`serve`] by another clock.
///
/// # Errors
///
/// Those of [`serve`].
pub async fn serve_by(
    config: AgentConfig,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(LONGEST_WAIT);
    let mut is_first = true;
    loop {
        let begun = tokio::time::Instant::now();
        let ended = serve_once(config.clone(), Arc::clone(&clock), shutdown.clone()).await;
        let Err(error) = ended else { return Ok(()) };
        // A check-in is over when it cannot go on: there will be another one.
        if config.checkin || shutdown.is_requested() || !may_pass(&error, is_first) {
            return Err(error);
        }
        is_first = false;
        if begun.elapsed() > LONGEST_WAIT * 5 {
            backoff.reset();
        }
        let delay = backoff.delay();
        tracing::error!(
            retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "the run directory cannot be used; commands stay with the relay until it can: \
             {error:#}"
        );
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Whether what ended the agent is something about a disk that may end, too.
fn may_pass(error: &anyhow::Error, is_first: bool) -> bool {
    error.chain().any(|cause| {
        if let Some(JournalError::InUse { .. }) = cause.downcast_ref() {
            // At first it is another agent, later what is left of this one.
            return !is_first;
        }
        cause.downcast_ref::<JournalError>().is_some_and(JournalError::is_passing)
            || cause.downcast_ref().is_some_and(is_disk_trouble)
    })
}

async fn serve_once(
    config: AgentConfig,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let programs = Programs::of_this_build(own_program()?, config.moduledir.as_deref());
    let lookout = Lookout {
        programs: programs.clone(),
        hostname: config.hostname.clone(),
        discovery: Discovery::new(&config, |name| std::env::var(name).ok()),
    };
    let (surroundings, is_complete) = tokio::select! {
        () = shutdown.requested() => return Ok(()),
        seen = lookout.look(None) => seen,
    };
    tracing::debug!("Ident is {}", surroundings.environment.ident);
    tracing::debug!("Init is {}", surroundings.environment.init);
    for address in &surroundings.environment.addresses {
        tracing::debug!("Found local address {address}");
    }
    let hostname = surroundings.hostname.clone();
    let os = surroundings.environment.os.clone();
    let identity = Identity::load_or_create(&config.rundir, &os, &hostname)
        .context("cannot establish the agent's identity")?;
    let trust = load_trust(&config)?;
    let (journal, pending) = open_journal(&config, clock.as_ref())?;

    say_how_modules_are_confined(config.budgets.sandbox);
    // After the journal, which no two agents can have: what is left in the
    // groups of this run directory belongs to nobody.
    let cages = Cages::open(&config.rundir, &config.budgets);
    tracing::debug!("Establishing connection to relay");
    let relay_config = reach::relay_config(&config, |name| std::env::var(name).ok())?;
    let relay = mig_relay::connect(&relay_config).await?;

    let record = heartbeat::record(
        surroundings,
        &identity.queueloc,
        config.tags.clone(),
        if config.checkin { AgentMode::Checkin } else { AgentMode::Daemon },
        clock.now(),
    );
    let context = Arc::new(Context {
        clock,
        relay,
        journal: Arc::new(journal),
        policy: Policy {
            trust,
            queueloc: identity.queueloc.clone(),
            onlyverifypubkey: config.onlyverifypubkey,
            unverifiabletargets: config.unverifiabletargets,
        },
        reporter: Reporter {
            queueloc: identity.queueloc.clone(),
            heartbeatfreq: config.heartbeatfreq,
        },
        executor: Executor {
            programs,
            budgets: config.budgets,
            privacy: config.extraprivacymode,
            switchboard: persist::Switchboard::of_this_program(),
            cages,
        },
        record: watch::Sender::new(record),
        history: History::new(config.maxactions),
        listening: watch::Sender::new(false),
        arrived: watch::Sender::new(0),
        posted: Notify::new(),
        room: Notify::new(),
    });
    tracing::info!("Mozilla InvestiGator version {}: started agent {hostname}", crate::VERSION);
    let seen = (lookout, is_complete);
    let outcome = work(Arc::clone(&context), &config, identity, pending, seen, shutdown).await;
    context.relay.close().await;
    outcome
}

/// Runs the agent's tasks until shutdown or until one of them fails.
async fn work(
    context: Arc<Context>,
    config: &AgentConfig,
    identity: Identity,
    pending: Vec<Job>,
    (lookout, is_complete): (Lookout, bool),
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    // Everything that brings work stops first; answers go out last.
    let (stop, stopping) = Shutdown::new();
    let (last, ending) = Shutdown::new();
    let (jobs, queue) = mpsc::unbounded_channel();
    for job in pending {
        let _ = jobs.send(job);
    }
    let mut working: JoinSet<Result<(), JournalError>> = JoinSet::new();
    working.spawn(receive::receive(Arc::clone(&context), jobs, stopping.clone()));
    working.spawn(run::run(Arc::clone(&context), queue, stopping.clone()));
    working.spawn(forget(Arc::clone(&context), stopping.clone()));
    let mut helping = JoinSet::new();
    helping.spawn(heartbeat::beat(
        Arc::clone(&context),
        config.heartbeatfreq,
        config.rundir.clone(),
        stopping.clone(),
    ));
    helping.spawn(thrift::give_back(Arc::clone(&context), config.heartbeatfreq, stopping.clone()));
    helping.spawn(heartbeat::refresh(
        Arc::clone(&context),
        config.refreshenv,
        lookout,
        is_complete,
        stopping.clone(),
    ));
    let mut hosting = JoinSet::new();
    if !config.nopersistmods && !config.checkin {
        hosting.spawn(persist::keep(Arc::clone(&context), config.clone(), stopping.clone()));
    }
    let (asked, asking) = Shutdown::new();
    if let Some(address) = config.socket.clone() {
        let door = socket::Door { context: Arc::clone(&context), identity, asked };
        helping.spawn(socket::serve(door, address, stopping));
    }
    let mut delivering = tokio::spawn(outbox::deliver(Arc::clone(&context), ending));

    let mut outcome = tokio::select! {
        () = shutdown.requested() => {
            let reason = shutdown.reason().unwrap_or_default();
            tracing::error!(severity = "emergency", "Shutting down agent: '{reason}'");
            Ok(())
        }
        () = asking.requested() => {
            tracing::error!(severity = "emergency", "Shutting down agent: 'shutdown requested'");
            Ok(())
        }
        ended = checkin(&context, config), if config.checkin => ended,
        Some(ended) = working.join_next() => flatten(ended),
        ended = &mut delivering => flatten(ended),
    };
    stop.request();
    while let Some(ended) = working.join_next().await {
        outcome = outcome.and(flatten(ended));
    }
    while hosting.join_next().await.is_some() {}
    helping.shutdown().await;
    finish(last, delivering, outcome).await
}

/// Waits for the end of a check-in.
///
/// # Errors
///
/// When it took too long, or the journal failed.
async fn checkin(context: &Context, config: &AgentConfig) -> anyhow::Result<()> {
    // A tenth more than one operation may take, and enough to connect and answer.
    let longest = config.budgets.time;
    let limit = (longest.saturating_mul(11) / 10).max(longest.saturating_add(CHECKIN_SLACK));
    match checkin::over(context, CheckIn { wait: config.checkinwait, limit }).await? {
        Ended::Done => {
            tracing::info!("check-in is over, every command is answered");
            Ok(())
        }
        Ended::Late if !*context.listening.borrow() => anyhow::bail!(
            "the check-in did not reach the relay within {}",
            mig_types::duration::format(limit)
        ),
        Ended::Late => anyhow::bail!(
            "the check-in is not over after {}: {} commands are left for the next one",
            mig_types::duration::format(limit),
            context.journal.accepted()
        ),
    }
}

async fn finish(
    last: ShutdownTrigger,
    delivering: tokio::task::JoinHandle<Result<(), JournalError>>,
    outcome: anyhow::Result<()>,
) -> anyhow::Result<()> {
    last.request();
    if delivering.is_finished() {
        return outcome;
    }
    let delivered = flatten(delivering.await);
    outcome.and(delivered)
}

fn flatten(ended: Result<Result<(), JournalError>, tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Forgets actions that expired long ago, now and then.
async fn forget(context: Arc<Context>, shutdown: Shutdown) -> Result<(), JournalError> {
    loop {
        let horizon = context.clock.now() - REMEMBER_AFTER;
        context.journal(move |journal| journal.forget(horizon)).await?;
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(FORGET_EVERY) => {}
        }
    }
}

fn load_trust(config: &AgentConfig) -> anyhow::Result<Trust> {
    let (trust, warnings) = Trust::load(&config.confdir, config.carried.as_deref())
        .context("cannot load keys and access list")?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for (name, _) in trust.acl.iter() {
        tracing::debug!("Loading permission named '{name}'");
    }
    if trust.keyring.is_empty() {
        tracing::warn!("no investigator's key is installed: every action will be refused");
    }
    if config.onlyverifypubkey {
        tracing::warn!("onlyverifypubkey is on: every installed key may run every module");
    }
    if config.unverifiabletargets == Unverifiable::Deny {
        tracing::info!("actions whose target cannot be verified here are refused");
    }
    Ok(trust)
}

fn open_journal(config: &AgentConfig, clock: &dyn Clock) -> anyhow::Result<(Journal, Vec<Job>)> {
    let (journal, rebuilt) = Journal::open(&config.rundir, Bounds::default())?;
    if let Some(reason) = rebuilt {
        tracing::error!(
            "the journal could not be read, a new one is started at {}: {reason}",
            clock.now()
        );
    }
    let pending = journal.recover(half_the_cores())?;
    if !pending.is_empty() {
        tracing::info!("{} commands from before the restart are taken up", pending.len());
    }
    let job = |entry: crate::journal::Pending| Job {
        seq: entry.seq,
        digest: entry.digest,
        recovered: Some(entry.attempts),
    };
    Ok((journal, pending.into_iter().map(job).collect()))
}

/// The executable that runs modules: this one.
///
/// # Errors
///
/// When the system does not tell where it is.
pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the agent's own executable")
}
