//! A private `PostgreSQL` cluster.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::locate::postgres_bin;
use crate::process::{
    Watchdog, children_of, command, end, free_port, is_alive, output, send, tail, wait_until,
};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running cluster, stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    directory: PathBuf,
    account: Option<SystemAccount>,
    durable: bool,
    port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    // First, so that it is dropped before the process is waited for.
    watchdog: Watchdog,
    child: Child,
}

/// Whom the server runs as: `PostgreSQL` refuses to be root.
#[derive(Debug, Clone, Copy)]
struct SystemAccount {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes a cluster below `directory` and starts it. Writes are not forced
    /// to disk: a killed server loses nothing, a machine without power would.
    ///
    /// # Errors
    ///
    /// When `PostgreSQL` is missing or does not start; the message has the end
    /// of its log.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::create(directory, false)
    }

    /// As [`Postgres::start`], with `PostgreSQL`'s own settings for durability:
    /// for measurements.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub fn start_durable(directory: &Path) -> Result<Self> {
        Self::create(directory, true)
    }

    /// For the superuser, who needs no password.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// For the superuser in another database.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Process number of the server, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Ends the server and all its processes at once, as a crash would.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(Running { watchdog, mut child }) = self.running.take() else { return Ok(()) };
        drop(watchdog);
        let children = children_of(child.id());
        child.kill()?;
        for pid in &children {
            send(*pid, Signal::KILL);
        }
        child.wait()?;
        // They hold the shared memory, without which no new server starts.
        wait_until("the end of PostgreSQL's processes", STOP_LIMIT, || {
            Ok(!children.iter().any(|pid| is_alive(*pid)))
        })
    }

    /// Stops the server if it runs and starts it again on the same port.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Stops the server, cutting its connections.
    ///
    /// # Errors
    ///
    /// When it can be neither stopped nor killed.
    pub fn stop(&mut self) -> Result<()> {
        let Some(Running { watchdog, mut child }) = self.running.take() else { return Ok(()) };
        drop(watchdog);
        let pid = child.id();
        // SIGINT is PostgreSQL's fast shutdown.
        end(&mut child, pid, Signal::INT, STOP_LIMIT)
    }

    fn create(directory: &Path, durable: bool) -> Result<Self> {
        let bin = postgres_bin()?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let account = if rustix::process::geteuid().is_root() {
            Some(SystemAccount::named("postgres")?)
        } else {
            None
        };
        let own = directory.join("postgres");
        std::fs::create_dir(&own).with_context(|| format!("cannot create {}", own.display()))?;
        if let Some(account) = account {
            chown(&own, Some(account.user), Some(account.group))?;
            make_searchable(directory)?;
        }
        let mut server =
            Self { bin, directory: own, account, durable, port: free_port()?, running: None };
        let data = server.data();
        let program = server.bin.join("initdb");
        output(server.command(&program).arg("-D").arg(data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]))?;
        server.launch()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = command(program);
        command.current_dir(&self.directory).env_remove("PGDATA").env("LC_ALL", "C");
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Many tests at a time, each with a pool of its own.
            "max_connections=300",
        ];
        if self.durable {
            // Else a scan of a table beyond a quarter of the default, 128 MB, reads
            // every page anew. The guide recommends a quarter of the memory.
            settings.push("shared_buffers=512MB");
        } else {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        let child = command
            .stdout(Stdio::from(File::try_clone(&log)?))
            .stderr(Stdio::from(log))
            .spawn()
            .context("cannot start postgres")?;
        // A postmaster that is killed takes its processes with it.
        let watchdog = Watchdog::killing(&[child.id()])?;
        self.running = Some(Running { watchdog, child });
        if let Err(error) = self.wait_ready() {
            let tail = tail(&self.log());
            self.stop()?;
            return Err(error.context(format!("PostgreSQL did not start; its log ends:\n{tail}")));
        }
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let port = self.port;
        let Some(running) = &mut self.running else { bail!("it is not running") };
        wait_until("a connection to PostgreSQL", START_LIMIT, || {
            if let Some(status) = running.child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok(accepts_sessions(port).unwrap_or(false))
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("PostgreSQL on port {}: {error:#}", self.port);
        }
    }
}

impl SystemAccount {
    fn named(name: &str) -> Result<Self> {
        let number = |flag| -> Result<u32> {
            let text = output(command("id").args([flag, name]))
                .with_context(|| format!("there is no account {name}"))?;
            Ok(text.trim().parse()?)
        };
        Ok(Self { user: number("-u")?, group: number("-g")? })
    }
}

/// Lets others pass through `directory`, which is ours, and checks that they
/// can pass through what is above it, which is not.
fn make_searchable(directory: &Path) -> Result<()> {
    let directory = directory.canonicalize()?;
    let mode = directory.metadata()?.mode();
    if mode & 0o001 == 0 {
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode | 0o011))?;
    }
    for parent in directory.ancestors().skip(1) {
        if parent.metadata()?.mode() & 0o001 == 0 {
            bail!(
                "the account postgres cannot reach {}: {} is not searchable",
                directory.display(),
                parent.display()
            );
        }
    }
    Ok(())
}

/// Begins a session; a server that is still starting answers with an error.
fn accepts_sessions(port: u16) -> std::io::Result<bool> {
    const BODY: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    const PROTOCOL_3: u32 = 3 << 16;
    /// Length 4, kind `X`: the polite end of a session.
    const TERMINATE: &[u8] = b"X\0\0\0\x04";
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = u32::try_from(BODY.len() + 8).map_err(std::io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(PROTOCOL_3.to_be_bytes());
    message.extend(BODY);
    stream.write_all(&message)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind != *b"R" {
        return Ok(false);
    }
    stream.write_all(TERMINATE)?;
    Ok(true)
}
