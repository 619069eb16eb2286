//! What the tests need from the system.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Result, bail};
use mig_testservices::Watchdog;

use crate::command::command;

/// Debian's switch for services: 101 keeps an installation from starting them.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, or says what to install.
///
/// # Errors
///
/// When something that every test needs is missing and we may not install, or
/// the installation fails.
pub(crate) fn ensure() -> Result<()> {
    let (missing, wanted) = (missing(), wanted());
    if missing.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let is_root = Path::new("/proc/self").metadata().is_ok_and(|self_| self_.uid() == 0);
    if !is_root || !on_path("apt-get") {
        if !missing.is_empty() {
            bail!("missing for the tests: {list}\nhint: sudo apt-get install {list}");
        }
        eprintln!("test: some tests are skipped without: {}", wanted.join(" "));
        return Ok(());
    }
    let _quiet = NoServices::new()?;
    // A fresh machine has no package lists yet; elsewhere the old ones may do.
    if let Err(error) = run_apt(&["update", "--quiet"]) {
        eprintln!("test: {error}; going on with the package lists as they are");
    }
    if !missing.is_empty() {
        install(&missing)?;
    }
    if !wanted.is_empty()
        && let Err(error) = install(&wanted)
    {
        eprintln!("test: {error}; some tests are skipped");
    }
    let missing = self::missing();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}", missing.join(" "));
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    eprintln!("test: installing {}", packages.join(" "));
    let options = ["install", "--quiet", "--yes", "--no-install-recommends"];
    run_apt(&[options.as_slice(), packages].concat())
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if mig_testservices::postgres_bin().is_err() {
        missing.push("postgresql");
    }
    if mig_testservices::rabbitmq_bin().is_err() {
        missing.push("rabbitmq-server");
    }
    for (program, package) in
        [("gpg", "gnupg"), ("openssl", "openssl"), ("ps", "procps"), ("curl", "curl")]
    {
        if !on_path(program) {
            missing.push(package);
        }
    }
    missing
}

/// What reads the samples in `conf/`, and what a smartcard takes; without it
/// their tests are skipped.
fn wanted() -> Vec<&'static str> {
    let readers = [("nginx", "nginx"), ("rsyslogd", "rsyslog")];
    let mut wanted: Vec<_> = readers
        .into_iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, name)| name)
        .collect();
    if mig_testservices::pcscd().is_err() {
        wanted.push("pcscd");
    }
    if mig_testservices::virtual_reader().is_err() {
        wanted.push("vsmartcard-vpcd");
    }
    if mig_testservices::scdaemon().is_err() {
        wanted.push("scdaemon");
    }
    wanted
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are there, and that is not in everybody's path.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().any(|directory| directory.join(program).is_file())
}

fn run_apt(arguments: &[&str]) -> Result<()> {
    let status = command("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .status()?;
    if !status.success() {
        bail!("apt-get {} failed: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Keeps installed services from starting, for as long as it lives. A policy
/// that the machine already has stays as it is.
struct NoServices(Option<Watchdog>);

impl NoServices {
    fn new() -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        let Ok(mut file) = file else { return Ok(Self(None)) };
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(Self(Some(Watchdog::new("rm -f -- \"$1\"", &[POLICY.as_ref()])?)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            // The next installation would find it and keep it.
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
