//! The agent as a service of the operating system: the files service managers
//! read, and what they are told.

pub mod control;
mod texts;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Asks a service manager: a program and its arguments.
pub type Tell<'a> = &'a dyn Fn(&[&str]) -> io::Result<()>;

/// Starts an agent again that is not there.
const WATCHDOG: &str = "/etc/cron.d/mig-agent";
/// Where packages and loaders put the agent.
pub const USUAL_PROGRAM: &str = "/sbin/mig-agent";

/// What starts services on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Systemd,
    Upstart,
    SysV,
    Launchd,
}

/// What shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Directories it writes to.
    pub writes: Vec<PathBuf>,
}

/// Why a service cannot be installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Service files have notations of their own; what could mean something in
    /// one of them is not written.
    #[error("{0:?} cannot stand in the file of a service")]
    Unsuitable(String),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {path}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("{command} failed")]
    Command { command: String, source: io::Error },
}

impl Manager {
    /// By the name heartbeats carry: `systemd`, `upstart`, `sysvinit`, `launchd`.
    pub fn of(init: &str) -> Option<Self> {
        match init {
            "systemd" => Some(Self::Systemd),
            "upstart" => Some(Self::Upstart),
            "sysvinit" | "sysvinit-fallback" => Some(Self::SysV),
            "launchd" => Some(Self::Launchd),
            _ => None,
        }
    }

    /// Whether its services are its own children, started again when they fail.
    pub fn keeps_services(self) -> bool {
        self != Self::SysV
    }

    /// The file that describes the service.
    pub fn file(self) -> &'static str {
        match self {
            Self::Systemd => "/etc/systemd/system/mig-agent.service",
            Self::Upstart => "/etc/init/mig-agent.conf",
            Self::SysV => "/etc/init.d/mig-agent",
            Self::Launchd => "/Library/LaunchDaemons/mig-agent.plist",
        }
    }

    /// Links to the file, made by us or by the manager.
    fn links(self) -> Vec<String> {
        match self {
            Self::Systemd => {
                vec!["/etc/systemd/system/multi-user.target.wants/mig-agent.service".to_owned()]
            }
            Self::SysV => {
                let start = (2..=5).map(|level| format!("/etc/rc{level}.d/S50mig-agent"));
                let stop = [0, 1, 6].map(|level| format!("/etc/rc{level}.d/K02mig-agent"));
                start.chain(stop).collect()
            }
            Self::Upstart | Self::Launchd => Vec::new(),
        }
    }

    fn stop(self) -> Vec<Vec<&'static str>> {
        match self {
            Self::Systemd => {
                vec![
                    vec!["systemctl", "stop", "mig-agent"],
                    vec!["systemctl", "disable", "mig-agent"],
                ]
            }
            Self::Upstart => vec![vec!["initctl", "stop", "mig-agent"]],
            Self::SysV => vec![vec!["service", "mig-agent", "stop"]],
            Self::Launchd => vec![vec!["launchctl", "unload", self.file()]],
        }
    }

    fn start(self) -> Vec<Vec<&'static str>> {
        match self {
            Self::Systemd => vec![
                vec!["systemctl", "daemon-reload"],
                vec!["systemctl", "enable", "mig-agent"],
                vec!["systemctl", "start", "mig-agent"],
            ],
            Self::Upstart => {
                vec![vec!["initctl", "reload-configuration"], vec!["initctl", "start", "mig-agent"]]
            }
            Self::SysV => vec![vec!["service", "mig-agent", "start"]],
            Self::Launchd => vec![vec!["launchctl", "load", self.file()]],
        }
    }
}

/// Installs and starts a service below `root`, in the place of what is there.
///
/// # Errors
///
/// [`ServiceError`]; that an older one cannot be stopped is none.
pub fn deploy(
    manager: Manager,
    job: &Job,
    root: &Path,
    tell: Tell<'_>,
) -> Result<(), ServiceError> {
    let text = texts::service(manager, job)?;
    withdraw(manager, root, tell)?;
    let mode = if manager == Manager::SysV { 0o755 } else { 0o644 };
    write(&below(root, manager.file()), &text, mode)?;
    if manager == Manager::SysV {
        for link in manager.links() {
            link_to(&below(root, &link), manager.file())?;
        }
    }
    for command in manager.start() {
        tell(&command)
            .map_err(|source| ServiceError::Command { command: command.join(" "), source })?;
    }
    Ok(())
}

