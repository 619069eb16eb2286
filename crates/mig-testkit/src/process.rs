//! Real processes that end with their owner.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// A server is up or broken within this time, on a busy machine too.
const START: Duration = Duration::from_mins(1);

/// A program of this workspace, built beside the running test.
///
/// # Errors
///
/// When it was not built: `cargo build --workspace --bins` does it.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test.ancestors().find(|dir| dir.join("deps").is_dir());
    let path = directory.context("the test does not run from a target directory")?.join(name);
    if !path.is_file() {
        bail!("{} is not built; run: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// A process with its log in a file. Dropping it kills it.
#[derive(Debug)]
pub struct Managed {
    name: String,
    child: Child,
    log: PathBuf,
    args: Vec<String>,
}

impl Managed {
    /// Starts `command` with standard output and error appended to a log in
    /// `directory`.
    #[expect(clippy::disallowed_methods, reason = "test support starts the programs under test")]
    pub fn start(
        name: &str,
        program: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(args)
            .envs(environment.iter().copied())
            .current_dir(directory)
            // Its own group: a signal to the test's terminal is the test's.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(Self { name: name.to_owned(), child, log, args })
    }

    /// Whether it was started from that program.
    pub fn is(&self, program: &str) -> bool {
        self.name.starts_with(program)
    }

    /// The argument that follows `option` on its command line.
    pub fn argument_after(&self, option: &str) -> Option<String> {
        let place = self.args.iter().position(|arg| arg == option)?;
        self.args.get(place + 1).cloned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until something listens on `address`.
    pub fn wait_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on {address}:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log holds `text`.
    pub fn wait_log(&self, text: &str) -> anyhow::Result<()> {
        let what = format!("{text:?} in the log of {}", self.name);
        until(&what, START, || self.log().contains(text).then_some(())).with_context(|| self.log())
    }

    /// SIGKILL, and reaps it.
    pub fn kill9(&mut self) {
        // Gone already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGHUP: reopen logs, read again what can be read again.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no process id")?, Signal::HUP)?)
    }

    /// SIGTERM: end in good order.
    pub fn signal_term(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no process id")?, Signal::TERM)?)
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn terminate(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal_term()?;
        let child = &mut self.child;
        until(&format!("the end of {}", self.name), limit, || child.try_wait().ok().flatten())
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- last lines of {}:\n{}", self.name, tail.join("\n"));
        }
    }
}

/// A loopback port nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
