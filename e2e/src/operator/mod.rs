//! What an operator does: runs the scripts of this repository, writes the
//! configurations, starts the programs.

mod broker;
mod certificates;
mod database;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use mig_testkit::{Managed, RelayAccess, binary};
use tempfile::TempDir;

pub use broker::{Broker, configure, connect, empty_broker};
pub use certificates::Certificates;
pub use database::{Database, LOGINS, create_local};

/// The top of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A script of this repository, ready to run.
#[expect(clippy::disallowed_methods, reason = "the scripts under test")]
pub fn script(path: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(repository().join(path));
    command
}

/// A program of this workspace, ready to run in a directory.
///
/// # Errors
///
/// When it was not built.
#[expect(clippy::disallowed_methods, reason = "the programs under test")]
pub fn program(name: &str, directory: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(binary(name)?);
    command.current_dir(directory);
    Ok(command)
}

/// Another program that operators have.
#[expect(clippy::disallowed_methods, reason = "a program that operators have")]
pub fn tool(name: &str) -> Command {
    Command::new(name)
}

/// Runs a command that must succeed; what it printed.
///
/// # Errors
///
/// When it fails, with everything it said.
pub fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{command:?} ended with {status}: {stdout}{stderr}");
    Ok(stdout)
}

/// The word after `before` on the line that begins with it.
///
/// # Errors
///
/// When there is no such line.
pub fn word_after(text: &str, before: &str) -> anyhow::Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(before));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.with_context(|| format!("no {before:?} in {text}"))?.trim_matches('\'').to_owned())
}

/// A directory that the database's own account can pass through.
///
/// # Errors
///
/// When it cannot be made.
pub fn scratch(prefix: &str) -> anyhow::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// Database, certificates and broker as the scripts made them, and where the
/// programs on top of them live.
pub struct Platform {
    // The servers end before the directory goes: fields drop in this order.
    pub database: Database,
    pub broker: Broker,
    pub certificates: Certificates,
    pub api: SocketAddr,
    directory: TempDir,
}

impl Platform {
    /// Runs the three scripts, in the guide's order.
    ///
    /// # Errors
    ///
    /// When one of them, or a server, does not do its part.
    pub fn create() -> anyhow::Result<Self> {
        let directory = scratch("mig-operators-")?;
        let database = Database::create(directory.path())?;
        let certificates = Certificates::create(directory.path())?;
        let broker = Broker::create(directory.path(), &certificates)?;
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self { database, broker, certificates, api, directory })
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Base of the API, with the final slash that clients want.
    pub fn api_url(&self) -> String {
        format!("http://{}/api/v1/", self.api)
    }

    /// How the agents' account reaches the relay.
    pub fn relay_access(&self) -> RelayAccess {
        let file = |name| self.certificates.file(name);
        RelayAccess {
            url: self.broker.agent_url(),
            ca: Some(file("ca/ca.crt")),
            certificate: Some((file("agent.crt"), file("agent.key"))),
        }
    }

    /// Writes the scheduler's configuration, for one of [`LOGINS`].
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_scheduler(&self, name: &str, login: usize) -> anyhow::Result<()> {
        let text = format!(
            "[agent]\ntimeout = 60s\nheartbeatfreq = 2s\nwhitelist = \"{0}/whitelist\"\n\
             [collector]\nfreq = 1s\n[periodic]\nfreq = 5s\ndeleteafter = 1h\n\
             queuescleanupfreq = 24h\n[directories]\nspool = \"{0}/spool\"\ntmp = \"{0}\"\n\
             {1}{2}[logging]\nmode = stdout\nlevel = debug\n",
            self.directory().display(),
            self.database.section(login),
            self.broker.section(&self.certificates),
        );
        fs::write(self.path(name), text)?;
        Ok(())
    }

    /// Writes the API's configuration.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_api(&self, name: &str, authentication: &str) -> anyhow::Result<()> {
        let api = self.api;
        let text = format!(
            "[authentication]\nenabled = {authentication}\ntokenduration = 10m\n\
             [server]\nip = {}\nport = {}\nhost = \"http://{api}\"\nbaseroute = /api/v1\n\
             {}[logging]\nmode = stdout\nlevel = debug\n",
            api.ip(),
            api.port(),
            self.database.section(1)
        );
        fs::write(self.path(name), text)?;
        Ok(())
    }

    /// Starts a program of the platform; its log is `<log>.log`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, log: &str, program: &str, config: &str) -> anyhow::Result<Managed> {
        Managed::start(log, &binary(program)?, &["-c", config], &[], self.directory())
    }
}