/// Stops a service and removes it; harmless when there is none.
///
/// # Errors
///
/// [`ServiceError::Remove`].
pub fn withdraw(manager: Manager, root: &Path, tell: Tell<'_>) -> Result<(), ServiceError> {
    if fs::symlink_metadata(below(root, manager.file())).is_ok() {
        for command in manager.stop() {
            // Not running, or not known: what matters is what follows.
            let _ = tell(&command);
        }
    }
    remove_files(manager, root)
}

/// Removes every trace of a service that starts `program`, which is gone, and
/// the watchdog that would miss it. Starts nothing; the names of what was
/// removed.
///
/// # Errors
///
/// [`ServiceError::Remove`], and on Windows [`ServiceError::Command`].
pub fn forget(program: &Path, root: &Path) -> Result<Vec<&'static str>, ServiceError> {
    let mut removed = Vec::new();
    #[cfg(windows)]
    if root == Path::new("/") && control::forget(program)? {
        removed.push(control::NAME);
    }
    for manager in [Manager::Systemd, Manager::Upstart, Manager::SysV, Manager::Launchd] {
        if names(&below(root, manager.file()), program) {
            remove_files(manager, root)?;
            removed.push(manager.file());
        }
    }
    let watchdog = below(root, WATCHDOG);
    if names(&watchdog, program) {
        remove(&watchdog)?;
        removed.push(WATCHDOG);
    }
    Ok(removed)
}

/// Lets cron start an agent that does not answer, every half hour. `false`:
/// there is no cron here.
///
/// # Errors
///
/// [`ServiceError`].
pub fn watch(job: &Job, root: &Path) -> Result<bool, ServiceError> {
    let path = below(root, WATCHDOG);
    if !path.parent().is_some_and(Path::is_dir) {
        return Ok(false);
    }
    write(&path, &texts::watchdog(job)?, 0o644)?;
    Ok(true)
}

/// The program as services should name it: its usual place, when that is the
/// same file, outlives an upgrade.
pub fn lasting_name(program: &Path) -> PathBuf {
    let usual = Path::new(USUAL_PROGRAM);
    let is_same = fs::canonicalize(usual)
        .is_ok_and(|found| fs::canonicalize(program).is_ok_and(|program| program == found));
    if is_same { usual.to_owned() } else { program.to_owned() }
}

/// Runs a command of a service manager.
///
/// # Errors
///
/// When it cannot be started or says that it failed.
#[expect(clippy::disallowed_methods, reason = "service managers are told by programs")]
pub fn tell(command: &[&str]) -> io::Result<()> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::other("there is no command"))?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint: String =
        String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect();
    Err(io::Error::other(format!("{}: {complaint}", output.status)))
}

