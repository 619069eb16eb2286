//! What a scheduler needs to know, wherever it was written.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of one scheduler. The defaults are those of the sample file,
/// without spool and whitelist.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the configuration file")]
pub struct Settings {
    /// Silence after which an idle agent is offline; older heartbeats are
    /// refused.
    pub agent_timeout: Duration,
    /// Time between two heartbeats of an agent, as the agents have it.
    pub heartbeat_frequency: Duration,
    /// Who may join; without, everybody.
    pub whitelist: Option<PathBuf>,
    /// Look for endpoints with several agents.
    pub detect_duplicates: bool,
    /// Order the end of one of them.
    pub kill_duplicates: bool,
    /// One log line for each command.
    pub log_actions: bool,
    /// One log line for each heartbeat.
    pub debug_heartbeats: bool,
    /// Time between two looks for work that no event announced.
    pub collector_frequency: Duration,
    /// Time between two periodic runs.
    pub periodic_frequency: Duration,
    /// Time between two clean-ups of queues.
    pub queues_cleanup_frequency: Duration,
    /// Age at which files in the spool are deleted.
    pub delete_after: Duration,
    /// Age at which statistics are deleted.
    pub keep_statistics: Duration,
    /// Directory of the spool; without, there is none.
    pub spool: Option<PathBuf>,
    /// Look at queues and commands for monitoring.
    pub observe: bool,
    /// Time between two events `scheduler.heartbeat`.
    pub event_frequency: Duration,
    /// Who sends them: `host='…' pid='…'`.
    pub instance: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            agent_timeout: Duration::from_mins(20),
            heartbeat_frequency: Duration::from_mins(5),
            whitelist: None,
            detect_duplicates: false,
            kill_duplicates: false,
            log_actions: false,
            debug_heartbeats: false,
            collector_frequency: Duration::from_secs(1),
            periodic_frequency: Duration::from_secs(87),
            queues_cleanup_frequency: Duration::from_hours(24),
            delete_after: Duration::from_hours(72),
            keep_statistics: Duration::from_hours(365 * 24),
            spool: None,
            observe: false,
            event_frequency: Duration::from_mins(1),
            instance: instance(),
        }
    }
}

fn instance() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    format!("host='{host}' pid='{}'", std::process::id())
}
