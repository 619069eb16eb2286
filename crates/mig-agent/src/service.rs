//! How a start goes on: in the foreground, as a service, or not at all because
//! the service is started instead.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mig_host::LocalHost;
use mig_host::environment::discover;
use mig_host::service::control::{self, Service};
use mig_host::service::{self, Job, Manager};

use crate::agent::own_program;
use crate::config::AgentConfig;
use crate::flags::{Flags, MODE_AGENT};

/// Says that a start shall become nothing but the agent.
const FOREGROUND: &str = "-f";

/// An agent that ran for that long did not fail at its start.
const STARTED: Duration = Duration::from_mins(1);

/// What a start is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// The agent, here and now.
    Stay,
    /// The agent, as a service that its manager keeps alive.
    Serve,
    /// The service is installed and started, and this process ends.
    Deploy,
    /// A process of its own is started, and this one ends.
    Detach,
}

/// What keeps services on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// It reads files.
    Files(Manager),
    /// The service control manager of Windows.
    Control,
}

impl Keeper {
    /// By the name heartbeats carry.
    fn of(init: &str) -> Option<Self> {
        if init == "windows" { Some(Self::Control) } else { Manager::of(init).map(Self::Files) }
    }

    /// Whether what it started stays its own, and is started again after a failure.
    fn keeps_services(self) -> bool {
        match self {
            Self::Files(manager) => manager.keeps_services(),
            Self::Control => true,
        }
    }
}

/// What decides.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact")]
pub(crate) struct Circumstances {
    /// `-f`, `-d`, or a check-in.
    pub(crate) is_foreground: bool,
    /// `-u`.
    pub(crate) is_upgrade: bool,
    /// The first process of the system started this one or, on Windows, the service
    /// control manager.
    pub(crate) is_child_of_init: bool,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) installservice: bool,
}

pub(crate) fn course(now: Circumstances) -> Course {
    let keeps = now.keeper.is_some_and(Keeper::keeps_services);
    match now {
        // An upgrade is one whatever else is asked for: it must not become a
        // second agent.
        Circumstances { is_upgrade: true, .. } => Course::Deploy,
        Circumstances { is_foreground: true, is_child_of_init, .. } => {
            if keeps && is_child_of_init { Course::Serve } else { Course::Stay }
        }
        Circumstances { is_child_of_init: true, .. } if keeps => Course::Serve,
        Circumstances { is_child_of_init: true, .. } => Course::Detach,
        // The first process of a container, or a system nothing is known about.
        Circumstances { keeper: None, .. } => Course::Stay,
        Circumstances { installservice: true, .. } => Course::Deploy,
        Circumstances { .. } => Course::Detach,
    }
}

/// Looks at this process and its host. A service of Windows knows already what it is.
pub(crate) fn circumstances(
    flags: &Flags,
    config: &AgentConfig,
    is_service: bool,
) -> Circumstances {
    let is_first = std::process::id() == 1;
    Circumstances {
        is_foreground: flags.foreground || flags.debug || config.checkin,
        is_upgrade: flags.upgrading,
        is_child_of_init: is_service || is_child_of_init(),
        keeper: if is_first { None } else { keeper() },
        installservice: config.installservice,
    }
}

/// Whether a start may be that of a service of Windows, whose manager waits to be
/// answered.
pub(crate) fn may_be_service(flags: &Flags) -> bool {
    flags.mode == MODE_AGENT && !(flags.foreground || flags.debug || flags.upgrading)
}

/// The service of Windows that this process is.
///
/// # Errors
///
/// When its manager cannot be heard.
pub(crate) fn attach(flags: &Flags) -> anyhow::Result<Option<Service>> {
    if !may_be_service(flags) {
        return Ok(None);
    }
    control::attach().context("cannot hear the service control manager")
}

fn keeper() -> Option<Keeper> {
    Keeper::of(&discover(&LocalHost::default()).init)
}

#[cfg(unix)]
fn is_child_of_init() -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == 1)
}

#[cfg(not(unix))]
fn is_child_of_init() -> bool {
    false
}

/// Installs and starts the service, in the place of an older one.
///
/// # Errors
///
/// When this system has no service manager that is known, or refuses.
pub(crate) fn deploy(flags: &Flags, config: &AgentConfig) -> anyhow::Result<()> {
    const FAILED: &str = "cannot install the service (start with -f to run without one)";
    let keeper = keeper().context("no service manager is known on this system")?;
    let mut job = job(flags, config)?;
    let manager = match keeper {
        Keeper::Files(manager) => manager,
        Keeper::Control => {
            // Started with `-f` it would not look for its manager.
            job.arguments.retain(|argument| argument != FOREGROUND);
            return control::deploy(&job).context(FAILED);
        }
    };
    let root = Path::new("/");
    service::deploy(manager, &job, root, &service::tell).context(FAILED)?;
    if config.isimmortal
        && let Err(error) = service::watch(&job, root)
    {
        tracing::warn!("cron will not watch the agent: {:#}", anyhow::Error::new(error));
    }
    Ok(())
}

/// Starts this program again as a process of its own.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn detach(flags: &Flags) -> anyhow::Result<()> {
    service::start_detached(&own_program()?, &arguments(flags)?).context("cannot start the agent")
}

/// Writes the watchdog for an agent that its manager has started without
/// [`deploy`].
pub(crate) fn watch(flags: &Flags, config: &AgentConfig) {
    // Best effort: most services may not write there.
    if config.isimmortal
        && let Ok(job) = job(flags, config)
        && let Err(error) = service::watch(&job, Path::new("/"))
    {
        tracing::debug!("cron does not watch the agent: {:#}", anyhow::Error::new(error));
    }
}

