//! From the command line to a running scheduler.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use mig_relay::{Relay, RelayError};
use mig_runtime::clock::SystemClock;
use mig_runtime::logging::{self, LogGuard};
use mig_runtime::{Exit, Shutdown};
use mig_store::{Store, StoreError, migrate_postgres, open_postgres};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::config::SchedulerConfig;
use crate::error::Chain;
use crate::metrics::StoreAnswers;
use crate::scheduler::Scheduler;

/// Exit status when the scheduler cannot start.
const CANNOT_START: u8 = 9;
/// How long the start waits for the relay before it goes on without.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// Moves actions from the database to agents and results back.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "mig-scheduler", version, disable_version_flag = true)]
pub struct Args {
    /// Configuration file.
    #[arg(short = 'c', value_name = "file", default_value = "/etc/mig/scheduler.cfg")]
    pub config: PathBuf,
    /// Log everything, to standard output.
    #[arg(short = 'd')]
    pub debug: bool,
    /// Bring the database's schema up to date, and end. Also spelt `-migrate`.
    #[arg(long)]
    pub migrate: bool,
    /// Print the version, and end.
    #[arg(short = 'V', long = "version", action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// The arguments as clap reads them: long options may have one dash.
pub fn arguments(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    args.into_iter().map(|arg| if arg == "-migrate" { "--migrate".into() } else { arg }).collect()
}

/// Everything that is open once the start succeeded.
struct Started {
    scheduler: Scheduler,
    store: Arc<dyn Store>,
    relay: Arc<dyn Relay>,
    log: LogGuard,
    monitoring: Option<TcpListener>,
}

/// Runs the scheduler until the stop is requested.
///
/// # Errors
///
/// An exit with status 9 when it cannot start; the reason is on standard error
/// already.
pub async fn start(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    if args.migrate {
        return migrate(&args).await;
    }
    say("Initializing Scheduler context...");
    let started = match initialize(&args).await {
        Ok(started) => started,
        Err(error) => {
            say(&format!("\nFATAL: {error:#}\n"));
            return Err(Exit::silent(CANNOT_START).into());
        }
    };
    say("OK\n");
    let Started { scheduler, store, relay, log, monitoring } = started;
    // The whitelist is read again whenever it changes.
    let hangups = tokio::spawn(logging::reload_on_hangup(log, move || {
        SchedulerConfig::load(&args.config).map(|config| (!args.debug).then_some(config.logging))
    }));
    let monitoring = monitoring.map(|listener| {
        let metrics = scheduler.metrics().registry().clone();
        let readiness = Arc::new(StoreAnswers(Arc::clone(&store)));
        tokio::spawn(mig_observe::serve(listener, metrics, readiness, shutdown.clone()))
    });
    let served = scheduler.serve(shutdown).await;
    if let Some(task) = monitoring {
        task.abort();
    }
    relay.close().await;
    store.close().await;
    tracing::info!("scheduler stopped");
    // Not before the last line: it holds the log.
    hangups.abort();
    served
}

async fn migrate(args: &Args) -> anyhow::Result<()> {
    let config = SchedulerConfig::load(&args.config)?;
    migrate_postgres(&config.postgres()?).await.context("cannot bring the database up to date")?;
    say("database schema is up to date\n");
    Ok(())
}

async fn initialize(args: &Args) -> anyhow::Result<Started> {
    let mut config = SchedulerConfig::load(&args.config)?;
    let postgres = config.postgres()?;
    let relay = config.relay()?;
    let settings = config.settings();
    if args.debug {
        "debug".clone_into(&mut config.logging.level);
        "stdout".clone_into(&mut config.logging.mode);
    }
    let log = logging::init("mig-scheduler", &config.logging)?;
    if settings.whitelist.is_none() {
        tracing::warn!("agent.whitelist is not set: every agent is authorised");
    }
    if config.agent.killdupagents && !config.agent.detectmultiagents {
        tracing::warn!("agent.killdupagents does nothing without agent.detectmultiagents");
    }
    let monitoring = match config.metrics_address()? {
        Some(address) => {
            let listener = mig_observe::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
            tracing::info!("monitoring listens on {}", listener.local_addr()?);
            Some(listener)
        }
        None => None,
    };
    tracing::debug!("leaving initChannels()");
    Scheduler::create_spool(&settings)?;
    tracing::debug!("leaving initDirectories()");
    mig_runtime::tls::install_provider();
    let store = match open_postgres(&postgres).await {
        Ok(store) => store,
        Err(error @ StoreError::Schema { .. }) => {
            let file = args.config.display();
            bail!("{error}; bring it up to date with: mig-scheduler -migrate -c {file}");
        }
        Err(error) => return Err(anyhow::Error::new(error).context("cannot open the database")),
    };
    tracing::info!("Database connection opened");
    tracing::debug!("leaving initDB()");
    let relay = mig_relay::connect(&relay).await?;
    declare(relay.as_ref()).await?;
    tracing::debug!("leaving initRelay()");
    let scheduler =
        Scheduler::new(Arc::clone(&store), Arc::clone(&relay), Arc::new(SystemClock), settings);
    scheduler.prepare().await?;
    Ok(Started { scheduler, store, relay, log, monitoring })
}

/// Declares exchanges and queues. A relay that is away is no reason to give
/// up: it is tried for ever. One that refuses us is.
async fn declare(relay: &dyn Relay) -> anyhow::Result<()> {
    match timeout(RELAY_PATIENCE, relay.declare()).await {
        Ok(Ok(())) => tracing::info!("AMQP connection opened"),
        Ok(Err(error @ (RelayError::Refused { .. } | RelayError::Address { .. }))) => {
            return Err(anyhow::Error::new(error).context("cannot use the relay"));
        }
        Ok(Err(error)) => tracing::warn!("relay is tried again: {}", Chain(&error)),
        Err(_) => tracing::warn!("relay {} is tried again: no answer yet", relay.endpoint()),
    }
    Ok(())
}

/// For the operator at the terminal; nobody may be there.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        let args = std::iter::once("mig-scheduler").chain(args.iter().copied());
        Args::try_parse_from(arguments(args.map(OsString::from)))
    }

    #[test]
    fn the_command_line_of_the_guide_works() {
        assert_eq!(parse(&[]).unwrap().config, PathBuf::from("/etc/mig/scheduler.cfg"));
        assert_eq!(parse(&["-c", "x.cfg"]).unwrap().config, PathBuf::from("x.cfg"));
        assert!(parse(&["-d"]).unwrap().debug);
        assert!(parse(&["-migrate", "-c", "x"]).unwrap().migrate);
        let version = parse(&["-V"]).unwrap_err();
        assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
        assert!(parse(&["-x"]).is_err() && parse(&["-c"]).is_err());
    }
}
