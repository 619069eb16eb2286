//! A private `pcscd` with a reader that is software.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::locate::{pcscd, virtual_reader};
use crate::process::{Watchdog, command, end, free_port, tail, wait_until};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Ports that are tried: the driver takes two neighbours.
const TRIES: usize = 5;

/// Its socket and its process number are at fixed places below `/run`, so it
/// gets a `/run` of its own, with our directory in it.
const SCRIPT: &str = "mount -t tmpfs none /run && mkdir /run/pcscd && \
                      mount --bind \"$1\" /run/pcscd && \
                      exec \"$2\" --foreground --info --config \"$3\"";

/// A running `pcscd` with one empty reader, stopped when dropped. It sees
/// neither the machine's readers nor the machine's `pcscd`.
///
/// A card is whoever connects to the reader's port. The driver listens on all
/// addresses, and cannot be told otherwise.
#[derive(Debug)]
pub struct Smartcards {
    // First, so that it is dropped before the process is waited for.
    watchdog: Option<Watchdog>,
    child: Child,
    socket: PathBuf,
    port: u16,
}

impl Smartcards {
    /// Starts it below `directory`, whose path must be short: it becomes that
    /// of a socket.
    ///
    /// # Errors
    ///
    /// When a package is missing, when this account may have no mounts of its
    /// own, or when it does not start; the message says which.
    pub fn start(directory: &Path) -> Result<Self> {
        let mut result = Self::launch(directory);
        for _ in 1..TRIES {
            if result.is_ok() {
                break;
            }
            result = Self::launch(directory);
        }
        result
    }

    /// What programs find in `PCSCLITE_CSOCK_NAME`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the reader waits for a card.
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn launch(directory: &Path) -> Result<Self> {
        let (pcscd, driver) = (pcscd()?, virtual_reader()?);
        let directory = directory.join("smartcards");
        let [run, readers, bundles] =
            ["run", "readers", "bundles"].map(|name| directory.join(name));
        for directory in [&run, &readers, &bundles] {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let port = free_port()?;
        let reader = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:{port}\nLIBPATH {}\n\
             CHANNELID {port}\n",
            driver.display()
        );
        std::fs::write(readers.join("virtual"), reader)?;
        let log = directory.join("log");
        let file = File::create(&log)?;
        let mut unshare = command("unshare");
        unshare.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare.args(["sh", "-c", SCRIPT, "sh"].map(OsStr::new)).arg(&run).arg(pcscd).arg(&readers);
        // Where drivers of real readers would be looked for.
        unshare.env("PCSCLITE_HP_DROPDIR", &bundles);
        unshare.stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file));
        let child = unshare.spawn().context("cannot start unshare")?;
        let watchdog = Some(Watchdog::killing(&[child.id()])?);
        let mut started = Self { watchdog, child, socket: run.join("pcscd.comm"), port };
        wait_until("the start of pcscd", START_LIMIT, || {
            if let Some(status) = started.child.try_wait()? {
                bail!("pcscd ended with {status}: {}", tail(&log));
            }
            let told = tail(&log);
            if told.contains("Could not initialize connection to virtual ICC") {
                bail!("the virtual reader got no port near {port}: {told}");
            }
            Ok(started.socket.exists() && told.contains("daemon ready"))
        })?;
        Ok(started)
    }
}

impl Drop for Smartcards {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        let pid = self.child.id();
        if let Err(error) = end(&mut self.child, pid, Signal::TERM, STOP_LIMIT) {
            eprintln!("pcscd with a reader on port {}: {error:#}", self.port);
        }
    }
}
