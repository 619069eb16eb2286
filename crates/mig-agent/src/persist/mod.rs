//! Modules that live as long as the agent: each in a process of its own, started
//! again when it ends.

mod alerts;
mod configuration;
pub mod host;
mod supervise;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mig_module::persist::{Briefing, Setting};
use mig_runtime::Shutdown;
use tokio::task::JoinSet;

use crate::config::AgentConfig;
use crate::context::Context;
use alerts::Alerts;

pub use configuration::read_configuration;

/// Where a module answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// In a process of its own for each question.
    OneShot,
    /// At this socket.
    At(String),
    /// Nowhere at the moment.
    NotRegistered,
}

/// Which persistent modules can be asked, and where.
#[derive(Debug, Clone, Default)]
pub struct Switchboard(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Switchboard {
    /// Knows the names of all persistent modules of this program; none of them
    /// can be asked yet.
    pub fn of_this_program() -> Self {
        let names = hosted().into_iter().map(|module| (module.name.to_owned(), None));
        Self(Arc::new(Mutex::new(names.collect())))
    }

    pub fn line(&self, module: &str) -> Line {
        match self.lock().get(module) {
            None => Line::OneShot,
            Some(Some(spec)) => Line::At(spec.clone()),
            Some(None) => Line::NotRegistered,
        }
    }

    fn put(&self, module: &str, spec: Option<String>) {
        self.lock().insert(module.to_owned(), spec);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A persistent module of this program.
#[derive(Debug, Clone, Copy)]
struct Hosted {
    name: &'static str,
    settings: &'static [Setting],
    takes_alerts: bool,
}

fn hosted() -> Vec<Hosted> {
    let registry = crate::modules::registry();
    let persistent = registry.iter().filter_map(|module| {
        let persistent = module.persistent()?;
        Some(Hosted {
            name: module.name(),
            settings: persistent.settings(),
            takes_alerts: persistent.takes_alerts(),
        })
    });
    persistent.collect()
}

/// Files that a module's configuration names, which its process has to read.
fn reads(module: &str, briefing: &Briefing) -> Vec<String> {
    let registry = crate::modules::registry();
    let persistent = registry.get(module).and_then(|module| module.persistent());
    persistent.map(|module| module.reads(briefing)).unwrap_or_default()
}

/// [`reads`] of a module that is started by hand: what its file says.
pub(crate) fn configured_reads(confdir: &Path, module: &str) -> Vec<String> {
    let registry = crate::modules::registry();
    let Some(persistent) = registry.get(module).and_then(|module| module.persistent()) else {
        return Vec::new();
    };
    let path = confdir.join(format!("{module}.cfg"));
    let (config, _) = read_configuration(&path, persistent.settings());
    persistent.reads(&Briefing { config, ..Briefing::default() })
}

/// The socket of a module's process.
pub(crate) fn socket_path(rundir: &Path, module: &str) -> PathBuf {
    rundir.join(format!("persist-{module}.sock"))
}

/// What every supervisor needs.
struct House {
    context: Arc<Context>,
    config: AgentConfig,
    alerts: Alerts,
}

/// Keeps every persistent module of this program running until shutdown.
pub async fn keep(context: Arc<Context>, config: AgentConfig, shutdown: Shutdown) {
    let house = Arc::new(House { context, config, alerts: Alerts::default() });
    let mut supervisors = JoinSet::new();
    for module in hosted() {
        supervisors.spawn(supervise::supervise(Arc::clone(&house), module, shutdown.clone()));
    }
    while supervisors.join_next().await.is_some() {}
}

/// Text of a module, as one line of the log.
fn plain(text: &str) -> String {
    text.chars().take(4096).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
