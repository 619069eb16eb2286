//! `mig-swarm run`.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mig_client::config::process_environment;
use mig_client::{ApiClient, ClientConfig};
use mig_relay::RelayConfig;
use mig_runtime::Shutdown;
use mig_runtime::clock::{Clock, SystemClock};
use mig_sign::keyring::Keyring;
use mig_swarm::{Audit, Behaviour, Fleet, Plan, Question, Tally, ask, audit};
use serde::Serialize;
use tokio::time::sleep;

use crate::arguments::Run;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// What is printed at the end.
#[derive(Serialize)]
struct Report {
    agents: usize,
    #[serde(flatten)]
    tally: Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<Audit>,
    /// Seconds from POST to the end of each action, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    took: Vec<f64>,
}

pub(crate) async fn run(arguments: Box<Run>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Before agents start: a question that cannot be asked needs none.
    let asker = arguments.actions.map(|_| Asker::open(&arguments, &clock)).transpose()?;
    let fleet = Fleet::start(plan(&arguments)?, Arc::clone(&clock)).await?;
    let outcome = tokio::select! {
        outcome = serve(&arguments, &fleet, asker.as_ref(), &clock) => outcome,
        () = shutdown.requested() => Ok(None),
    };
    let (tally, agents) = (fleet.book().tally(), arguments.agents);
    let interrupted = shutdown.is_requested();
    fleet.stop().await;
    let (audit, took) = outcome?.unzip();
    let report = Report { agents, tally, audit, took: took.unwrap_or_default() };
    print(&report, arguments.json)?;
    match report.audit {
        Some(audit) if !audit.is_clean() => bail!("the platform does not tell what the agents did"),
        None if asker.is_some() && interrupted => bail!("interrupted before the end"),
        _ if tally.refused + tally.unreadable > 0 => {
            bail!("{} commands refused, {} unreadable", tally.refused, tally.unreadable)
        }
        _ => Ok(()),
    }
}

/// Runs until it is asked to stop, or until every question is answered.
async fn serve(
    arguments: &Run,
    fleet: &Fleet,
    asker: Option<&Asker>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<(Audit, Vec<f64>)>> {
    let progress = Progress::new();
    let begun = Instant::now();
    while fleet.ready() < arguments.agents {
        progress.say(&format!("{} of {} agents ready", fleet.ready(), arguments.agents));
        if asker.is_some() && begun.elapsed() > arguments.limit {
            bail!("{} of {} agents are ready in time", fleet.ready(), arguments.agents);
        }
        sleep(LOOK).await;
    }
    progress.line(&format!("{} agents ready", arguments.agents));
    let Some(asker) = asker else {
        std::future::pending::<()>().await;
        return Ok(None);
    };
    let question = Question {
        target: fleet.plan().target(),
        actions: arguments.actions.unwrap_or_default(),
        every: arguments.every,
        validity: arguments.validity,
        limit: arguments.limit,
        stubborn: false,
    };
    loop {
        let known = asker.api.evaluate_target(&question.target).await?.len();
        if known == arguments.agents {
            break;
        }
        progress.say(&format!("the platform knows {known} of {} agents", arguments.agents));
        if begun.elapsed() > arguments.limit {
            bail!("the platform knows {known} of {} agents; are they allowed?", arguments.agents);
        }
        sleep(LOOK).await;
    }
    let signer = asker.signer.as_ref();
    let tell = |over| progress.say(&format!("{over} of {} actions over", question.actions));
    let launched = ask(&asker.api, signer, clock, &question, &tell).await?;
    progress.line(&format!("{} actions launched, comparing", launched.len()));
    let ids: Vec<_> = launched.iter().map(|action| action.id).collect();
    let mut found = audit(&asker.api, fleet.plan(), fleet.book(), &ids).await?;
    // Actions that were never launched are not there either.
    found.unaccounted += question.actions.saturating_sub(launched.len()) as u64;
    let took = launched.iter().filter_map(|action| action.took).map(|took| took.as_secs_f64());
    Ok(Some((found, took.collect())))
}

fn plan(arguments: &Run) -> anyhow::Result<Plan> {
    let mut relay = RelayConfig::new(&arguments.relay);
    relay.ca_pem = arguments.ca.as_deref().map(read).transpose()?;
    relay.cert_pem = arguments.cert.as_deref().map(read).transpose()?;
    relay.key_pem = arguments.key.as_deref().map(read).transpose()?;
    let mut plan = Plan::new(relay, &arguments.name, arguments.agents);
    plan.per_connection = arguments.per_connection;
    plan.heartbeat = arguments.heartbeat;
    plan.behaviour = Behaviour {
        delay: arguments.delay.clone(),
        fail: arguments.fail,
        lose: arguments.lose,
        payload: arguments.payload,
    };
    if !arguments.verify.is_empty() {
        let mut keyring = Keyring::default();
        for path in &arguments.verify {
            let key = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            keyring.add_armored(&key).with_context(|| path.display().to_string())?;
        }
        plan.keyring = Some(Arc::new(keyring));
    }
    Ok(plan)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Whoever launches the actions.
struct Asker {
    api: ApiClient,
    signer: Arc<dyn mig_client::Signer>,
}

impl Asker {
    fn open(arguments: &Run, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let path = match &arguments.config {
            Some(path) => path.clone(),
            None => ClientConfig::default_path(&process_environment)
                .context("--actions needs an investigator's configuration; name it with -c")?,
        };
        let (mut config, _) = ClientConfig::load(&path, &process_environment)?;
        if let Some(key) = &arguments.signing_key {
            config.signing_key = Some(key.clone());
        }
        let signer = mig_client::signer::from_config(&config)?;
        let version = env!("CARGO_PKG_VERSION");
        let api = ApiClient::new(
            &config,
            "swarm",
            version,
            Some(Arc::clone(&signer)),
            Arc::clone(clock),
        )?;
        Ok(Self { api, signer })
    }
}

/// Tells on standard error how far it is: on a terminal one line that changes.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    fn say(&self, text: &str) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    fn line(&self, text: &str) {
        let before = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{before}{text}");
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    let tally = &report.tally;
    writeln!(
        out,
        "swarm: {} agents, {} heartbeats, {} commands ({} again), {} succeeded, {} failed, {} lost \
         as planned",
        report.agents,
        tally.heartbeats,
        tally.commands,
        tally.repeated,
        tally.succeeded,
        tally.failed,
        tally.lost
    )?;
    if let Some(audit) = &report.audit {
        writeln!(
            out,
            "audit: {} actions, {} commands: {} results lost, {} doubled, {} agents unaccounted, \
             {} altered, {} actions miscounted",
            audit.actions,
            audit.commands,
            audit.lost,
            audit.doubled,
            audit.unaccounted,
            audit.altered,
            audit.miscounted
        )?;
    }
    if let (Some(first), Some(last)) =
        (report.took.iter().copied().reduce(f64::min), report.took.iter().copied().reduce(f64::max))
    {
        writeln!(out, "POST to end of an action: {first:.2} s to {last:.2} s")?;
    }
    Ok(())
}