fn job(flags: &Flags, config: &AgentConfig) -> anyhow::Result<Job> {
    let mut writes = vec![config.rundir.clone()];
    if config.logging.mode == "file" {
        writes.extend(Path::new(&config.logging.file).parent().map(Path::to_owned));
    }
    writes.retain(|folder| folder.is_absolute());
    Ok(Job {
        program: service::lasting_name(&own_program()?),
        arguments: arguments(flags)?,
        writes,
    })
}

/// What the agent is started with when it is started again.
fn arguments(flags: &Flags) -> anyhow::Result<Vec<String>> {
    let mut arguments = vec![FOREGROUND.to_owned()];
    if let Some(config) = &flags.config {
        let path: PathBuf = std::path::absolute(config).context("cannot name the configuration")?;
        arguments.extend(["-c".to_owned(), path.to_string_lossy().into_owned()]);
    }
    if flags.no_persistent {
        arguments.push("-n".to_owned());
    }
    Ok(arguments)
}

/// Whether an agent that ended with an error after `lived` starts a successor.
pub(crate) fn is_revived(
    course: Course,
    flags: &Flags,
    config: &AgentConfig,
    lived: Duration,
) -> bool {
    // A manager does it itself. What failed at once would fail again: cron
    // tries it every half hour.
    config.isimmortal
        && !config.checkin
        && !flags.debug
        && course == Course::Stay
        && lived >= STARTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_becomes_what_its_circumstances_say() {
        let files = |manager| Some(Keeper::Files(manager));
        let (systemd, sysv) = (files(Manager::Systemd), files(Manager::SysV));
        let windows = Some(Keeper::Control);
        for (foreground, upgrade, of_init, keeper, install, wanted) in [
            (true, false, false, systemd, true, Course::Stay),
            (true, false, true, systemd, true, Course::Serve),
            (true, false, true, sysv, true, Course::Stay),
            (true, true, false, systemd, false, Course::Deploy),
            (false, true, true, systemd, false, Course::Deploy),
            (false, false, true, systemd, true, Course::Serve),
            (false, false, true, sysv, true, Course::Detach),
            (false, false, false, systemd, true, Course::Deploy),
            (false, false, false, sysv, true, Course::Deploy),
            (false, false, false, systemd, false, Course::Detach),
            (false, false, false, None, true, Course::Stay),
            (false, false, true, windows, true, Course::Serve),
            (false, false, true, windows, false, Course::Serve),
            // A check-in by its configuration.
            (true, false, true, windows, true, Course::Serve),
            (true, false, false, windows, true, Course::Stay),
            (false, true, false, windows, false, Course::Deploy),
            (false, false, false, windows, true, Course::Deploy),
            (false, false, false, windows, false, Course::Detach),
        ] {
            let now = Circumstances {
                is_foreground: foreground,
                is_upgrade: upgrade,
                is_child_of_init: of_init,
                keeper,
                installservice: install,
            };
            assert_eq!(course(now), wanted, "{now:?}");
        }
    }

    #[test]
    fn what_keeps_services_is_known_by_its_name() {
        assert_eq!(Keeper::of("windows"), Some(Keeper::Control));
        assert_eq!(Keeper::of("launchd"), Some(Keeper::Files(Manager::Launchd)));
        assert_eq!(Keeper::of("sysvinit").map(Keeper::keeps_services), Some(false));
        assert_eq!(Keeper::of(""), None);
    }

    #[test]
    fn only_a_start_that_a_manager_could_have_made_looks_for_one() {
        let plain = Flags { config: Some("a.cfg".into()), ..Flags::default() };
        assert!(may_be_service(&plain));
        for flags in [
            Flags { foreground: true, ..plain.clone() },
            Flags { debug: true, ..plain.clone() },
            Flags { upgrading: true, ..plain.clone() },
            Flags { mode: "agent-checkin".to_owned(), ..plain.clone() },
        ] {
            assert!(!may_be_service(&flags), "{flags:?}");
        }
    }

    #[test]
    fn only_an_immortal_that_nobody_keeps_is_revived() {
        let (flags, config) = (Flags::default(), AgentConfig::default());
        let hour = Duration::from_hours(1);
        assert!(is_revived(Course::Stay, &flags, &config, hour));
        assert!(!is_revived(Course::Stay, &flags, &config, Duration::from_secs(59)));
        assert!(!is_revived(Course::Serve, &flags, &config, hour));
        let mortal = AgentConfig { isimmortal: false, ..config.clone() };
        let checkin = AgentConfig { checkin: true, ..config.clone() };
        for config in [&mortal, &checkin] {
            assert!(!is_revived(Course::Stay, &flags, config, hour));
        }
        let debug = Flags { debug: true, ..flags };
        assert!(!is_revived(Course::Stay, &debug, &config, hour));
    }

    #[test]
    fn the_successor_has_the_same_configuration() {
        let flags = Flags { config: Some("/etc/mig/a.cfg".into()), ..Flags::default() };
        assert_eq!(arguments(&flags).unwrap(), ["-f", "-c", "/etc/mig/a.cfg"]);
        let flags = Flags { config: Some("a.cfg".into()), no_persistent: true, ..flags };
        let arguments = arguments(&flags).unwrap();
        assert!(Path::new(&arguments[2]).is_absolute());
        assert_eq!(arguments[3], "-n");
    }
}