/// Starts a program that outlives this one.
///
/// # Errors
///
/// When it cannot be started.
#[expect(clippy::disallowed_methods, reason = "an agent that starts its successor")]
pub fn start_detached(program: &Path, arguments: &[String]) -> io::Result<()> {
    use std::process::{Command, Stdio};
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map(drop)
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Whether a file has the program's path as a word.
fn names(file: &Path, program: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let program = program.to_string_lossy();
    let is_part = |c: char| c.is_alphanumeric() || "/._+-=:@,".contains(c);
    let mut words = text.split(|c: char| !is_part(c));
    words.any(|word| word == program || word.strip_prefix("ExecStart=") == Some(&program))
}

fn remove_files(manager: Manager, root: &Path) -> Result<(), ServiceError> {
    for link in manager.links() {
        remove(&below(root, &link))?;
    }
    remove(&below(root, manager.file()))
}

fn remove(path: &Path) -> Result<(), ServiceError> {
    match fs::remove_file(path) {
        Err(source)
            if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Err(ServiceError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a file so that its readers see all of it or nothing.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), ServiceError> {
    let failed = |source| ServiceError::Write { path: path.to_owned(), source };
    // Cron and service managers look at neither of them: the name begins with a
    // dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

#[cfg(unix)]
fn link_to(link: &Path, target: &str) -> Result<(), ServiceError> {
    // Not every system has every run level.
    if !link.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    std::os::unix::fs::symlink(target, link)
        .map_err(|source| ServiceError::Write { path: link.to_owned(), source })
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the other systems")]
fn link_to(_link: &Path, _target: &str) -> Result<(), ServiceError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const ALL: [Manager; 4] = [Manager::Systemd, Manager::Upstart, Manager::SysV, Manager::Launchd];

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "etc/systemd/system",
            "etc/init",
            "etc/init.d",
            "etc/rc2.d",
            "etc/cron.d",
            "Library/LaunchDaemons",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    fn job(program: &str) -> Job {
        Job {
            program: program.into(),
            arguments: vec!["-f".into(), "-c".into(), "/etc/mig/a.cfg".into()],
            writes: vec!["/var/lib/mig".into(), "/srv/mig".into()],
        }
    }

    fn files(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn every_manager_gets_its_file_over_an_older_one_and_loses_it_again() {
        for manager in ALL {
            let root = root();
            let told = RefCell::new(Vec::new());
            let tell = |command: &[&str]| {
                told.borrow_mut().push(command.join(" "));
                Ok(())
            };
            deploy(manager, &job("/opt/old/mig-agent"), root.path(), &tell).unwrap();
            let first = told.borrow().len();
            deploy(manager, &job("/sbin/mig-agent"), root.path(), &tell).unwrap();
            assert!(told.borrow().len() > 2 * first, "{manager:?}: the old one was stopped");
            let text = fs::read_to_string(below(root.path(), manager.file())).unwrap();
            assert!(text.contains("/sbin/mig-agent") && !text.contains("/opt/old"), "{text}");
            assert!(text.contains("/etc/mig/a.cfg"), "{text}");
            withdraw(manager, root.path(), &tell).unwrap();
            assert!(files(root.path()).is_empty(), "{manager:?}: {:?}", files(root.path()));
            withdraw(manager, root.path(), &tell).unwrap();
        }
    }

    #[test]
    fn an_older_one_that_does_not_stop_is_no_error_and_a_start_that_fails_is() {
        let root = root();
        let refuse = |command: &[&str]| {
            if command.contains(&"stop") { Err(io::Error::other("no")) } else { Ok(()) }
        };
        for _ in 0..2 {
            deploy(Manager::Systemd, &job("/sbin/mig-agent"), root.path(), &refuse).unwrap();
        }
        let fail = |command: &[&str]| {
            if command.contains(&"start") { Err(io::Error::other("no")) } else { Ok(()) }
        };
        let error = deploy(Manager::Systemd, &job("/sbin/mig-agent"), root.path(), &fail);
        assert_eq!(error.unwrap_err().to_string(), "systemctl start mig-agent failed");
    }

    #[test]
    fn only_the_service_of_the_program_that_is_gone_is_forgotten() {
        for manager in ALL {
            let root = root();
            let tell = |_: &[&str]| Ok(());
            let job = job("/sbin/mig-agent");
            deploy(manager, &job, root.path(), &tell).unwrap();
            assert!(watch(&job, root.path()).unwrap());
            for other in ["/sbin/mig-agent-1", "/usr/sbin/mig-agent", "/sbin/mig", "/sbin"] {
                assert!(forget(Path::new(other), root.path()).unwrap().is_empty(), "{other}");
            }
            let removed = forget(Path::new("/sbin/mig-agent"), root.path()).unwrap();
            assert_eq!(removed, [manager.file(), WATCHDOG]);
            assert!(files(root.path()).is_empty(), "{manager:?}");
        }
    }

    #[test]
    fn a_path_that_means_something_in_a_file_is_refused() {
        let root = root();
        let tell = |_: &[&str]| Ok(());
        for path in ["/a b", "/a\nExecStart=/b", "/a%h", "/a$B", "/a\"", "/a;b", "/<a>", "rel", ""]
        {
            for manager in ALL {
                let outcome = deploy(manager, &job(path), root.path(), &tell);
                assert!(matches!(outcome, Err(ServiceError::Unsuitable(_))), "{path:?}");
            }
            assert!(watch(&job(path), root.path()).is_err(), "{path:?}");
        }
        assert!(files(root.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn cron_asks_before_it_starts_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = root();
        assert!(watch(&job("/sbin/mig-agent"), root.path()).unwrap());
        let path = below(root.path(), WATCHDOG);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().last().unwrap();
        assert_eq!(
            line,
            "*/30 * * * * root /sbin/mig-agent -c /etc/mig/a.cfg -q=pid >/dev/null 2>&1 || \
             /sbin/mig-agent -c /etc/mig/a.cfg"
        );
        let bare = tempfile::tempdir().unwrap();
        assert!(!watch(&job("/sbin/mig-agent"), bare.path()).unwrap(), "no cron here");
    }
}
